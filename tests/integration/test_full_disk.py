"""A disk that fills up, or takes nothing any more: nothing half is left, and all goes on behind it.

On real file systems of some MB: those of other tests are never full.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
import reference
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, begun, settings_in, until
from small_disks import bind, bound_folder, fill, image_disk, remount, small_disk, unmount
from videos import file_source, write_video

from recorder_worker.adapters.durable_file import SPARES
from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import SessionSealed, SessionStarted
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    NatsSettings,
    RetrySettings,
)

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
RETRY = RetrySettings(backoff_s=(0.05, 0.1), max_deliver=3)
"""So few deliveries that whatever counts them has a dead letter before the disk is back."""
CHUNK = ChunkSettings(duration_s=1, max_stored_bytes=500_000)
MB = 1_000_000


def disk_of(floor: int, **marks: Any) -> DiskSettings:  # noqa: ANN401  (fields of DiskSettings)
    return DiskSettings(floor_bytes=floor, **{"start_wait_s": 0.5} | marks)


@asynccontextmanager
async def recorder_on(
    data: Path,
    nats: Path | None,
    **groups: Any,  # noqa: ANN401  (groups of settings)
) -> AsyncIterator[RunningRecorder]:
    """A recorder whose data is on a disk; `nats` None: with its own server on it, too."""
    server = NatsServer(NatsServerOptions(folder=nats)) if nats is not None else None
    if server is not None:
        await server.start()
        groups["nats"] = NatsSettings(url=server.url)
    try:
        wanted = {"disk": disk_of(1), "chunk": CHUNK, "retry": RETRY} | groups
        async with RunningRecorder(settings_in(data, **wanted)) as recorder:
            yield recorder
    finally:
        if server is not None:
            await server.stop()


def checked(recorder: RunningRecorder, session_id: str) -> list[str]:
    """Both verifiers agree about a sealed recording, file by file; the reasons of its gaps."""
    report = recorder.report(session_id)
    folder = recorder.folder(session_id)
    theirs = reference.check(folder)
    assert theirs["verdict"] == report.verdict.value
    assert theirs["root_hash"] == report.root_hash
    assert report.verdict in {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}
    assert not list(folder.glob("segments/*")), "nothing waits in the spool"
    assert not list(folder.rglob("*.tmp"))
    return [gap.reason for gap in report.gaps]


async def goes_on(recorder: RunningRecorder) -> None:
    """What was refused before is taken now, and nothing was given up meanwhile."""
    await until(lambda: recorder.metric("recorder_disk_state") < 2)
    spares = recorder.settings.data_path / SPARES
    await until(lambda: list(spares.iterdir()) == [])
    _, report = await recorder.record(SMALL)
    assert report.verdict is Verdict.COMPLETE
    await recorder.nothing_is_left()
    assert await recorder.dead_letter_count() == 0


class Lowest:
    """The least room that there was on a disk, looked at all the time."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._end = threading.Event()
        self.free = self._now()
        self._thread = threading.Thread(target=self._look)

    def _now(self) -> int:
        found = os.statvfs(self._disk)
        return found.f_bavail * found.f_frsize

    def _look(self) -> None:
        while not self._end.wait(0.001):
            self.free = min(self.free, self._now())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


# --- filled by the recorder itself ---------------------------------------------------------------


async def test_a_recorder_that_fills_its_disk_ends_all_sessions_above_its_reserve(
    tmp_path: Path,
) -> None:
    """Many sessions at once: none of them writes a segment below the floor."""
    sessions, size, floor = 6, 64 * MB, 40 * MB
    video = write_video(tmp_path / "noise.avi", "MJPG", frames=400, size=(320, 240))
    with small_disk(tmp_path / "disk", size) as disk:
        marks = disk_of(floor, pause_bytes=floor)
        async with recorder_on(disk, None, disk=marks) as recorder:
            with Lowest(disk) as lowest:
                # All at once: the first ones fill the disk while the last one is asked for, which
                # may be refused then.
                answers = await asyncio.gather(
                    *(recorder.client.start(file_source(video)) for _ in range(sessions)),
                    return_exceptions=True,
                )
                started = [one.session_id for one in answers if isinstance(one, SessionStarted)]
                assert started, answers
                sealed = [await recorder.sealed(session_id) for session_id in started]
            assert {one.reason.value for one in sealed} == {"disk_full"}
            refused = [one for one in answers if not isinstance(one, SessionStarted)]
            assert all("expected room for a new session" in str(one) for one in refused), refused
            # Chunks are made below the floor, of segments that go away once they are signed: where
            # the machine has more to do, all that is there may wait for that, and stands there
            # twice. Beside it is what all of them were writing when the floor was reached.
            assert lowest.free > floor - (size - floor) - 8 * MB
            for session_id in started:
                assert "disk" in checked(recorder, session_id)
            remount(disk, f"size={128 * MB}")
            await goes_on(recorder)


async def test_a_file_is_paused_for_want_of_room_and_goes_on_where_it_was(tmp_path: Path) -> None:
    video = write_video(tmp_path / "noise.avi", "MJPG", frames=300, size=(320, 240))
    with small_disk(tmp_path / "disk", 40 * MB) as disk:
        # What a pause frees, once what was read before it is signed, does not end it.
        marks = disk_of(4 * MB, pause_bytes=24 * MB, back_bytes=60 * MB)
        async with recorder_on(disk, None, disk=marks) as recorder:
            native = file_source(video) | {"pace": "native"}
            session_id = (await recorder.client.start(native)).session_id
            await until(lambda: recorder.metric("recorder_disk_state") == 3)
            await until(lambda: recorder.metric("recorder_gaps_total", reason="disk") > 0)
            assert await recorder.client.last(Fact.FAILED, session_id) is None
            error = await recorder.refusal(SMALL)
            assert "sessions of the lowest priority are paused" in error.refusal.got
            remount(disk, f"size={200 * MB}")
            sealed = await recorder.sealed(session_id)
            assert (sealed.reason.value, sealed.frame_count) == ("source_ended", 300)
            reasons = checked(recorder, session_id)
            assert set(reasons) == {"disk"}
            assert sum(gap.lost_units for gap in recorder.report(session_id).gaps) == 0
            await goes_on(recorder)


async def test_the_lowest_priority_is_paused_and_the_others_record_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * MB) as disk:
        marks = disk_of(4 * MB, pause_bytes=24 * MB, back_bytes=2 * MB)
        async with recorder_on(disk, None, disk=marks) as recorder:
            low = await begun(recorder, priority=1)
            high = await begun(recorder, priority=9)
            ballast = fill(disk, leave_bytes=20 * MB)
            await until(lambda: recorder.metric("recorder_gaps_total", reason="disk") > 0)
            last = await recorder.client.last(Fact.CAPTURED, high)
            assert last is not None
            await recorder.captured(high, last.cursor.t_ns)  # type: ignore[attr-defined]
            ballast.unlink()
            await until(lambda: recorder.metric("recorder_disk_state") == 0)
            before = await recorder.client.last(Fact.CAPTURED, low)
            assert before is not None
            await recorder.captured(low, before.cursor.t_ns)  # type: ignore[attr-defined]
            for session_id in (low, high):
                await recorder.client.stop(session_id)
                await recorder.sealed(session_id)
            assert set(checked(recorder, low)) == {"disk"}
            assert checked(recorder, high) == []
            await goes_on(recorder)


# --- filled by somebody else, to the last byte, with the server's own store -----------------------


async def test_a_disk_that_others_fill_to_the_last_byte_stops_all_and_the_server_too(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 64 * MB) as disk:
        async with recorder_on(disk, None, disk=disk_of(16 * MB)) as recorder:
            started = [await begun(recorder, priority=priority) for priority in (1, 5)]
            ballast = fill(disk)
            await until(lambda: recorder.metric("recorder_disk_state") == 4)
            # Nothing can be told now. That nobody gives up meanwhile is seen behind it.
            await until(lambda: recorder.metric("recorder_segments_refused_total") > 0)
            ballast.unlink()
            for session_id in started:
                sealed = await sealed_behind_a_restart(recorder, session_id)
                assert sealed.reason.value == "disk_full"
                assert checked(recorder, session_id)[-1] == "disk"
            await goes_on(recorder)


async def sealed_behind_a_restart(recorder: RunningRecorder, session_id: str) -> SessionSealed:
    """The server is started again, once there is room; what it was asked before is not answered."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(BusUnavailableError):
                return await recorder.sealed(session_id)


# --- a store that refuses -------------------------------------------------------------------------

Fault = tuple[Path, Callable[[], object], Callable[[], None]]
"""A data directory, what takes it away, and what gives it back."""


@contextmanager
def read_only(tmp_path: Path) -> Iterator[Fault]:
    with small_disk(tmp_path / "disk", 64 * MB) as disk:
        yield disk, lambda: _retried(disk, "ro"), lambda: remount(disk, "rw")


def _retried(disk: Path, options: str) -> None:
    """A file system is only made read-only between two writes."""
    for _ in range(1000):
        try:
            return remount(disk, options)
        except Exception:  # noqa: BLE001  (busy: asked again)
            threading.Event().wait(0.005)
    return remount(disk, options)


@contextmanager
def unmounted(tmp_path: Path) -> Iterator[Fault]:
    with bound_folder(tmp_path / "disk", tmp_path / "real") as disk:
        yield disk, lambda: unmount(disk), lambda: bind(disk, tmp_path / "real")


@contextmanager
def forbidden(tmp_path: Path) -> Iterator[Fault]:
    """Folders that nobody may write in: modes do not stop root, this attribute does."""
    with image_disk(tmp_path / "disk", tmp_path / "image", 64 * MB) as disk:

        def change(sign: str) -> None:
            folders = [str(path) for path in disk.rglob("*") if path.is_dir()]
            os.spawnvp(os.P_WAIT, "chattr", ["chattr", f"{sign}i", str(disk), *folders])

        yield disk, lambda: change("+"), lambda: change("-")
        change("-")


@contextmanager
def thin(tmp_path: Path) -> Iterator[Fault]:
    """A volume that has promised more than is there: it fails at fsync, and shows free room."""
    with (
        small_disk(tmp_path / "below", 40 * MB) as below,
        image_disk(tmp_path / "disk", below / "image", 64 * MB) as disk,
    ):
        yield disk, lambda: fill(below), (below / "ballast").unlink


@contextmanager
def io_errors(tmp_path: Path) -> Iterator[Fault]:
    """No device can be made to fail here, so that the system calls are: open and fsync."""
    patched = pytest.MonkeyPatch()
    broken = threading.Event()
    disk = str(tmp_path / "disk")

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(what: Any, *more: Any, **named: Any) -> Any:  # noqa: ANN401  (passed on)
            if broken.is_set():
                at = f"/proc/self/fd/{what}"
                path = str(Path(at).readlink() if isinstance(what, int) else what)
                if path.startswith(disk):
                    raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return call(what, *more, **named)

        return called

    for name in ("open", "fsync", "link"):
        patched.setattr(os, name, failing(getattr(os, name)))
    patched.setattr("io.open", failing(open))
    try:
        yield tmp_path / "disk", broken.set, broken.clear
    finally:
        patched.undo()


@pytest.mark.parametrize("fault", [read_only, unmounted, forbidden, thin, io_errors])
async def test_a_store_that_refuses_ends_sessions_visibly_and_all_else_waits(
    tmp_path: Path, fault: Callable[[Path], AbstractContextManager[Fault]]
) -> None:
    with fault(tmp_path) as (disk, take, give):
        capture = CaptureSettings(segment_s=0.25, retry_s=0.5)
        async with recorder_on(disk, tmp_path / "nats", capture=capture) as recorder:
            started = [await begun(recorder) for _ in range(2)]
            await asyncio.to_thread(take)
            async with asyncio.timeout(DEADLINE_S):
                for session_id in started:
                    while await recorder.client.last(Fact.FAILED, session_id) is None:
                        await asyncio.sleep(POLL_S)
            await until(lambda: redelivered(recorder) > 2 * RETRY.max_deliver)
            await until(lambda: recorder.metric("recorder_disk_state") == 2)
            error = await recorder.refusal(SMALL)
            assert "takes no file" in error.refusal.got or "looked at" in error.refusal.got
            await asyncio.to_thread(give)
            for session_id in started:
                sealed = await recorder.sealed(session_id)
                assert sealed.reason.value == "disk_full"
                assert sealed.frame_count > 0
                assert checked(recorder, session_id) == ["disk"]
            await goes_on(recorder)


def redelivered(recorder: RunningRecorder) -> float:
    stages = ("compress", "merkle")
    return max(recorder.metric("recorder_redeliveries_total", stage=stage) for stage in stages)
