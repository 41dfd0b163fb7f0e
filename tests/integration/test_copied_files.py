"""Files whose packets are copied: bit by bit, in chunks that play alone and together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import reference
from films import decoded, packets, times, write_film
from running_recorder import RunningRecorder, settings_in

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.fmp4_stream import Piece, scan_pieces
from recorder_worker.core.recording_film import recording_film
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings_tree import CaptureSettings, ChunkSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    settings = msgspec.structs.replace(
        settings_in(tmp_path_factory.mktemp("copied")),
        capture=CaptureSettings(segment_s=0.25, retry_s=1.0),
        chunk=ChunkSettings(duration_s=1.0),
    )
    async with RunningRecorder(settings) as running:
        yield running


def chunks_of(recorder: RunningRecorder, session_id: str) -> list[bytes]:
    recording = FolderRecording(recorder.folder(session_id))
    return [b"".join(pieces) for _, pieces in recording_film(recording)]


def pieces_of(chunks: list[bytes]) -> list[Piece]:
    return [piece for chunk in chunks for piece in scan_pieces((chunk,))]


async def copied(recorder: RunningRecorder, film: Path) -> list[bytes]:
    source = {"kind": "file", "uri": str(film), "pace": "fast"}
    session_id, report = await recorder.record(source, profile="copy")
    assert report.verdict is Verdict.COMPLETE, report
    theirs = reference.check(recorder.folder(session_id))
    assert theirs["verdict"] == "COMPLETE"
    assert theirs["root_hash"] == report.root_hash
    return chunks_of(recorder, session_id)


@pytest.mark.parametrize(
    ("name", "video", "audio", "reorder", "rate"),
    [
        ("a.mp4", "libx264", "aac", 2, 44_100),
        ("b.mkv", "libx264", "libopus", 2, 48_000),
        ("c.mp4", "libx265", None, 0, 44_100),
        ("d.mov", "mjpeg", "pcm_mulaw", 0, 8_000),
        ("e.avi", "mjpeg", "ac3", 0, 44_100),
        ("f.mp4", "libx264", "libmp3lame", 0, 44_100),
    ],
)
async def test_the_packets_of_a_recording_are_those_of_its_file(
    recorder: RunningRecorder,
    tmp_path: Path,
    name: str,
    video: str,
    audio: str | None,
    reorder: int,
    rate: int,
) -> None:
    film = write_film(tmp_path / name, video, audio, reorder=reorder, rate=rate)
    chunks = await copied(recorder, film)
    whole = b"".join(chunks)
    assert packets(whole) == packets(film)
    assert times(whole) == times(film)
    assert decoded(whole) == 30
    assert len(chunks) == 3
    assert [decoded(chunk) for chunk in chunks] == [10, 10, 10]
    if audio is not None:
        heard, was = packets(whole, "audio"), packets(film, "audio")
        assert was[-len(heard) :] == heard
        assert len(was) - len(heard) <= 1  # what primes a decoder stands before the first picture
