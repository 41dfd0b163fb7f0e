"""Packets that another program publishes, copied: on a real nats-server and a whole recorder."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import reference
from films import SIZE, decoded, packets, times, write_film
from frame_publisher import picture_of, raw_headers
from packet_publisher import PacketPublisher, Unit, units_of
from running_recorder import RunningRecorder, settings_in

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import frame_feed
from recorder_worker.core.events import GapCaptured
from recorder_worker.core.frame_messages import FrameStatus
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED, UNDECODABLE = FrameStatus.ACCEPTED, FrameStatus.UNDECODABLE
GROUP = 5
SILENT_S = 3.0
"""So long a publisher is not silent because a busy machine lets nobody publish."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    settings = msgspec.structs.replace(
        settings_in(tmp_path_factory.mktemp("published")),
        capture=CaptureSettings(segment_s=0.25, retry_s=30.0),
        chunk=ChunkSettings(duration_s=1.0),
    )
    async with RunningRecorder(settings) as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups of five packets, no picture shown before one that is decoded earlier."""
    return write_film(tmp_path_factory.mktemp("film") / "a.mp4", audio=None, frames=60, fps=50)


@pytest.fixture(scope="module")
def units(film: Path) -> list[Unit]:
    found = units_of(film)
    assert [unit.keyframe for unit in found] == [index % GROUP == 0 for index in range(60)]
    return found


def source_of(publisher: PacketPublisher, timeout_s: float = 20.0) -> dict[str, object]:
    return {"kind": "nats", "uri": publisher.subject, "timeout_s": timeout_s}


def new_publisher(recorder: RunningRecorder) -> PacketPublisher:
    return PacketPublisher(recorder.bus, f"source.test.{uuid.uuid4().hex}")


async def started(
    recorder: RunningRecorder,
    publisher: PacketPublisher,
    first: Unit,
    *,
    timeout_s: float = 20.0,
    **more: str,
) -> str:
    """A session that has taken its first keyframe."""
    async with publisher.until_recorded_of(first, **more):
        session = await recorder.client.start(
            source_of(publisher, timeout_s), profile="copy", timeout_s=60
        )
    assert (session.source.width, session.source.height) == SIZE
    return session.session_id


async def sealed(recorder: RunningRecorder, session_id: str) -> Report:
    """What the verifier says, and a second one with it."""
    await recorder.sealed(session_id)
    report = recorder.report(session_id)
    theirs = reference.check(recorder.folder(session_id))
    assert (theirs["verdict"], theirs["root_hash"]) == (report.verdict.value, report.root_hash)
    return report


def chunks_of(recorder: RunningRecorder, session_id: str) -> list[bytes]:
    recording = FolderRecording(recorder.folder(session_id))
    return [b"".join(pieces) for _, pieces in recording_film(recording)]


def recorded(recorder: RunningRecorder, session_id: str) -> list[bytes]:
    """The samples of a recording; every chunk plays by itself."""
    chunks = chunks_of(recorder, session_id)
    found = [packets(chunk) for chunk in chunks]
    assert [decoded(chunk) for chunk in chunks] == [len(each) for each in found]
    return list(itertools.chain.from_iterable(found))


async def gaps(recorder: RunningRecorder, session_id: str) -> list[GapCaptured]:
    """The gaps so far, of a session that goes on."""
    events = await recorder.facts(Fact.CAPTURED, session_id)
    return [event for event in events if isinstance(event, GapCaptured)]


def samples(*units: Unit) -> list[bytes]:
    return [unit.sample for unit in units]


# --- what is recorded ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "kind", "reorder"),
    [("libx264", "video/H264", 2), ("libx265", "video/H265", 0), ("mjpeg", "image/jpeg", 0)],
)
async def test_the_packets_of_a_recording_are_those_that_were_published(
    recorder: RunningRecorder, tmp_path: Path, codec: str, kind: str, reorder: int
) -> None:
    name = "a.mov" if codec == "mjpeg" else "a.mp4"
    film = write_film(tmp_path / name, codec, None, frames=40, fps=50, reorder=reorder)
    units = units_of(film)
    assert {unit.kind for unit in units} == {kind}
    assert codec == "mjpeg" or any(unit.pts_ns > unit.dts_ns for unit in units)
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    assert set(await publisher.packets(*units[1:])) == {ACCEPTED}
    assert (await publisher.end()).status is ACCEPTED
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "source_ended")
    assert report.totals.frame_count == len(units)
    assert recorded(recorder, session_id) == samples(*units)
    whole = b"".join(chunks_of(recorder, session_id))
    assert times(whole) == times(film)
    assert decoded(whole) == len(units)
    target = tmp_path / "out.mp4"
    code, said = recorder.export(session_id, target)
    assert code == 0, said
    assert packets(target) == samples(*units)
    assert times(target) == times(film)


async def test_packets_that_are_published_and_not_asked_about_are_recorded_up_to_a_stop(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    for unit in units[1:30]:
        await recorder.bus.publish(publisher.subject, unit.data, headers=publisher.headers(unit))
    assert (await publisher.packet(units[30])).status is ACCEPTED
    await recorder.client.stop(session_id)
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "stopped")
    assert recorded(recorder, session_id) == samples(*units[:31])


async def test_packets_without_a_time_are_of_when_they_came(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    for unit in units[1:10]:
        assert (await publisher.send(unit.data, {"Content-Type": unit.kind})).status is ACCEPTED
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert report.verdict is Verdict.COMPLETE
    assert recorded(recorder, session_id) == samples(*units[:10])


# --- what is refused, and what is missing then --------------------------------------------------


def without(data: bytes, *kinds: int) -> bytes:
    """An access unit of H.264 without its NAL units of some types."""
    parts = data.split(b"\0\0\1")
    kept = [part for part in parts if part and part[0] & 31 not in kinds and part != b"\0"]
    return b"".join(b"\0\0\0\1" + part.removesuffix(b"\0") for part in kept)


MALFORMED: list[tuple[str, Callable[[Unit], bytes], dict[str, str], str, str]] = [
    ("no type", lambda unit: unit.data, {"Content-Type": ""}, "Content-Type", "nothing"),
    ("a picture", lambda unit: unit.data, {"Content-Type": "image/png"}, "Content-Type", "png"),
    ("lengths for start codes", lambda unit: unit.sample, {}, "$", "that begin with 00 00"),
    ("two pictures", lambda unit: unit.data * 2, {}, "$", "2 of them"),
    ("no picture", lambda unit: without(unit.data, 1, 5, 6) + b"\0\0\1\x09\xf0", {}, "$",
     "no picture"),
    ("nothing", lambda _: b"", {}, "$", "0 bytes"),
    ("a JPEG that is none", lambda unit: unit.data, {"Content-Type": "image/jpeg"}, "$", "00 00"),
    ("shown before it is decoded", lambda unit: unit.data,
     {"Recorder-Presentation-Time": "5"}, "Recorder-Presentation-Time", "s from it"),
    ("no number", lambda unit: unit.data, {"Recorder-Presentation-Time": "x"},
     "Recorder-Presentation-Time", "x"),
]  # fmt: skip


async def test_malformed_packets_are_answered_and_all_up_to_a_keyframe_is_a_gap(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    assert set(await publisher.packets(*units[1:3])) == {ACCEPTED}
    for case, make, headers, field, got in MALFORMED:
        data = make(units[3])
        answer = await publisher.send(data, publisher.headers(units[3]) | headers)
        assert answer.status is FrameStatus.REFUSED, (case, answer)
        assert (answer.field, got in answer.got) == (field, True), (case, answer)
        assert answer.expected, case
        assert answer.hint, case
    answer = await publisher.packet(units[4])
    assert (answer.status, answer.field) == (UNDECODABLE, "$")
    assert "a keyframe" in answer.expected
    assert "until one comes all is in the gap" in answer.hint
    assert set(await publisher.packets(*units[5:12])) == {ACCEPTED}
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
    (gap,) = report.gaps
    assert (gap.reason, gap.lost_units) == ("source_lost", len(MALFORMED) + 1)
    assert "packets; of the first: a packet that was refused: Content-Type" in gap.detail
    assert recorded(recorder, session_id) == samples(*units[:3], *units[5:12])


async def test_what_its_publisher_counts_and_did_not_arrive_takes_all_up_to_a_keyframe_along(
    recorder: RunningRecorder, units: list[Unit], tmp_path: Path
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0], sequence="0")
    statuses = [
        (await publisher.packet(units[index], sequence=str(index))).status
        for index in (1, 1, 2, 6, 7, 8, 9, 10, 11)  # 3 to 5 are lost, and 5 is a keyframe
    ]
    assert statuses == [
        ACCEPTED, FrameStatus.DUPLICATE, ACCEPTED, *[UNDECODABLE] * 4, ACCEPTED, ACCEPTED
    ]  # fmt: skip
    await publisher.end()
    report = await sealed(recorder, session_id)
    (gap,) = report.gaps
    assert (gap.reason, gap.lost_units) == ("source_lost", 3 + 4)
    assert "counts and that did not arrive" in gap.detail
    assert recorded(recorder, session_id) == samples(*units[:3], *units[10:12])
    target = tmp_path / "out.mkv"
    assert recorder.export(session_id, target)[0] == 0
    assert packets(target) == samples(*units[:3], *units[10:12])


async def test_of_a_publisher_that_is_too_fast_nothing_is_recorded_that_builds_on_what_is_missing(
    recorder: RunningRecorder, units: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two, here and in nats-py: every packet is recorded, or counted in a gap."""
    monkeypatch.setattr(frame_feed, "MOST_MESSAGES", 2)
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    sent = [units[0]]
    for begin in range(1, 59, 6):  # bursts that end anywhere in a group
        answers = await publisher.at_once(*units[begin : begin + 6])
        sent += units[begin : begin + 6]
        assert {answer.status for answer in answers} <= {ACCEPTED, UNDECODABLE, FrameStatus.BUSY}
    await publisher.end()
    report = await sealed(recorder, session_id)
    found = recorded(recorder, session_id)
    assert report.totals.frame_count == len(found)
    assert len(found) + sum(gap.lost_units for gap in report.gaps) == len(sent)
    assert any(gap.reason == "back_pressure" for gap in report.gaps)
    order = [samples(*units).index(sample) for sample in found]
    for before, after in itertools.pairwise(order):
        assert after == before + 1 or units[after].keyframe, order


async def test_ten_pictures_for_profile_screen_in_a_row_are_no_source_of_packets(
    recorder: RunningRecorder,
) -> None:
    publisher = new_publisher(recorder)

    async def publish() -> None:
        picture = picture_of(1)
        while True:
            data, headers = picture.tobytes(), raw_headers(picture)
            await recorder.bus.publish(publisher.subject, data, headers=headers)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(publish())
    refused = await recorder.refusal(source_of(publisher), profile="copy")
    task.cancel()
    assert "10 in a row that cannot" in refused.refusal.hint
    assert "video/H264, video/H265" in refused.refusal.hint
    assert "profile screen" in refused.refusal.hint


async def test_packets_in_a_session_of_pictures_are_refused_with_the_profile_that_takes_them(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    async with publisher.until_recorded():
        session = await recorder.client.start(source_of(publisher), fps=20, timeout_s=60)
    answer = await publisher.packet(units[0])
    assert (answer.status, answer.field) == (FrameStatus.REFUSED, "Content-Type")
    assert "profile copy" in answer.hint
    assert (await publisher.raw(picture_of(1))).status is ACCEPTED
    await publisher.end()
    report = await sealed(recorder, session.session_id)
    assert [gap.lost_units for gap in report.gaps] == [1]


async def test_a_stream_without_keyframes_or_without_parameter_sets_is_refused_in_words(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    deltas = new_publisher(recorder)
    key = units[0]
    bare = msgspec.structs.replace(key, data=without(key.data, 7, 8))
    for publisher, unit, text in (
        (deltas, units[1], "expected a keyframe"),
        (new_publisher(recorder), bare, "expected parameter sets in front of the first keyframe"),
    ):
        headers = publisher.headers(unit)

        async def publish(
            publisher: PacketPublisher = publisher,
            unit: Unit = unit,
            headers: dict[str, str] = headers,
        ) -> None:
            while True:
                headers["Recorder-Time"] = headers["Recorder-Presentation-Time"] = str(
                    time.time_ns()
                )
                await recorder.bus.publish(publisher.subject, unit.data, headers=headers)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(publish())
        refused = await recorder.refusal(source_of(publisher, SILENT_S), profile="copy")
        task.cancel()
        assert "found only such as are refused" in refused.refusal.hint
        assert text in refused.refusal.hint


# --- parameters that change ---------------------------------------------------------------------


async def test_parameters_that_change_begin_a_chunk_of_their_own_and_nothing_is_lost(
    recorder: RunningRecorder, units: list[Unit], tmp_path: Path
) -> None:
    """Another codec; and keyframes without parameter sets, which are of those before."""
    other = units_of(write_film(tmp_path / "b.mp4", "libx265", None, frames=10, fps=50))
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0])
    bare = [
        msgspec.structs.replace(unit, data=without(unit.data, 7, 8)) if unit.keyframe else unit
        for unit in units[1:10]
    ]
    assert set(await publisher.packets(*bare)) == {ACCEPTED}
    publisher.begin_ns += units[10].dts_ns - other[0].dts_ns
    assert set(await publisher.packets(*other)) == {ACCEPTED}
    await publisher.end()
    report = await sealed(recorder, session_id)
    (gap,) = report.gaps
    assert (gap.reason, gap.lost_units, gap.t0_ns) == ("source_lost", 0, gap.t1_ns)
    assert "its packets change: hevc, 96x64" in gap.detail
    assert recorded(recorder, session_id) == samples(units[0], *bare, *other)
    code, said = recorder.export(session_id, tmp_path / "out.mp4")
    assert (code, "H.265 96x64, before it H.264" in said) == (65, True), said
    two = (("first.mp4", "--to", [units[0], *bare]), ("second.mp4", "--from", other))
    for name, option, wanted in two:
        target = tmp_path / name
        code, said = recorder.export(session_id, target, option, f"{gap.t0_ns}ns")
        assert code == 0, said
        assert packets(target) == samples(*wanted)


# --- control ------------------------------------------------------------------------------------


async def test_a_pause_is_told_and_lasts_until_a_keyframe_behind_it(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    """How many packets are taken until the pause is there is nobody's promise."""
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0], sequence="0")
    assert set(await publisher.packets(*units[1:3])) == {ACCEPTED}
    await recorder.client.pause(session_id)
    taken = 3
    while (status := (await publisher.packet(units[taken])).status) is ACCEPTED:
        taken += 1
        await asyncio.sleep(0.5)
    assert status is FrameStatus.PAUSED
    delta, key = units[8], next(unit for unit in units[taken + 1 :] if unit.keyframe)
    await recorder.client.resume(session_id)
    async with asyncio.timeout(30):
        while status is FrameStatus.PAUSED:
            status = (await publisher.send(delta.data, {"Content-Type": delta.kind})).status
    assert status is UNDECODABLE
    assert (await publisher.packet(key, sequence="900")).status is ACCEPTED
    await recorder.client.stop(session_id)
    report = await sealed(recorder, session_id)
    assert (report.end_reason, {gap.reason for gap in report.gaps}) == ("stopped", {"pause"})
    assert recorded(recorder, session_id) == samples(*units[:taken], key)
    assert any("builds on a missing one" in gap.detail for gap in report.gaps)


async def test_an_end_that_is_told_in_a_pause_ends_a_session_of_packets_once_it_goes_on(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0], sequence="0")
    await recorder.client.pause(session_id)
    async with asyncio.timeout(30):
        while not await recorder.facts(Fact.PAUSED, session_id):
            await asyncio.sleep(0.05)
    assert (await publisher.packet(units[1])).status is FrameStatus.PAUSED
    assert (await publisher.end()).status is ACCEPTED
    await recorder.client.resume(session_id)
    report = await sealed(recorder, session_id)
    assert (report.end_reason, {gap.reason for gap in report.gaps}) == ("source_ended", {"pause"})
    assert recorded(recorder, session_id) == samples(units[0])


async def test_a_publisher_of_packets_that_falls_silent_is_a_gap_and_goes_on(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)
    session_id = await started(recorder, publisher, units[0], timeout_s=SILENT_S)
    assert set(await publisher.packets(*units[1:4])) == {ACCEPTED}
    key = units[5]
    async with asyncio.timeout(30):
        while not await gaps(recorder, session_id):
            answer = await publisher.send(key.data, {"Content-Type": key.kind})
            await asyncio.sleep(SILENT_S + 0.3 if answer.status is ACCEPTED else 0.05)
    await publisher.end()
    report = await sealed(recorder, session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
    assert f"expected a packet within {SILENT_S:g} s, found none" in report.gaps[0].detail


async def test_a_session_of_packets_goes_on_with_the_next_worker(
    tmp_path: Path, units: list[Unit]
) -> None:
    settings = settings_in(tmp_path)
    async with RunningRecorder(settings) as recorder:
        publisher = PacketPublisher(recorder.bus, "source.test.packets")
        session_id = await started(recorder, publisher, units[0])
        assert set(await publisher.packets(*units[1:8])) == {ACCEPTED}
    async with RunningRecorder(settings) as recorder:
        publisher = PacketPublisher(recorder.bus, "source.test.packets")
        assert set(await publisher.packets(*units[8:10])) == {UNDECODABLE}
        assert set(await publisher.packets(*units[10:14])) == {ACCEPTED}
        await publisher.end()
        report = await sealed(recorder, session_id)
        assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
        assert {gap.reason for gap in report.gaps} == {"handover"}
        assert recorded(recorder, session_id) == samples(*units[:8], *units[10:14])
        code, said = recorder.export(session_id, tmp_path / "out.mp4")
        assert code == 0, said
        assert packets(tmp_path / "out.mp4") == samples(*units[:8], *units[10:14])


async def test_an_end_before_the_first_keyframe_is_refused(
    recorder: RunningRecorder, units: list[Unit]
) -> None:
    publisher = new_publisher(recorder)

    async def publish() -> None:
        await publisher.packet(units[1])
        await publisher.end()

    task = asyncio.create_task(publish())
    refused = await recorder.refusal(source_of(publisher), profile="copy")
    await task
    assert "the end that its publisher tells" in refused.refusal.hint


@pytest.mark.parametrize("fields", [{"fps": 5.0}, {"pre_record_s": 5.0}, {"idle_stop_s": 5.0}])
async def test_what_needs_pictures_is_refused_of_packets(
    recorder: RunningRecorder, fields: dict[str, float]
) -> None:
    refused = await recorder.refusal(
        {"kind": "nats", "uri": "source.test.packets"}, profile="copy", **fields
    )
    assert refused.refusal.field in fields
