"""Frames that another program publishes, on a real nats-server and a whole recorder."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import msgspec
import nats
import nats.errors
import numpy as np
import pytest
from frame_publisher import FramePublisher, Pixels, picture_of, raw_headers
from nats.aio.client import Client
from nats_process import NatsProcess
from running_recorder import RunningRecorder, settings_in, until

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import frame_feed
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.frame_feed import NatsFrameFeed
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import GapCaptured, SessionFailed
from recorder_worker.core.frame_messages import FrameAnswer, FrameStatus
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import NatsSettings, SourceSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = FrameStatus.ACCEPTED


def new_publisher(recorder: RunningRecorder) -> FramePublisher:
    return FramePublisher(recorder.bus, f"source.test.{uuid.uuid4().hex}")


async def started(
    recorder: RunningRecorder,
    publisher: FramePublisher,
    *,
    timeout_s: float = 20.0,
    fps: float = 20,
) -> str:
    """A session whose first frame is `picture_of(0)`."""
    source = {"kind": "nats", "uri": publisher.subject, "timeout_s": timeout_s}
    async with publisher.until_recorded():
        session = await recorder.client.start(source, fps=fps, timeout_s=60)
    assert (session.source.width, session.source.height) == (48, 32)
    return session.session_id


async def sealed(recorder: RunningRecorder, session_id: str) -> Report:
    await recorder.sealed(session_id)
    return recorder.report(session_id)


def assert_recorded(recorder: RunningRecorder, session_id: str, wanted: list[Pixels]) -> None:
    for found, picture in zip(recorder.pictures(session_id), wanted, strict=True):
        np.testing.assert_array_equal(found, picture)


async def gaps(recorder: RunningRecorder, session_id: str) -> list[GapCaptured]:
    """The gaps so far, of a session that goes on."""
    events = await recorder.facts(Fact.CAPTURED, session_id)
    return [event for event in events if isinstance(event, GapCaptured)]


# --- what is recorded ---------------------------------------------------------------------------


async def test_raw_and_encoded_frames_are_recorded_bit_for_bit_until_their_end(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    wanted = [picture_of(index) for index in range(8)]
    for index, code in enumerate(("RGB", "BGRA", "RGBA", "GRAY"), start=1):
        change = getattr(cv2, f"COLOR_BGR2{code}")
        sent = np.asarray(cv2.cvtColor(wanted[index], change), np.uint8)
        headers = raw_headers(wanted[index]) | {"recorder-format": code.lower()}
        headers.pop("Recorder-Format")
        answer = await publisher.send(sent.tobytes(), headers)
        assert (answer.status, answer.frame) == (ACCEPTED, index + 1)
    wanted[4] = np.dstack([sent] * 3)
    assert (await publisher.png(wanted[5])).status is ACCEPTED
    larger = picture_of(6, 80, 50)
    assert (await publisher.raw(larger)).status is ACCEPTED
    now = str(time.time_ns())
    assert (await publisher.raw(wanted[7], time=now, sequence="7")).status is ACCEPTED
    assert (await publisher.end()).status is ACCEPTED
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "source_ended")
    assert_recorded(recorder, session_id, [*wanted[:6], larger, wanted[7]])


async def test_a_frame_that_is_published_and_not_asked_about_is_recorded(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    for index in range(1, 20):
        picture = picture_of(index)
        await recorder.bus.publish(
            publisher.subject, picture.tobytes(), headers=raw_headers(picture)
        )
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert report.verdict is Verdict.COMPLETE
    assert_recorded(recorder, session_id, [picture_of(index) for index in range(20)])


async def test_a_frame_is_of_when_its_publisher_says(recorder: RunningRecorder) -> None:
    """A tenth of a second between frames that are published at once, by a clock of its own."""
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    for index in range(1, 4):
        steady = {"clock": "monotonic", "time": str(1000 + index * 100_000_000)}
        answer = await publisher.raw(picture_of(index), **steady)
        assert answer.status is ACCEPTED
    await publisher.end()
    assert (await sealed(recorder, session_id)).verdict is Verdict.COMPLETE
    recording = FolderRecording(recorder.folder(session_id))
    times = [frame.t_ns for frame in recording_frames(recording)]
    assert times[3] - times[2] == 100_000_000
    assert times[2] - times[1] == 100_000_000


# --- what is refused, and what is missing then --------------------------------------------------


PICTURE = picture_of(99)
PIXELS = PICTURE.tobytes()
RAW = raw_headers(PICTURE)
MALFORMED: list[tuple[str, bytes, dict[str, str], str, str]] = [
    ("nothing said", PIXELS, {}, "Recorder-Format", "nothing"),
    ("a wrong size", PIXELS[1:], RAW, "$", "4607 bytes"),
    ("no width", PIXELS, {"Recorder-Format": "BGR"}, "Recorder-Width, Recorder-Height", "0x0"),
    ("a bad number", PIXELS, RAW | {"Recorder-Width": "-3"}, "Recorder-Width", "-3"),
    ("too many pixels", b"x", RAW | {"Recorder-Width": "60000", "Recorder-Height": "60000"},
     "Recorder-Width, Recorder-Height", "60000x60000"),
    ("another format", PIXELS, RAW | {"Recorder-Format": "NV12"}, "Recorder-Format", "NV12"),
    ("another type", PIXELS, {"Content-Type": "text/plain"}, "Content-Type", "text/plain"),
    ("packets", PIXELS, {"Content-Type": "video/h264"}, "Content-Type", "video/h264"),
    ("no picture", b"hello", {"Content-Type": "image/png"}, "$", "begin with 68"),
    ("a time ahead", PIXELS, RAW | {"Recorder-Time": str(2**62)}, "Recorder-Time", "+"),
    ("a time long ago", PIXELS, RAW | {"Recorder-Time": "1"}, "Recorder-Time", "1, which is -"),
    ("no time", PIXELS, RAW | {"Recorder-Time": "now"}, "Recorder-Time", "now"),
    ("another clock", PIXELS, RAW | {"Recorder-Clock": "sun"}, "Recorder-Clock", "sun"),
]  # fmt: skip


async def test_every_malformed_frame_is_answered_and_becomes_a_gap(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    for index, (case, data, headers, field, got) in enumerate(MALFORMED, start=1):
        answer = await publisher.send(data, headers)
        assert answer.status is FrameStatus.REFUSED, case
        assert (answer.field, got in answer.got) == (field, True), (case, answer)
        assert answer.expected, case
        assert answer.hint, case
        assert (await publisher.raw(picture_of(index))).status is ACCEPTED
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
    assert sum(gap.lost_units for gap in report.gaps) == len(MALFORMED)
    assert {gap.reason for gap in report.gaps} == {"source_lost"}
    assert "a frame that was refused" in report.gaps[0].detail
    assert report.totals.frame_count == len(MALFORMED) + 1
    assert_recorded(recorder, session_id, [picture_of(i) for i in range(len(MALFORMED) + 1)])


async def test_times_that_go_backwards_are_refused(recorder: RunningRecorder) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    now_ns = time.time_ns()
    assert (await publisher.raw(picture_of(1), time=str(now_ns))).status is ACCEPTED
    back = await publisher.raw(picture_of(9), time=str(now_ns - 5_000_000))
    assert (back.status, back.field) == (FrameStatus.REFUSED, "Recorder-Time")
    assert (await publisher.raw(picture_of(2), time=str(now_ns + 1_000_000))).status is ACCEPTED
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert [gap.lost_units for gap in report.gaps] == [1]
    assert_recorded(recorder, session_id, [picture_of(index) for index in range(3)])


async def test_frames_that_their_publisher_counts_and_that_did_not_arrive_are_missing(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    first = await publisher.raw(picture_of(1), sequence="5")
    again = await publisher.raw(picture_of(1), sequence="5")
    assert (first.status, again.status) == (ACCEPTED, FrameStatus.DUPLICATE)
    assert (await publisher.raw(picture_of(2), sequence="9")).status is ACCEPTED
    back = await publisher.raw(picture_of(3), sequence="7")
    assert (back.status, back.field) == (FrameStatus.REFUSED, "Recorder-Sequence")
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert sum(gap.lost_units for gap in report.gaps) == 3 + 1
    assert "counts and that did not arrive" in report.gaps[0].detail
    assert_recorded(recorder, session_id, [picture_of(index) for index in range(3)])


async def test_a_publisher_of_malformed_frames_alone_is_lost(recorder: RunningRecorder) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    for _ in range(10):
        assert (await publisher.send(b"x", {})).status is FrameStatus.REFUSED
    report = await sealed(recorder, session_id)
    assert report.end_reason == "source_lost"
    assert sum(gap.lost_units for gap in report.gaps) >= 10
    assert any("10 in a row that cannot" in gap.detail for gap in report.gaps)
    (failed,) = await recorder.facts(Fact.FAILED, session_id)
    assert isinstance(failed, SessionFailed)
    assert "expected a first frame" in failed.detail


async def test_a_publisher_that_falls_silent_is_a_gap_and_goes_on(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, timeout_s=0.3)
    async with asyncio.timeout(30):
        while not await gaps(recorder, session_id):
            answer = await publisher.raw(picture_of(1))
            await asyncio.sleep(0.6 if answer.status is ACCEPTED else 0.05)
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
    assert "expected a frame within 0.3 s, found none" in report.gaps[0].detail
    assert report.gaps[0].reason == "source_lost"


async def test_a_publisher_that_is_too_fast_is_told_and_what_had_no_room_is_missing(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two: of a burst some are recorded, all others are counted; none is unaccounted."""
    monkeypatch.setattr(frame_feed, "MOST_MESSAGES", 2)
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    large = [picture_of(index, 400, 300) for index in range(1, 4)]
    inbox = recorder.bus.new_inbox()
    answers: list[FrameAnswer] = []

    async def heard(message: Any) -> None:  # noqa: ANN401  (of nats-py)
        answers.append(msgspec.json.decode(message.data, type=FrameAnswer))

    await recorder.bus.subscribe(inbox, cb=heard)
    burst = 60
    for index in range(burst):
        picture = large[index % 3]
        await recorder.bus.publish(
            publisher.subject, picture.tobytes(), reply=inbox, headers=raw_headers(picture)
        )
    await until(lambda: len(answers) == burst)
    busy = [answer for answer in answers if answer.status is FrameStatus.BUSY]
    accepted = [answer for answer in answers if answer.status is ACCEPTED]
    assert busy
    assert accepted
    assert len(busy) + len(accepted) == burst
    assert "wait for the answer" in busy[0].hint
    await publisher.end()
    report = await sealed(recorder, session_id)
    lost = [gap for gap in report.gaps if gap.reason == "back_pressure"]
    assert sum(gap.lost_units for gap in lost) == len(busy)
    assert report.totals.frame_count == len(accepted) + 1


async def test_what_had_no_room_is_told_with_the_message_behind_it(
    recorder: RunningRecorder,
) -> None:
    """Bursts that come in one read, which nats-py has no room for, and a reader who lags."""
    feed = NatsFrameFeed(Login(servers=(recorder.url,)))
    feed.start()
    subject = f"source.test.{uuid.uuid4().hex}"
    queue = await asyncio.to_thread(feed.subscribe, subject)
    sent, missed, newest, told = 0, 0, -1, 0

    async def take() -> None:
        nonlocal missed, newest, told
        message = await asyncio.to_thread(queue.take, 0.1)
        if message is None:
            told += queue.dropped()
            return
        number = int(message.data)
        assert message.dropped == number - newest - 1 - told
        missed += message.dropped + told
        newest, told = number, 0

    for burst in (3 * frame_feed.MOST_MESSAGES, 5, 2 * frame_feed.MOST_MESSAGES, 7, 1):
        for _ in range(burst):
            await recorder.bus.publish(subject, str(sent).encode())
            sent += 1
        await recorder.bus.flush()
        for _ in range(10):
            await take()
    async with asyncio.timeout(30):
        while newest + told < sent - 1:
            await take()
    assert missed + told
    assert queue.dropped() == 0
    queue.close()


# --- control ------------------------------------------------------------------------------------


async def test_a_publisher_is_told_of_a_pause_and_of_the_end(recorder: RunningRecorder) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    await recorder.client.pause(session_id)
    async with asyncio.timeout(30):
        while (await publisher.raw(picture_of(8))).status is not FrameStatus.PAUSED:
            pass
    await recorder.client.resume(session_id)
    async with asyncio.timeout(30):
        while (await publisher.raw(picture_of(9))).status is not ACCEPTED:
            pass
    await recorder.client.stop(session_id)
    report = await sealed(recorder, session_id)
    assert (report.end_reason, {gap.reason for gap in report.gaps}) == ("stopped", {"pause"})
    np.testing.assert_array_equal(recorder.pictures(session_id)[-1], picture_of(9))


async def test_an_end_that_is_told_in_a_pause_ends_the_session_once_it_goes_on(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    await recorder.client.pause(session_id)
    async with asyncio.timeout(30):
        while (await publisher.raw(picture_of(8))).status is not FrameStatus.PAUSED:
            pass
    for _ in range(2):
        assert (await publisher.end()).status is ACCEPTED
    assert (await publisher.raw(picture_of(8))).status is FrameStatus.PAUSED
    assert not await recorder.facts(Fact.SEALED, session_id)
    await recorder.client.resume(session_id)
    report = await sealed(recorder, session_id)
    assert (report.end_reason, {gap.reason for gap in report.gaps}) == ("source_ended", {"pause"})


async def test_what_came_before_a_stop_is_recorded(recorder: RunningRecorder) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher)
    for index in range(1, 40):
        picture = picture_of(index)
        await recorder.bus.publish(
            publisher.subject, picture.tobytes(), headers=raw_headers(picture)
        )
    assert (await publisher.raw(picture_of(40))).status is ACCEPTED
    await recorder.client.stop(session_id)
    assert (await sealed(recorder, session_id)).verdict is Verdict.COMPLETE
    assert_recorded(recorder, session_id, [picture_of(index) for index in range(41)])


async def test_a_session_goes_on_with_the_next_worker(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with RunningRecorder(settings) as recorder:
        publisher = FramePublisher(recorder.bus, "source.test.frames")
        session_id = await started(recorder, publisher)
        await publisher.raw(picture_of(1))
    async with RunningRecorder(settings) as recorder:
        publisher = FramePublisher(recorder.bus, "source.test.frames")
        assert (await publisher.raw(picture_of(2))).status is ACCEPTED
        await publisher.end()
        report = await sealed(recorder, session_id)
        assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
        assert_recorded(recorder, session_id, [picture_of(index) for index in range(3)])


async def test_a_server_that_dies_and_comes_back_is_a_gap_at_most(tmp_path: Path) -> None:
    """The publisher counts: what it could not send is in the record."""
    with NatsProcess(tmp_path / "nats") as server:
        settings = settings_in(tmp_path, nats=NatsSettings(url=server.url))
        async with RunningRecorder(settings) as recorder:
            publisher = FramePublisher(recorder.bus, "source.test.frames")
            session_id = await started(recorder, publisher)
            assert (await publisher.raw(picture_of(1), sequence="1")).status is ACCEPTED
            server.kill()
            server.start()
            # Two more were made while there was nobody to send them to. What was sent while the
            # connection was away may have come, or not.
            again = FramePublisher(recorder.bus, publisher.subject, wait_s=1)
            answer = await again.raw(picture_of(4), sequence="4")
            assert answer.status in (ACCEPTED, FrameStatus.DUPLICATE)
            await publisher.end()
            report = await sealed(recorder, session_id)
            assert report.end_reason == "source_ended"
            assert sum(gap.lost_units for gap in report.gaps) == 2
            wanted = [picture_of(index) for index in (0, 1, 4)]
            assert_recorded(recorder, session_id, wanted)


async def test_where_the_connection_was_lost_and_nobody_counts_there_is_an_empty_gap(
    tmp_path: Path,
) -> None:
    with NatsProcess(tmp_path / "nats") as server:
        settings = settings_in(tmp_path, nats=NatsSettings(url=server.url))
        async with RunningRecorder(settings) as recorder:
            publisher = FramePublisher(recorder.bus, "source.test.frames", wait_s=1)
            session_id = await started(recorder, publisher)
            server.kill()
            server.start()
            assert (await publisher.raw(picture_of(1))).status is ACCEPTED
            await publisher.end()
            report = await sealed(recorder, session_id)
    (gap,) = report.gaps
    assert (gap.reason, gap.lost_units) == ("source_lost", 0)
    assert "NATS was away" in gap.detail


async def test_where_nothing_more_is_taken_an_absence_is_told_once(tmp_path: Path) -> None:
    """Else whoever stops a session writes a gap at every look, until the server is back."""
    with NatsProcess(tmp_path / "nats") as server:
        feed = NatsFrameFeed(Login(servers=(server.url,)))
        feed.start()
        queue = await asyncio.to_thread(feed.subscribe, "source.test.frames")

        def gone() -> bool:
            queue.hold()
            if queue.away():
                return True
            queue.go_on()
            return False

        for _ in range(2):
            server.kill()
            await until(gone)
            assert not any(queue.away() for _ in range(10))
            server.start()
            nc = await nats.connect(server.url)
            await until_heard(nc)
            assert not queue.away()
            queue.go_on()
            await nc.close()
        # What is lost while frames are taken is told as ever.
        server.kill()
        server.start()
        await until(queue.away)
        assert not queue.away()
        queue.close()


async def until_heard(nc: Client) -> None:
    """Wait until what is published on its subject is answered, as by a reader that holds."""
    async with asyncio.timeout(30):
        while True:
            with suppress(nats.errors.Error):
                await nc.request("source.test.frames", b"", timeout=0.1)
                return


# --- what is no source --------------------------------------------------------------------------


async def test_a_subject_without_a_publisher_is_refused_in_time(recorder: RunningRecorder) -> None:
    refused = await recorder.refusal(
        {"kind": "nats", "uri": "source.test.nobody", "timeout_s": 0.2}
    )
    assert refused.refusal.field == "source.uri"
    assert "expected a first frame within 0.2 s, found none" in refused.refusal.hint


async def test_a_subject_of_malformed_frames_is_refused_with_what_is_wrong(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)

    async def publish() -> None:
        while True:
            await recorder.bus.publish(publisher.subject, b"x", headers={"Content-Type": "a/b"})
            await asyncio.sleep(0.01)

    task = asyncio.create_task(publish())
    refused = await recorder.refusal({"kind": "nats", "uri": publisher.subject})
    task.cancel()
    assert "10 in a row that cannot" in refused.refusal.hint
    assert "found a/b" in refused.refusal.hint or "got a/b" in refused.refusal.hint


@pytest.mark.parametrize(
    "uri",
    ["session.captured.x", "session.start", "client.kiosk.frames", "stored.session.x", "other.lab"],
)
async def test_the_recorders_own_subjects_are_no_sources(
    recorder: RunningRecorder, uri: str
) -> None:
    refused = await recorder.refusal({"kind": "nats", "uri": uri})
    assert refused.refusal.field == "source.uri"
    assert "sources.subjects" in refused.refusal.hint


@pytest.mark.parametrize("uri", ["source.*.frames", "source.>", "$SYS.ACCOUNT", "source", "a b.c"])
async def test_what_is_no_subject_of_one_source_is_refused(
    recorder: RunningRecorder, uri: str
) -> None:
    refused = await recorder.refusal({"kind": "nats", "uri": uri})
    assert refused.refusal.field == "source.uri"
    assert "source.lab.frames" in refused.refusal.expected


async def test_the_list_of_subjects_and_of_kinds_holds(tmp_path: Path) -> None:
    narrow = SourceSettings(kinds=("nats",), subjects=("source.lab.*",))
    async with RunningRecorder(settings_in(tmp_path, sources=narrow)) as recorder:
        with pytest.raises(RefusedError, match="expected one that matches"):
            await recorder.client.start({"kind": "nats", "uri": "source.lab.a.b"})
        with pytest.raises(RefusedError, match="expected one of nats"):
            await recorder.client.start({"kind": "pattern"})
