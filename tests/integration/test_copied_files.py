"""Files whose packets are copied: bit by bit, in chunks that play alone and together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import numpy as np
import pyrage
import pytest
import pytest_asyncio
import reference
from films import decoded, packets, times, write_film, write_sound
from running_recorder import RunningRecorder, settings_in

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus.connection.broker import Login
from recorder_worker.cli.identities import cipher_of
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import GapCaptured, MarkCaptured
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.packets.fmp4_stream import Piece, scan_pieces
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.replaying import replay_session
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings, EncryptionSettings

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


def pieces_of(chunks: list[bytes]) -> list[Piece]:
    return [piece for chunk in chunks for piece in scan_pieces((chunk,))]


async def copied(recorder: RunningRecorder, film: Path) -> list[bytes]:
    source = {"kind": "file", "uri": str(film), "pace": "fast"}
    session_id, report = await recorder.record(source, profile="copy")
    assert report.verdict is Verdict.COMPLETE, report
    theirs = reference.check(recorder.folder(session_id))
    assert theirs["verdict"] == "COMPLETE"
    assert theirs["root_hash"] == report.root_hash
    return recorder.chunks(session_id)


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


async def test_a_film_that_changes_hands_loses_nothing(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", frames=120, fps=20)
    settings = settings_in(tmp_path / "data")
    source = {"kind": "file", "uri": str(film), "pace": "native"}
    async with RunningRecorder(settings) as recorder:
        started = await recorder.client.start(source, profile="copy")
        await recorder.captured(started.session_id)
    async with RunningRecorder(settings) as recorder:
        sealed = await recorder.sealed(started.session_id)
        report = recorder.report(started.session_id)
        chunks = recorder.chunks(started.session_id)
        gaps = await recorder.facts(Fact.CAPTURED, started.session_id)
        exported = recorder.export(started.session_id, tmp_path / "out.mp4")
    assert sealed.reason is EndReason.SOURCE_ENDED
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert [(e.reason, e.span.unit_count) for e in gaps if isinstance(e, GapCaptured)] == [
        (GapReason.HANDOVER, 0)
    ]
    assert packets(b"".join(chunks)) == packets(film)
    assert decoded(b"".join(chunks)) == 120
    assert sum(map(decoded, chunks)) == 120
    assert exported[0] == 0, exported
    assert "(handover)" in exported[1]
    assert packets(tmp_path / "out.mp4") == packets(film)
    shown = times(tmp_path / "out.mp4")
    assert shown == sorted(shown)
    heard, was = packets(tmp_path / "out.mp4", "audio"), packets(film, "audio")
    assert was[-len(heard) :] == heard, "no sound is there twice"
    assert len(was) - len(heard) <= 1


async def test_an_encrypted_film_is_opened_by_its_recipient_alone(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4")
    identity = pyrage.x25519.Identity.generate()
    settings = msgspec.structs.replace(
        settings_in(tmp_path / "data"),
        encryption=EncryptionSettings(recipients=(str(identity.to_public()),)),
    )
    key = tmp_path / "key"
    key.write_text(f"{identity}\n")
    async with RunningRecorder(settings) as recorder:
        source = {"kind": "file", "uri": str(film), "pace": "fast"}
        session_id, report = await recorder.record(source, profile="copy")
        recording = FolderRecording(recorder.folder(session_id))
        cipher = cipher_of(recording, [key])
        assert report.verdict is Verdict.COMPLETE
        assert verify(recording, cipher=cipher).verdict is Verdict.COMPLETE
        with pytest.raises(RefusedError):
            recorder.chunks(session_id)
        plain = b"".join(b"".join(part) for _, part in recording_film(recording, cipher))
        assert packets(plain) == packets(film)
        target = tmp_path / "film.mp4"
        assert recorder.export(session_id, target)[0] == 65
        assert recorder.export(session_id, target, "--identity", key)[0] == 0
    assert packets(target) == packets(film)
    assert packets(target, "audio") == packets(plain, "audio")


async def test_a_replay_makes_the_same_chunks_and_the_same_root(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    source = {"kind": "file", "uri": str(write_film(tmp_path / "a.mp4")), "pace": "fast"}
    session_id, _ = await recorder.record(source, profile="copy")
    login, target = Login(servers=(recorder.url,)), tmp_path / "again"
    result = await replay_session(recorder.settings, login, session_id, target)
    assert result.same, result.difference
    once, again = recorder.folder(session_id) / "chunks", Path(result.location) / "chunks"
    assert {path.name for path in once.iterdir()} == {path.name for path in again.iterdir()}
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in once.iterdir())


async def test_pictures_are_asked_of_a_recording_of_packets(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    source = {"kind": "file", "uri": str(write_film(tmp_path / "a.mp4")), "pace": "fast"}
    session_id, _ = await recorder.record(source, profile="copy")
    with pytest.raises(RefusedError, match="profile copy"):
        recorder.pictures(session_id)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: write_film(path / "a.mkv", "libvpx", None), "h264, hevc, mjpeg"),
        (lambda path: write_film(path / "a.h264", audio=None), "without"),
        (lambda path: write_sound(path / "a.m4a"), "expected a video"),
        (lambda path: write_noise(path / "a.mp4"), "that FFmpeg can open"),
    ],
)
async def test_a_file_that_cannot_be_copied_is_refused_in_words(
    recorder: RunningRecorder, tmp_path: Path, make: Callable[[Path], Path], text: str
) -> None:
    source = {"kind": "file", "uri": str(make(tmp_path))}
    assert text in str(await recorder.refusal(source, profile="copy"))


async def test_a_file_that_breaks_off_is_recorded_up_to_there(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    film = write_film(tmp_path / "a.ts", audio="aac", frames=60)
    data = film.read_bytes()
    film.write_bytes(data[: len(data) // 2] + b"\0" * 2000 + data[len(data) * 2 // 3 :])
    source = {"kind": "file", "uri": str(film), "pace": "fast"}
    session_id, report = await recorder.record(source, profile="copy")
    assert report.verdict in (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS)
    assert len(packets(b"".join(recorder.chunks(session_id)))) > 20


async def test_times_that_jump_in_a_file_are_noted_and_the_film_goes_on(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    film = write_film(tmp_path / "a.ts", rate=48_000)
    film.write_bytes(film.read_bytes() * 2)
    source = {"kind": "file", "uri": str(film), "pace": "fast"}
    session_id, report = await recorder.record(source, profile="copy")
    assert report.verdict is Verdict.COMPLETE
    captured = await recorder.facts(Fact.CAPTURED, session_id)
    (mark,) = [event for event in captured if isinstance(event, MarkCaptured)]
    assert (mark.kind, mark.by) == ("recorder.timestamps", "recorder")
    assert msgspec.json.decode(mark.body)["what"] == "backward"
    chunks = recorder.chunks(session_id)
    assert decoded(b"".join(chunks)) == sum(map(decoded, chunks)) == 60
    shown = times(b"".join(chunks))
    assert max(shown) - min(shown) < 6.5
    assert len({piece.times.shift for piece in pieces_of(chunks)}) == 2
    exported = recorder.export(session_id, tmp_path / "out.mkv")
    assert exported[0] == 0, exported
    assert packets(tmp_path / "out.mkv") == packets(b"".join(chunks))
    # What TS has around each piece of sound (ADTS) is taken off; none is lost at the seam.
    assert len(packets(b"".join(chunks), "audio")) >= len(packets(film, "audio")) - 4


def write_noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    return path
