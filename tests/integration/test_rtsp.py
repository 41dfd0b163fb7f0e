"""A real RTSP server, recorded as it is: stopped, stalled, garbled, and with a login to keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import reference
from camera import Camera, Line
from films import decoded, packets
from running_recorder import RunningRecorder, settings_in

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.events import GapCaptured
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.recording_film import recording_film
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings_tree import CaptureSettings, ChunkSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND_NS = 1_000_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    settings = msgspec.structs.replace(
        settings_in(tmp_path_factory.mktemp("rtsp")),
        capture=CaptureSettings(segment_s=0.25, retry_s=6.0),
        chunk=ChunkSettings(duration_s=1.0),
    )
    async with RunningRecorder(settings) as running:
        yield running


def rtsp(camera: Camera, **fields: object) -> dict[str, Any]:
    return {"kind": "rtsp", "uri": camera.uri(), "stall_s": 1.0, "open_s": 5.0, **fields}


async def start(recorder: RunningRecorder, source: dict[str, Any]) -> str:
    started = await recorder.client.start(source, profile="copy", timeout_s=20)
    return started.session_id


async def stop(recorder: RunningRecorder, session_id: str) -> list[bytes]:
    """Stop, verify with both programs; the chunks."""
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert report.verdict in (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS), report
    theirs = reference.check(recorder.folder(session_id))
    assert theirs["root_hash"] == report.root_hash
    recording = FolderRecording(recorder.folder(session_id))
    return [b"".join(pieces) for _, pieces in recording_film(recording)]


def slices(data: bytes) -> list[bytes]:
    """The slices of H.264 in Annex B."""
    found = (each.rstrip(b"\0") for each in data.split(b"\0\0\1"))
    return [each for each in found if each and each[0] & 31 in (1, 5)]


def slices_of(sample: bytes) -> list[bytes]:
    """The slices of H.264 in a sample of MP4: a length before each."""
    found, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + 4])
        unit = sample[at + 4 : at + 4 + size]
        if unit[0] & 31 in (1, 5):
            found.append(unit.rstrip(b"\0"))
        at += 4 + size
    return found


async def gaps(recorder: RunningRecorder, session_id: str) -> list[GapCaptured]:
    facts = await recorder.facts(Fact.CAPTURED, session_id)
    return [event for event in facts if isinstance(event, GapCaptured)]


@pytest.mark.parametrize(("transport", "audio"), [("tcp", "aac"), ("udp", "mulaw")])
async def test_the_pictures_of_a_camera_are_recorded_bit_by_bit(
    recorder: RunningRecorder, tmp_path: Path, transport: str, audio: str
) -> None:
    encoded = tmp_path / "encoded"
    with Camera(encoded=str(encoded), audio=audio) as camera:
        session_id = await start(recorder, rtsp(camera, transport=transport))
        await recorder.captured(session_id, 2 * SECOND_NS)
        chunks = await stop(recorder, session_id)
    sent = slices(encoded.read_bytes())
    kept = [each for sample in packets(b"".join(chunks)) for each in slices_of(sample)]
    assert len(kept) > 40
    # The server encodes a little before it is asked to play, and then begins anew.
    begins = [at for at, each in enumerate(sent) if each == kept[0]]
    assert kept in [sent[at : at + len(kept)] for at in begins]
    assert sum(map(decoded, chunks)) == decoded(b"".join(chunks)) == len(kept) // 2
    assert len(packets(b"".join(chunks), "audio")) > 5


async def test_a_camera_that_is_stopped_and_started_again_leaves_a_gap(
    recorder: RunningRecorder,
) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        before = await recorder.captured(session_id, SECOND_NS)
        camera.stop()
        await asyncio.sleep(0.5)
        camera.start()
        await recorder.captured(session_id, before.cursor.t_ns + 3 * SECOND_NS)
        chunks = await stop(recorder, session_id)
    (gap,) = await gaps(recorder, session_id)
    assert gap.reason is GapReason.SOURCE_LOST
    assert gap.span.unit_count > 5
    assert all(decoded(chunk) == len(packets(chunk)) for chunk in chunks)
    assert decoded(b"".join(chunks)) == sum(map(decoded, chunks))


@pytest.mark.parametrize("how", ["stall", "garble"])
async def test_a_camera_that_hangs_or_sends_garbage_is_lost_and_found(
    recorder: RunningRecorder, how: str
) -> None:
    with Camera() as camera:
        line = Line(camera.port)
        session_id = await start(recorder, rtsp(camera, uri=camera.uri(port=line.port)))
        before = await recorder.captured(session_id, SECOND_NS)
        if how == "stall":
            camera.stall()
            await asyncio.sleep(2.0)
            camera.go_on()
        else:
            line.garble = True
            await asyncio.sleep(1.5)
            line.garble = False
        await recorder.captured(session_id, before.cursor.t_ns + 4 * SECOND_NS)
        chunks = await stop(recorder, session_id)
        line.close()
    found = await gaps(recorder, session_id)
    assert {gap.reason for gap in found} == {GapReason.SOURCE_LOST}
    assert all(chunks)


async def test_a_camera_that_stays_away_ends_the_session(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        await recorder.captured(session_id, SECOND_NS)
    sealed = await recorder.sealed(session_id)
    assert sealed.reason is EndReason.SOURCE_LOST
    assert recorder.report(session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_a_stop_is_heard_while_a_camera_is_away(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        await recorder.captured(session_id, SECOND_NS)
        camera.stop()
        await asyncio.sleep(0.5)
        async with asyncio.timeout(3):
            await stop(recorder, session_id)


async def test_a_pause_hangs_up_and_a_resume_begins_with_a_keyframe(
    recorder: RunningRecorder,
) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        before = await recorder.captured(session_id, SECOND_NS)
        await recorder.client.pause(session_id)
        await asyncio.sleep(0.5)
        await recorder.client.resume(session_id)
        await recorder.captured(session_id, before.cursor.t_ns + 2 * SECOND_NS)
        chunks = await stop(recorder, session_id)
    assert {gap.reason for gap in await gaps(recorder, session_id)} == {GapReason.PAUSE}
    assert all(decoded(chunk) == len(packets(chunk)) for chunk in chunks)


async def test_a_camera_is_decoded_for_the_profile_screen(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        started = await recorder.client.start(rtsp(camera), profile="screen", fps=5, timeout_s=20)
        await recorder.captured(started.session_id, SECOND_NS)
        await recorder.client.stop(started.session_id)
        await recorder.sealed(started.session_id)
    pictures = recorder.pictures(started.session_id)
    assert len(pictures) >= 4
    assert pictures[0].shape == (120, 160, 3)
    assert len({picture.tobytes() for picture in pictures}) > 2
