"""Sources that must not be opened, on real files, real servers and a real recorder."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from running_recorder import RunningRecorder, settings_in
from xserver import XServer

from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.core.errors import RefusedError, SourceError, SourceForbiddenError
from recorder_worker.core.sources.kinds import FileSource, X11Source
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.service.settings.tree import SourceSettings


def video(path: Path) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10.0, (64, 48)
    )
    assert writer.isOpened()
    for shade in range(5):
        writer.write(np.full((48, 64, 3), shade * 40, np.uint8))
    writer.release()
    return path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A directory that may be read, with a video, beside one that may not be."""
    folder = tmp_path / "media"
    (folder / "below").mkdir(parents=True)
    video(folder / "good.mkv")
    (tmp_path / "private").mkdir()
    video(tmp_path / "private" / "secret.mkv")
    return folder


def opened(media: Path, uri: str) -> bool:
    """Whether a source is opened, and gives a picture."""
    opener = GuardedOpener(SourceRules(file_roots=(str(media),)))
    source = opener(FileSource(uri=uri), None, 0)
    try:
        return source.read() is not None
    finally:
        source.close()


def test_a_file_below_the_root_is_opened_by_path_url_and_inner_link(media: Path) -> None:
    (media / "below" / "link.mkv").symlink_to(media / "good.mkv")
    for uri in (
        f"{media}/good.mkv",
        f"file://{media}/good.mkv",
        f"file://localhost{media}/good.mkv",
        f"{media}/below/link.mkv",
    ):
        assert opened(media, uri), uri


def test_a_root_that_is_a_link_itself_is_a_root(media: Path) -> None:
    alias = media.parent / "alias"
    alias.symlink_to(media)
    opener = GuardedOpener(SourceRules(file_roots=(str(alias),)))
    opener(FileSource(uri=f"{alias}/good.mkv"), None, 0).close()


@pytest.mark.parametrize(
    "uri",
    [
        "{private}/secret.mkv",
        "file://{private}/secret.mkv",
        "{media}/../private/secret.mkv",
        "file://{media}/%2e%2e/private/secret.mkv",
        "file://{media}/..%2fprivate/secret.mkv",
        "{media}/below/../good.mkv",  # written out it would be allowed: nobody has to think
        "{media}/link.mkv",
        "{media}/folder/secret.mkv",
        "{media}/chain.mkv",
        "{private}/missing.mkv",
        "/proc/self/environ",
        "/proc/self/root{private}/secret.mkv",
        "{media}2/secret.mkv",
    ],
)
def test_files_outside_are_refused_whatever_they_are_called(media: Path, uri: str) -> None:
    private = media.parent / "private"
    (media / "link.mkv").symlink_to(private / "secret.mkv")
    (media / "folder").symlink_to(private)
    (media / "second.mkv").symlink_to(media / "link.mkv")
    (media / "chain.mkv").symlink_to(media / "second.mkv")
    (media.parent / "media2").mkdir()
    video(media.parent / "media2" / "secret.mkv")
    with pytest.raises(SourceForbiddenError) as refused:
        opened(media, uri.format(media=media, private=private))
    assert refused.value.field == "source.uri"


def test_what_is_there_and_what_is_not_are_refused_in_the_same_words(media: Path) -> None:
    private = media.parent / "private"
    texts = []
    for name in ("secret.mkv", "absent.mkv"):
        with pytest.raises(SourceForbiddenError) as refused:
            opened(media, f"{private}/{name}")
        texts.append(str(refused.value).replace(name, "NAME"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "uri",
    [
        "concat:{media}/good.mkv|{private}/secret.mkv",
        "subfile,,start,0,end,0,,:{private}/secret.mkv",
        "file:{private}/secret.mkv",
        "file:concat:{private}/secret.mkv",
        "cache:{private}/secret.mkv",
        "crypto+file://{private}/secret.mkv",
        "http://127.0.0.1/a.mkv",
        "rtsp://127.0.0.1/a",
        "tcp://169.254.169.254:80",
        "file://evil.example{private}/secret.mkv",
        "{media}/good.mkv\0.png",
    ],
)
def test_protocols_of_ffmpeg_are_no_paths(media: Path, uri: str) -> None:
    private = media.parent / "private"
    with pytest.raises(SourceError):
        opened(media, uri.format(media=media, private=private))


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT9S"><Period><AdaptationSet><Representation id="1" '
    'mimeType="video/mp4" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
}


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A TCP server that notes whoever comes."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    came.append(b"somebody")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "m3u8", "ffconcat", "sdp", "mpd", "avi"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_file_that_names_other_files_is_not_followed(media: Path, kind: str, suffix: str) -> None:
    """Neither to a file that may not be read, nor to one that may, nor to a host."""
    secret = media.parent / "private" / "secret.mkv"
    with listener() as (port, came):
        for target in (str(secret), "good.mkv", f"http://127.0.0.1:{port}/a.mkv"):
            path = media / f"list.{suffix}"
            path.write_text(PLAYLISTS[kind].format(target=target, port=port))
            with pytest.raises(SourceError, match="list of other files"):
                opened(media, str(path))
    assert came == []


def test_a_file_that_is_swapped_for_a_link_after_the_check_is_found_out(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is resolved, then opened: between the two it is put to another place."""
    path = media / "swapped.mkv"
    video(path)
    real_open = os.open

    def swap_then_open(name: str | Path, flags: int) -> int:
        path.unlink()
        path.symlink_to(media.parent / "private" / "secret.mkv")
        return real_open(name, flags)

    monkeypatch.setattr(os, "open", swap_then_open)
    with (
        pytest.raises(SourceForbiddenError),
        SourceGuard(SourceRules(file_roots=(str(media),))).open(FileSource(uri=str(path))),
    ):
        pytest.fail("it was opened")


def test_the_decoder_gets_the_file_that_was_checked_whatever_its_name_means_then(
    media: Path,
) -> None:
    path = media / "good.mkv"
    with SourceGuard(SourceRules(file_roots=(str(media),))).open(FileSource(uri=str(path))) as file:
        path.rename(media / "moved.mkv")
        path.symlink_to(media.parent / "private" / "secret.mkv")
        assert Path(file.name).samefile(media / "moved.mkv")


@pytest.mark.parametrize(
    "uri",
    [
        "169.254.169.254:80",
        "0xA9FEA9FE:0",  # the same address, as inet_aton reads it
        "2852039166:0",
        "0.0.0.0:0",
        "127.0.0.1:0",
        "lab.invalid:0",
    ],
)
def test_hosts_that_are_not_listed_are_not_connected_to(uri: str) -> None:
    with pytest.raises(SourceError) as refused:
        SourceGuard(SourceRules(hosts=("localhost",))).display(X11Source(uri=uri))
    assert "sources.hosts" in str(refused.value) or "looked up" in str(refused.value)


def test_a_display_over_the_network_is_connected_to_by_the_address_that_was_checked() -> None:
    guard = SourceGuard(SourceRules(hosts=("localhost", "127.0.0.0/8")))
    assert guard.display(X11Source(uri="127.0.0.1:10.1")) == "127.0.0.1:10.1"
    assert guard.display(X11Source(uri="localhost:10")) in ("127.0.0.1:10", "[::1]:10")
    assert guard.display(X11Source(uri=":10")) == ":10"
    assert guard.display(X11Source(uri="unix:10")) == "unix:10"


def test_a_real_display_is_recorded_only_where_it_is_listed() -> None:
    with XServer(64, 48) as server:
        allowed = GuardedOpener(SourceRules(displays=(server.display,)))
        allowed(X11Source(uri=server.display), 10.0, 0).close()
        with pytest.raises(SourceForbiddenError, match=r"sources\.displays"):
            GuardedOpener(SourceRules(displays=(":99999",)))(X11Source(uri=server.display), 10.0, 0)


async def test_a_recorder_refuses_and_goes_on(tmp_path: Path, media: Path) -> None:
    """Commands on the bus: each refusal names its field, and the next session is recorded."""
    settings = settings_in(
        tmp_path / "data",
        sources=SourceSettings(kinds=("file",), file_roots=(str(media),), displays=()),
    )
    async with RunningRecorder(settings) as recorder:
        own = settings.data_path / "keys" / "device.pem"
        for source, field in (
            ({"kind": "pattern"}, "source.kind"),
            ({"kind": "x11", "uri": ":0"}, "source.kind"),
            ({"kind": "file", "uri": f"{tmp_path}/private/secret.mkv"}, "source.uri"),
            ({"kind": "file", "uri": str(own)}, "source.uri"),
        ):
            with pytest.raises(RefusedError) as refused:
                await recorder.client.start(source)
            assert refused.value.refusal.field == field
            assert "this worker may record" in refused.value.refusal.expected
        _, report = await recorder.record(
            {"kind": "file", "uri": f"{media}/good.mkv", "pace": "fast"}
        )
        assert report.exit_code == 0


async def test_the_recorders_own_files_are_no_sources_even_where_everything_is(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    async with RunningRecorder(settings) as recorder:
        copy = settings.data_path / "sessions" / "film.mkv"
        video(copy if copy.parent.is_dir() else video_folder(copy))
        with pytest.raises(RefusedError) as refused:
            await recorder.client.start({"kind": "file", "uri": str(copy)})
        assert "system's own" in refused.value.refusal.hint


def video_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


async def test_a_session_whose_source_is_forbidden_since_is_sealed_with_that_reason(
    tmp_path: Path, media: Path
) -> None:
    """The rules of the worker that takes over hold: the session ends, and its record says why."""
    film = media / "long.mkv"
    writer = cv2.VideoWriter(
        str(film), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 5.0, (64, 48)
    )
    for shade in range(200):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    settings = settings_in(tmp_path / "data")
    async with RunningRecorder(settings) as recorder:
        started = await recorder.client.start({"kind": "file", "uri": str(film)})
        await recorder.captured(started.session_id)
    narrow = msgspec.structs.replace(settings, sources=SourceSettings(file_roots=()))
    async with RunningRecorder(narrow) as recorder:
        sealed = await recorder.sealed(started.session_id)
        assert sealed.reason == "policy"
        assert recorder.report(started.session_id).verdict == "COMPLETE_WITH_GAPS"
