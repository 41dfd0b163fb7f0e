"""Commands and facts on a real nats-server, as any client sends and sees them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

import cv2
import msgspec
import nats.errors
import numpy as np
import pytest
from blake3 import blake3
from nats.aio.msg import Msg
from running_recorder import (
    DEADLINE_S,
    LIVE,
    POLL_S,
    RunningRecorder,
    assert_pattern,
    begun,
)

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.bus.fact_stream import FactSeen
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import (
    Control,
    GapCaptured,
    MarkCaptured,
    SegmentCaptured,
    SessionPaused,
    SessionResumed,
    SessionSealed,
    SessionStarted,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import MarkRecord
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.stages import control

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {**LIVE, "pace": "fast", "frames": 20}
COMMAND = json.dumps({"source": SHORT}).encode()


async def effect(recorder: RunningRecorder, command: str, session_id: str, fact: Fact) -> Any:  # noqa: ANN401  (the fact's own type)
    send = getattr(recorder.client, command)
    return await recorder.client.effect(
        lambda: send(session_id, by="kim"), session_id, lambda seen: seen.fact is fact, DEADLINE_S
    )


# --- from any client -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["publish", "request", "jetstream"])
async def test_a_start_without_an_id_gets_one_that_comes_back(
    recorder: RunningRecorder, way: str
) -> None:
    started = await recorder.bus.subscribe("session.started.*")
    if way == "publish":
        await recorder.bus.publish("session.start", COMMAND)
    elif way == "request":
        answer = json.loads((await recorder.bus.request("session.start", COMMAND, DEADLINE_S)).data)
        assert answer["stream"] == "COMMANDS"
    else:
        assert (await recorder.jetstream.publish("session.start", COMMAND)).stream == "COMMANDS"
    message: Msg = await started.next_msg(DEADLINE_S)
    await started.unsubscribe()
    fact = json.loads(message.data)
    session_id = fact["session_id"]
    assert message.subject == f"session.started.{session_id}"
    assert uuid.UUID(session_id).version == 7
    assert fact["source"]["kind"] == "pattern"
    sealed = await recorder.sealed(session_id)
    assert (sealed.frame_count, sealed.reason.value) == (20, "source_ended")
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


async def test_a_start_with_a_message_id_that_is_sent_twice_is_one_session(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.bus.subscribe("session.started.*")
    headers = {"Nats-Msg-Id": uuid.uuid4().hex}
    first = await recorder.jetstream.publish("session.start", COMMAND, headers=headers)
    again = await recorder.jetstream.publish("session.start", COMMAND, headers=headers)
    assert (first.duplicate, again.duplicate) == (None, True)
    fact = json.loads((await started.next_msg(DEADLINE_S)).data)
    await recorder.sealed(fact["session_id"])
    await recorder.nothing_is_left()
    with pytest.raises(nats.errors.TimeoutError):
        await started.next_msg(0.1)
    await started.unsubscribe()


async def test_a_session_has_the_id_that_was_asked_for(recorder: RunningRecorder) -> None:
    session_id = str(uuid.uuid4())
    found, report = await recorder.record(SHORT, session_id=session_id)
    assert found == report.session_id == session_id
    assert recorder.folder(session_id).is_dir()


async def test_facts_carry_what_cloud_events_and_traces_ask_for(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    message = await recorder.jetstream.get_last_msg("SESSIONS", f"session.sealed.{session_id}")
    headers = message.headers or {}
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-type"] == "session.sealed.v1"
    assert headers["ce-subject"] == session_id
    assert headers["traceparent"].split("-")[1] == uuid.UUID(session_id).hex


async def test_the_seal_says_what_there_is_and_where(recorder: RunningRecorder) -> None:
    session_id, report = await recorder.record(SHORT)
    sealed = await recorder.sealed(session_id)
    assert sealed.root_hash == report.root_hash
    assert (sealed.tree_size, sealed.chunk_count, sealed.gap_count) == (report.tree_size, 1, 0)
    assert (sealed.frame_count, sealed.raw_bytes) == (20, 20 * 64 * 48 * 3)
    chunks = (recorder.folder(session_id) / "chunks").iterdir()
    assert sealed.stored_bytes == sum(path.stat().st_size for path in chunks)
    assert Path(sealed.location) == recorder.folder(session_id)


# --- stop, pause, resume -------------------------------------------------------------------------


async def test_a_stop_seals_all_that_was_recorded(recorder: RunningRecorder) -> None:
    session_id = await begun(recorder)
    await recorder.client.stop(session_id, by="kim")
    sealed = await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "stopped")
    assert assert_pattern(recorder, session_id, width=64, height=48) == sealed.frame_count
    segments = await recorder.facts(Fact.CAPTURED, session_id)
    counts = [event.span.unit_count for event in segments if isinstance(event, SegmentCaptured)]
    assert sum(counts) == sealed.frame_count


async def test_a_stop_that_overtakes_its_start_is_honoured(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that stands still between the two is not what is tested.
    monkeypatch.setattr(control, "START_GRACE_NS", round(DEADLINE_S * 1e9))
    session_id = str(uuid.uuid4())
    await recorder.client.stop(session_id)
    await recorder.client.start(LIVE, session_id=session_id)
    assert (await recorder.sealed(session_id)).reason.value == "stopped"
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


async def test_a_pause_is_one_gap_with_its_true_times(recorder: RunningRecorder) -> None:
    session_id = await begun(recorder)
    paused = await effect(recorder, "pause", session_id, Fact.PAUSED)
    paused_ns = time.time_ns()
    stands = await recorder.client.last(Fact.CAPTURED, session_id)
    await asyncio.sleep(2 * recorder.settings.capture.segment_s)
    assert await recorder.client.last(Fact.CAPTURED, session_id) == stands, "nothing is recorded"
    resume_ns = time.time_ns()
    resumed = await effect(recorder, "resume", session_id, Fact.RESUMED)
    resumed_ns = time.time_ns()
    assert isinstance(paused, SessionPaused)
    assert isinstance(resumed, SessionResumed)
    assert (paused.by, resumed.by) == ("kim", "kim")
    await recorder.captured(session_id, resumed.t_ns)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)

    report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    [gap] = report.gaps
    assert gap.reason == "pause"
    assert gap.t0_ns == paused.t_ns
    assert gap.t1_ns == resumed.t_ns
    segments = await recorder.facts(Fact.CAPTURED, session_id)
    ends = [e.span.wall1_ns for e in segments if isinstance(e, SegmentCaptured)]
    assert gap.wall0_ns == max(end for end in ends if end <= paused_ns), "no time between them"
    assert resume_ns <= gap.wall1_ns <= resumed_ns
    # A pattern waits for its reader, so that no frame of it is lost.
    assert gap.lost_units == 0
    assert_pattern(recorder, session_id, width=64, height=48)


async def test_a_session_that_is_stopped_in_its_pause_ends_with_the_gap(
    recorder: RunningRecorder,
) -> None:
    session_id = await begun(recorder)
    await effect(recorder, "pause", session_id, Fact.PAUSED)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    events = await recorder.facts(Fact.CAPTURED, session_id)
    assert isinstance(events[-2], GapCaptured)
    report = recorder.report(session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "stopped")
    assert [gap.reason for gap in report.gaps] == ["pause"]


# --- marks ---------------------------------------------------------------------------------------


async def test_a_mark_is_sealed_into_the_record(recorder: RunningRecorder) -> None:
    session_id = await begun(recorder)
    told_ns = time.time_ns()
    await recorder.client.mark(
        session_id, "the alarm\n❗", type="alarm", by="kim", data={"door": "7"}
    )
    async with asyncio.timeout(DEADLINE_S):
        async for seen in recorder.client.events(session_id):
            if isinstance(seen.event, MarkCaptured):
                mark = seen.event
                break
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)
    assert sealed.mark_count == 1
    assert recorder.report(session_id).verdict is Verdict.COMPLETE

    folder = recorder.folder(session_id)
    records = [decode_record(r) for r in unframed(FolderRecording(folder).stream("records"))]
    [record] = [record for record in records if isinstance(record, MarkRecord)]
    assert (record.kind, record.by, record.t_ns) == ("alarm", "kim", mark.t_ns)
    assert record.wall_ns >= told_ns
    path = folder / "marks" / f"{record.index:010d}.json"
    body = path.read_bytes()
    assert blake3(body).digest() == bytes(record.body_blake3)
    said = json.loads(body)
    assert (said["text"], said["data"]) == ("the alarm\n❗", {"door": "7"})

    path.write_bytes(body.replace(b"alarm", b"clock"))
    report = verify(FolderRecording(folder))
    assert report.verdict is Verdict.TAMPERED
    path.write_bytes(body)


async def test_marks_stand_in_the_order_in_which_they_came_also_in_a_pause(
    recorder: RunningRecorder,
) -> None:
    session_id = await begun(recorder)
    await recorder.client.mark(session_id, "first")
    await effect(recorder, "pause", session_id, Fact.PAUSED)
    await recorder.client.mark(session_id, "second")
    await recorder.commands_are_handled()
    await effect(recorder, "resume", session_id, Fact.RESUMED)
    await recorder.client.mark(session_id, "third")
    async with asyncio.timeout(DEADLINE_S):
        marks: list[MarkCaptured] = []
        async for seen in recorder.client.events(session_id):
            if isinstance(seen.event, MarkCaptured):
                marks.append(seen.event)
            if len(marks) == 3:
                break
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    assert [json.loads(mark.body)["text"] for mark in marks] == ["first", "second", "third"]
    times = [mark.t_ns for mark in marks]
    assert times == sorted(times)
    assert recorder.report(session_id).totals.mark_count == 3


# --- what a start may say ------------------------------------------------------------------------


@pytest.mark.parametrize("pace", ["native", "fast"])
async def test_a_session_ends_after_its_longest_time(recorder: RunningRecorder, pace: str) -> None:
    session_id, report = await recorder.record({**LIVE, "pace": pace}, fps=20, max_duration_s=1.5)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "max_duration")
    assert report.t_end_ns == 1_500_000_000
    assert report.totals.frame_count == 30
    assert assert_pattern(recorder, session_id, width=64, height=48) == 30


async def test_masks_are_black_in_every_frame_and_the_rest_is_as_it_was(
    recorder: RunningRecorder,
) -> None:
    size = {"kind": "pattern", "width": 200, "height": 120, "resize_every": 5}
    masks = [
        {"x": 10, "y": 20, "width": 30, "height": 40},
        {"x": 140, "y": 80, "width": 1000, "height": 1000},
    ]
    session_id, report = await recorder.record({**size, "pace": "fast", "frames": 15}, masks=masks)
    assert report.verdict is Verdict.COMPLETE
    wanted = PatternDesktop(msgspec.convert(size, PatternSource), fps=10)
    pictures = recorder.pictures(session_id)
    assert len(pictures) == 15
    for picture in pictures:
        frame = wanted.read()
        assert frame is not None
        expected = frame.picture
        assert expected[20:60, 10:40].any(), "there was something to hide"
        expected[20:60, 10:40] = 0
        expected[80:, 140:] = 0
        np.testing.assert_array_equal(picture, expected)
    manifest = json.loads((recorder.folder(session_id) / "session.json").read_bytes())
    assert manifest["command"]["masks"] == masks


async def test_owner_and_labels_are_kept(recorder: RunningRecorder) -> None:
    labels = {"ward": "3", "café": "☕"}
    session_id, report = await recorder.record(SHORT, owner="kim@example.org", labels=labels)
    assert report.verdict is Verdict.COMPLETE
    path = recorder.folder(session_id) / "session.json"
    command = json.loads(path.read_bytes())["command"]
    assert (command["owner"], command["labels"]) == ("kim@example.org", labels)
    path.write_bytes(path.read_bytes().replace(b"kim@", b"jim@"))
    assert recorder.report(session_id).verdict is Verdict.TAMPERED


async def test_a_file_at_native_pace_takes_its_time_and_loses_nothing(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 20, (64, 48))
    random = np.random.default_rng(3)
    pictures = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(30)]
    for picture in pictures:
        writer.write(picture)
    writer.release()
    began_s = time.monotonic()
    session_id, report = await recorder.record({"kind": "file", "uri": path.as_uri()})
    assert time.monotonic() - began_s >= 29 / 20, "the last frame is due so long behind the first"
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "source_ended")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    decoded = [picture for there, picture in iter(capture.read, (False, None)) if there]
    recorded = recorder.pictures(session_id)
    assert len(recorded) == len(decoded) == 30
    for ours, theirs in zip(recorded, decoded, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the client ----------------------------------------------------------------------------------


async def test_the_client_tells_a_whole_life_in_order(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    seen: list[FactSeen] = []
    async with asyncio.timeout(DEADLINE_S):
        async for fact in recorder.client.events(session_id):
            seen.append(fact)
            if fact.fact is Fact.SEALED:
                break
    assert {fact.session_id for fact in seen} == {session_id}
    kinds = [fact.fact for fact in seen]
    assert kinds[0] is Fact.STARTED
    for earlier, later in zip(
        (Fact.STARTED, Fact.CAPTURED, Fact.CHUNKED, Fact.COMPRESSED, Fact.HEAD, Fact.CHECKPOINT),
        (Fact.CAPTURED, Fact.CHUNKED, Fact.COMPRESSED, Fact.HEAD, Fact.CHECKPOINT, Fact.SEALED),
        strict=True,
    ):
        assert kinds.index(earlier) < kinds.index(later)


async def test_the_client_tells_of_all_sessions_from_now_on(recorder: RunningRecorder) -> None:
    async with recorder.client.follow(history=False) as facts:
        ids = {(await recorder.record(SHORT))[0] for _ in range(2)}
        sealed: set[str] = set()
        async with asyncio.timeout(DEADLINE_S):
            async for seen in facts:
                if isinstance(seen.event, SessionSealed):
                    sealed.add(seen.session_id)
                if sealed == ids:
                    break
    assert ids <= set(await recorder.client.sessions())


async def test_the_client_is_not_stopped_by_what_is_no_fact(recorder: RunningRecorder) -> None:
    async with recorder.client.follow(history=False) as facts:
        for data in (b"", b"\xff", b"[" * 50_000, b'{"type":"sealed"}'):
            await recorder.jetstream.publish("session.sealed.x", data)
        session_id, _ = await recorder.record(SHORT)
        async with asyncio.timeout(DEADLINE_S):
            async for seen in facts:
                assert seen.session_id == session_id
                if seen.fact is Fact.SEALED:
                    break


async def test_the_client_waits_for_a_seal_that_is_there_or_that_comes(
    recorder: RunningRecorder,
) -> None:
    session_id = await begun(recorder)
    waiting = asyncio.create_task(recorder.client.wait_sealed(session_id))
    with pytest.raises(BusUnavailableError, match="nothing came within"):
        await recorder.client.wait_sealed(session_id, 0.1)
    assert not waiting.done()
    await recorder.client.stop(session_id)
    async with asyncio.timeout(DEADLINE_S):
        sealed = await waiting
    assert await recorder.client.wait_sealed(session_id) == sealed


async def taken(recorder: RunningRecorder, session_id: str) -> bool:
    """Whether a start is taken within seconds."""
    for _ in range(500):
        if await recorder.client.last(Fact.STARTED, session_id) is not None:
            return True
        await asyncio.sleep(POLL_S)
    return False


async def test_a_start_that_nobody_takes_is_said_and_stays_queued(
    recorder: RunningRecorder,
) -> None:
    ids = [await begun(recorder) for _ in range(recorder.settings.capture.capacity)]
    waits = str(uuid.uuid4())
    with pytest.raises(BusUnavailableError, match="is free to take it"):
        await recorder.client.start(SHORT, session_id=waits, timeout_s=0.3)
    running = iter(ids)
    await recorder.client.stop(next(running))
    while not await taken(recorder, waits):
        # A lease that came again, on a machine that stood still, was given the place that was free.
        await recorder.client.stop(next(running))
    assert (await recorder.sealed(waits)).frame_count == 20
    for session_id in running:
        await recorder.client.stop(session_id)
    for session_id in ids:
        assert (await recorder.sealed(session_id)).reason.value == "stopped"
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
    started = [await recorder.client.last(Fact.STARTED, session_id) for session_id in ids]
    assert all(isinstance(event, SessionStarted) for event in started)
    await recorder.nothing_is_left()


@pytest.mark.parametrize("name", ["short", "x" * 200])
async def test_a_stop_is_a_stop_whatever_id_its_client_gave_it(
    recorder: RunningRecorder, name: str
) -> None:
    """Ids that are long, and alike but for their end, and one that a mark had before."""
    session_id = await begun(recorder)
    bodies = {
        f"{name}-1": (Command.MARK, {"session_id": session_id, "text": "one"}),
        "another": (Command.MARK, {"session_id": session_id, "text": "two"}),
        f"{name}-2": (Command.STOP, {"session_id": session_id}),
    }
    for message_id, (command, body) in bodies.items():
        await recorder.jetstream.publish(
            command, json.dumps(body).encode(), headers={"Nats-Msg-Id": f"{session_id}{message_id}"}
        )
    assert (await recorder.sealed(session_id)).reason == "stopped"
    controls = await recorder.facts(Fact.CONTROL, session_id)
    assert [c.command for c in controls if isinstance(c, Control)] == [
        command for command, _ in bodies.values()
    ]
