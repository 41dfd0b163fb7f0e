"""A real RTSP server, recorded as it is: stopped, stalled, garbled, and with a login to keep."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
import pytest_asyncio
import reference
from camera import Camera, Line
from films import decoded, packets
from running_recorder import DEADLINE_S, RunningRecorder, settings_in, until

from recorder_worker.core.events import GapCaptured, SegmentCaptured
from recorder_worker.core.model import EndReason, GapReason
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND_NS = 1_000_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    settings = msgspec.structs.replace(
        settings_in(tmp_path_factory.mktemp("rtsp")),
        capture=CaptureSettings(segment_s=0.25, retry_s=30.0),
        chunk=ChunkSettings(duration_s=1.0),
    )
    async with RunningRecorder(settings) as running:
        yield running


def rtsp(camera: Camera, **fields: object) -> dict[str, Any]:
    """A camera that is lost by what a test does to it, and not where a machine stands still."""
    return {"kind": "rtsp", "uri": camera.uri(), "stall_s": 30.0, "open_s": 30.0, **fields}


async def start(recorder: RunningRecorder, source: dict[str, Any]) -> str:
    started = await recorder.client.start(source, profile="copy", timeout_s=60)
    return started.session_id


async def stop(recorder: RunningRecorder, session_id: str) -> list[bytes]:
    """Stop, verify with both programs; the chunks."""
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert report.verdict in (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS), report
    theirs = reference.check(recorder.folder(session_id))
    assert theirs["root_hash"] == report.root_hash
    return recorder.chunks(session_id)


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


async def recorded(recorder: RunningRecorder, session_id: str, units: int) -> None:
    """Wait until so many pictures are durable, however long a machine stood still between."""
    found = 0
    async with asyncio.timeout(DEADLINE_S), recorder.client.follow(session_id) as facts:
        async for seen in facts:
            if isinstance(seen.event, SegmentCaptured):
                found += seen.event.span.unit_count
                if found >= units:
                    return


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
        await recorded(recorder, session_id, 20)
        chunks = await stop(recorder, session_id)
    sent = slices(encoded.read_bytes())
    kept = [each for sample in packets(b"".join(chunks)) for each in slices_of(sample)]
    assert len(kept) > 20
    # The server encodes a little before it is asked to play, and then begins anew.
    begins = [at for at, each in enumerate(sent) if each == kept[0]]
    assert kept in [sent[at : at + len(kept)] for at in begins]
    assert sum(map(decoded, chunks)) == decoded(b"".join(chunks)) == len(kept) // 2
    assert len(packets(b"".join(chunks), "audio")) > 3
    film = tmp_path / ("film.mp4" if audio == "aac" else "film.mov")
    assert recorder.export(session_id, film)[0] == 0
    assert packets(film) == packets(b"".join(chunks))
    assert decoded(film.read_bytes()) == len(kept) // 2


async def test_a_camera_that_is_stopped_and_started_again_leaves_a_gap(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    with Camera() as camera:
        began_s = time.monotonic()
        session_id = await start(recorder, rtsp(camera))
        opened_s = time.monotonic() - began_s
        before = await recorder.captured(session_id)
        camera.stop()
        # What came while it was opened is of one moment, and as long as ever in a film: the gap is
        # longer than that.
        await asyncio.sleep(opened_s)
        camera.start()
        await recorder.captured(session_id, before.cursor.t_ns + round((opened_s + 2) * SECOND_NS))
        chunks = await stop(recorder, session_id)
    (gap,) = await gaps(recorder, session_id)
    assert gap.reason is GapReason.SOURCE_LOST
    assert gap.span.unit_count > 5
    assert all(decoded(chunk) == len(packets(chunk)) for chunk in chunks)
    assert decoded(b"".join(chunks)) == sum(map(decoded, chunks))
    exported = recorder.export(session_id, tmp_path / "film.mp4")
    assert exported[0] == 0, exported
    assert "(source lost)" in exported[1]
    assert packets(tmp_path / "film.mp4") == packets(b"".join(chunks))
    account = json.loads((tmp_path / "film.mp4.json").read_bytes())
    (before_it, missing, behind_it) = account["parts"]
    assert [part["what"] for part in account["parts"]] == ["pictures", "gap", "pictures"]
    assert before_it["film1_ns"] == missing["film0_ns"] < missing["film1_ns"]
    assert missing["film1_ns"] == behind_it["film0_ns"]
    # Pictures that come back are where they were in the session.
    assert abs(behind_it["film0_ns"] - behind_it["t0_ns"]) < SECOND_NS // 4


async def test_a_camera_that_comes_back_with_another_picture_plays_chunk_by_chunk(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        before = await recorder.captured(session_id)
        camera.stop()
        camera.start(size=[96, 64], video="h265")
        await recorder.captured(session_id, before.cursor.t_ns + 2 * SECOND_NS)
        chunks = await stop(recorder, session_id)
    assert all(decoded(chunk) == len(packets(chunk)) for chunk in chunks)
    assert {b"avc1" in chunk for chunk in chunks} == {True, False}
    code, said = recorder.export(session_id, tmp_path / "film.mp4")
    assert code == 65
    times_of_it = re.findall(r"--(?:to|from) (\d+ns)", said)
    assert len(times_of_it) == 2
    films = (tmp_path / "1.mp4", "--to"), (tmp_path / "2.mp4", "--from")
    for (film, side), at in zip(films, times_of_it, strict=True):
        assert recorder.export(session_id, film, side, at)[0] == 0
    assert packets(films[0][0]) + packets(films[1][0]) == [
        each for chunk in chunks for each in packets(chunk)
    ]


async def test_a_camera_whose_picture_grows_in_mid_stream_is_recorded_on(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    """The new parameter sets are in the stream, where players find them."""
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        before = await recorder.captured(session_id)
        camera.resize()
        await recorded(recorder, session_id, before.cursor.unit + 60)
        chunks = await stop(recorder, session_id)
    assert await gaps(recorder, session_id) == []
    assert recorder.export(session_id, tmp_path / "film.mp4")[0] == 0
    for film in (b"".join(chunks), (tmp_path / "film.mp4").read_bytes()):
        assert sizes(film) == [(160, 120), (320, 240)]
        assert decoded(film) == len(packets(film))
    assert sizes(chunks[-1]) == [(320, 240)]


def sizes(film: bytes) -> list[tuple[int, int]]:
    """The sizes of the pictures of a film, one behind the other."""
    with av.open(io.BytesIO(film), "r") as container:
        shown = ((frame.width, frame.height) for frame in container.decode(video=0))
        return [size for size, _ in itertools.groupby(shown)]


@pytest.mark.parametrize("how", ["stall", "garble"])
async def test_a_camera_that_hangs_or_sends_garbage_is_lost_and_found(
    recorder: RunningRecorder, how: str
) -> None:
    with Camera() as camera:
        line = Line(camera.port)
        fields = {"uri": camera.uri(port=line.port), "stall_s": 0.6}
        session_id = await start(recorder, rtsp(camera, **fields))
        before = await recorder.captured(session_id)
        asked = line.asked
        if how == "stall":
            camera.stall()
        else:
            line.garble()
        await until(lambda: line.asked > asked)  # it is lost, and looked for
        camera.go_on()
        await recorder.captured(session_id, before.cursor.t_ns + 5 * SECOND_NS // 2)
        chunks = await stop(recorder, session_id)
        line.close()
    assert {gap.reason for gap in await gaps(recorder, session_id)} == {GapReason.SOURCE_LOST}
    assert all(chunks)


async def test_a_picture_that_was_cut_off_is_in_the_gap(recorder: RunningRecorder) -> None:
    """What had come of it may be parameter sets alone, which no player takes for a picture."""
    with Camera() as camera:
        line = Line(camera.port)
        session_id = await start(recorder, rtsp(camera, uri=camera.uri(port=line.port)))
        before = await recorder.captured(session_id)
        asked = line.asked
        line.cut()
        await until(lambda: line.asked > asked)
        await recorder.captured(session_id, before.cursor.t_ns + SECOND_NS)
        chunks = await stop(recorder, session_id)
        line.close()
    assert {gap.reason for gap in await gaps(recorder, session_id)} == {GapReason.SOURCE_LOST}
    pictures = [sample for chunk in chunks for sample in packets(chunk)]
    assert len({len(slices_of(each)) for each in pictures}) == 1
    assert sum(map(decoded, chunks)) == len(pictures)


async def test_a_camera_that_stays_away_ends_the_session(tmp_path: Path) -> None:
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        with Camera() as camera:
            session_id = await start(recorder, rtsp(camera))
            await recorder.captured(session_id)
        sealed = await recorder.sealed(session_id)
        assert sealed.reason is EndReason.SOURCE_LOST
        assert recorder.report(session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_a_stop_is_heard_while_a_camera_is_away(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        await recorder.captured(session_id)
        camera.stop()
        await asyncio.sleep(0.5)
        await stop(recorder, session_id)
        # Else it would have been looked for, for `capture.retry_s`, and not been stopped then.
        assert (await recorder.sealed(session_id)).reason is EndReason.STOPPED


async def test_a_pause_hangs_up_and_a_resume_begins_with_a_keyframe(
    recorder: RunningRecorder,
) -> None:
    with Camera() as camera:
        session_id = await start(recorder, rtsp(camera))
        before = await recorder.captured(session_id)
        await recorder.client.pause(session_id)
        await asyncio.sleep(0.2)
        await recorder.client.resume(session_id)
        await recorder.captured(session_id, before.cursor.t_ns + SECOND_NS)
        chunks = await stop(recorder, session_id)
    assert {gap.reason for gap in await gaps(recorder, session_id)} == {GapReason.PAUSE}
    assert all(decoded(chunk) == len(packets(chunk)) for chunk in chunks)


async def test_a_camera_is_decoded_for_the_profile_screen(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        started = await recorder.client.start(rtsp(camera), profile="screen", fps=5, timeout_s=60)
        await recorded(recorder, started.session_id, 8)
        await recorder.client.stop(started.session_id)
        await recorder.sealed(started.session_id)
    pictures = recorder.pictures(started.session_id)
    assert len(pictures) >= 4
    assert pictures[0].shape == (120, 160, 3)
    assert len({picture.tobytes() for picture in pictures}) > 2


async def test_a_worker_that_takes_over_has_the_login_from_the_command(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with Camera(user="viewer", password="secret") as camera:
        async with RunningRecorder(settings) as recorder:
            source = rtsp(camera, uri=camera.uri(login="viewer:secret@"))
            session_id = await start(recorder, source)
            await recorder.captured(session_id)
        async with RunningRecorder(settings) as recorder:
            await recorded(recorder, session_id, 15)
            chunks = await stop(recorder, session_id)
            found = await gaps(recorder, session_id)
    assert found[0].reason is GapReason.HANDOVER
    assert sum(map(decoded, chunks)) > 10
