"""X displays: every pixel, every size, and never a hang when one dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from xserver import XServer

from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.sources.kinds import X11Source

SEGMENTS = Path("/proc/sysvipc/shm")
WAYS = {"MIT-SHM": (), "GetImage": ("-extension", "MIT-SHM")}
DEADLINE_S = 30.0


def bgrx(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, also in the byte that means nothing."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


def connect(server: XServer, timeout_s: float = DEADLINE_S) -> X11Display:
    return X11Display(
        X11Source(uri=server.display), display=server.display, fps=10.0, timeout_s=timeout_s
    )


def segments_made_by(pid: int) -> list[str]:
    rows = [row.split() for row in SEGMENTS.read_text().splitlines()]
    creator = rows[0].index("cpid")
    return [row[1] for row in rows[1:] if row[creator] == str(pid)]


@pytest.fixture
def server() -> Iterator[XServer]:
    with XServer(320, 200) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("width", "height"), [(320, 200), (333, 77), (1920, 1080)])
def test_every_pixel_is_grabbed_as_it_was_drawn(way: str, width: int, height: int) -> None:
    with XServer(width, height, options=WAYS[way]) as server:
        display = connect(server)
        assert f"by {way} and DAMAGE" in display.facts.description
        drawn = bgrx(width, height)
        server.paint(drawn)
        assert np.array_equal(display.read().picture, drawn[:, :, :3])
        drawn[height // 2, width // 3] ^= 1
        server.paint(drawn[height // 2 :, width // 3 :][:1, :1], width // 3, height // 2)
        assert np.array_equal(display.read().picture, drawn[:, :, :3])
        display.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_resized_screen_shows_as_a_frame_of_the_new_size(way: str) -> None:
    with XServer(640, 480, options=WAYS[way]) as server:
        server.resize(320, 200)
        display = connect(server)
        assert (display.facts.width, display.facts.height) == (320, 200)
        for width, height in ((320, 200), (640, 480), (100, 90), (101, 480)):
            server.resize(width, height)
            drawn = bgrx(width, height, seed=width)
            server.paint(drawn)
            assert np.array_equal(display.read().picture, drawn[:, :, :3])
        display.close()


def test_time_is_that_of_the_grab(server: XServer) -> None:
    display = connect(server)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    frame = display.read()
    assert before <= frame.t_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    display.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_server_is_a_lost_source(way: str) -> None:
    with XServer(options=WAYS[way]) as server:
        display = connect(server)
        display.read()
        server.kill()
        for _ in range(2):
            with pytest.raises(SourceLostError, match="ended"):
                display.read()
        display.close()
    assert segments_made_by(os.getpid()) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_hangs_is_a_lost_source(way: str) -> None:
    with XServer(options=WAYS[way]) as server:
        display = connect(server, timeout_s=1.5)
        server.stop()
        with pytest.raises(SourceLostError, match=r"within 1\.5 s"):
            display.read()
        display.close()


def test_a_server_that_hangs_before_it_is_connected_to_is_refused(server: XServer) -> None:
    server.stop()
    with pytest.raises(SourceError, match=r"within 0\.3 s"):
        connect(server, timeout_s=0.3)


def test_a_display_that_is_not_there_is_named_with_those_that_are(server: XServer) -> None:
    with pytest.raises(SourceError, match=r"display :64999: expected") as refused:
        X11Display(X11Source(uri=":64999"), display=":64999", fps=10.0)
    assert f" {server.display}" in str(refused.value)
    assert not isinstance(refused.value, SourceLostError)


def test_a_cookie_that_is_not_ours_keeps_us_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = tmp_path / "authority"

    def entry(cookie: bytes) -> bytes:
        fields = (b"", b"", b"MIT-MAGIC-COOKIE-1", cookie)
        wild = (65535).to_bytes(2, "big")
        return wild + b"".join(len(f).to_bytes(2, "big") + f for f in fields)

    authority.write_bytes(entry(b"right" * 3 + b"!"))
    monkeypatch.setenv("XAUTHORITY", str(authority))
    with XServer(options=("-auth", str(authority))) as server:
        connect(server).close()
        # Another file: the server reads its own again where it has become newer.
        other = tmp_path / "other"
        other.write_bytes(entry(b"wrong" * 3 + b"!"))
        monkeypatch.setenv("XAUTHORITY", str(other))
        with pytest.raises(SourceError, match="XAUTHORITY"):
            connect(server)


def test_pixels_of_another_depth_are_refused() -> None:
    with XServer(depth=16) as server, pytest.raises(SourceError, match="found depth 16"):
        connect(server)


def test_shared_memory_is_marked_for_removal_and_gone_after_close(server: XServer) -> None:
    display = connect(server)
    assert len(segments_made_by(os.getpid())) == 1
    display.read()
    display.close()
    poll(lambda: segments_made_by(os.getpid()) == [])


def test_kill_9_leaks_no_shared_memory(server: XServer) -> None:
    program = (
        "import sys\n"
        "from recorder_worker.adapters.sources.x11.source import X11Display\n"
        "from recorder_worker.core.sources.kinds import X11Source\n"
        "display = X11Display(X11Source(uri=sys.argv[1]), display=sys.argv[1], fps=10.0)\n"
        "display.read()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, server.display],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    assert len(segments_made_by(worker.pid)) == 1
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    poll(lambda: segments_made_by(worker.pid) == [])


def poll(condition: object) -> None:
    """Wait until it holds: the X server lets go of memory in its own time."""
    assert callable(condition)
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_server_in_another_ipc_namespace_is_grabbed_without_shared_memory() -> None:
    """There our segment's id is nobody's or, as arranged here, perhaps somebody else's."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or shutil.which("ipcmk") is None
        or subprocess.run([unshare, "--ipc", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs to be allowed to make an IPC namespace")
    others = "for n in 1 2 3 4 5 6 7 8; do ipcmk -M 256000 -p 0666; done >/dev/null; exec "
    prefix = (unshare, "--ipc", "sh", "-c", others + '"$@"', "sh")
    with XServer(320, 200, prefix=prefix) as server:
        display = connect(server)
        assert "by GetImage and" in display.facts.description
        drawn = bgrx(320, 200)
        server.paint(drawn)
        assert np.array_equal(display.read().picture, drawn[:, :, :3])
        display.close()


def test_without_libxcb_the_message_names_the_package() -> None:
    program = (
        "import ctypes.util\n"
        "ctypes.util.find_library = lambda name: f'lib{name}-is-not-here.so'\n"
        "from recorder_worker.adapters.sources.opener import GuardedOpener\n"
        "from recorder_worker.core.sources.rules import SourceRules\n"
        "open_source = GuardedOpener(SourceRules())\n"
        "from recorder_worker.core.errors import SourceError\n"
        "from recorder_worker.core.sources.kinds import X11Source, PatternSource\n"
        "open_source(PatternSource(), 1.0, 0).read()\n"
        "try:\n"
        "    open_source(X11Source(uri=':0'), 1.0, 0)\n"
        "except SourceError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "apt-get install libxcb1" in done.stdout
