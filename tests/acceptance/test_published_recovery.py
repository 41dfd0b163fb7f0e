"""A publisher of packets who goes on while capture is killed: what is missing is a gap."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path

import nats
import pytest
from films import decoded, packets, write_film
from packet_publisher import PacketPublisher, units_of
from plant import Plant
from reference import check

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.frame_messages import FrameStatus
from recorder_worker.core.reading.film import recording_film
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict

SUBJECT = "source.test.packets"

pytestmark = pytest.mark.timeout(300)


async def test_killing_capture_leaves_a_gap_that_lasts_until_a_keyframe(tmp_path: Path) -> None:
    units = units_of(write_film(tmp_path / "a.mp4", audio=None, frames=100, fps=25))
    samples = [unit.sample for unit in units]
    with Plant(tmp_path) as plant:
        bus = await nats.connect(plant.nats.url, max_reconnect_attempts=-1)
        publisher = PacketPublisher(bus, SUBJECT, wait_s=1)
        statuses: list[FrameStatus] = []

        async def publish() -> None:
            for unit in cycle(units):
                answer = await publisher.send(unit.data, {"Content-Type": unit.kind})
                statuses.append(answer.status)
                await asyncio.sleep(0.04)

        publishing = asyncio.create_task(publish())
        source = {"kind": "nats", "uri": SUBJECT}
        session_id = await plant.start_session(source, profile="copy")
        await plant.until(session_id, Fact.CAPTURED, 3)
        await asyncio.to_thread(plant.kill, "capture")
        await asyncio.to_thread(plant.start_again, "capture")
        log = plant.workers["capture"][0].logged
        await asyncio.to_thread(partial(log, "LeaseTaken", session_id=session_id, takeover=True))
        async with asyncio.timeout(60):
            before = len(statuses)
            while FrameStatus.ACCEPTED not in statuses[before:]:
                await asyncio.sleep(0.02)
        async with plant.client() as client:
            await client.stop(session_id)
        sealed = await plant.sealed(session_id)
        publishing.cancel()
        await bus.close()
        report = plant.verify(session_id)
        theirs = check(plant.recording(session_id))
        recording = FolderRecording(plant.recording(session_id))
        chunks = [b"".join(pieces) for _, pieces in recording_film(recording)]
        again = await plant.replay(session_id)
    assert (report.verdict, report.root_hash) == (Verdict.COMPLETE_WITH_GAPS, sealed.root_hash)
    assert (theirs["verdict"], theirs["root_hash"]) == (report.verdict.value, report.root_hash)
    assert again.same, again.difference
    assert {gap.reason for gap in report.gaps} == {"crash"}, report.gaps
    assert sum(gap.lost_units for gap in report.gaps)
    found = [packet for chunk in chunks for packet in packets(chunk)]
    assert [decoded(chunk) for chunk in chunks] == [len(packets(chunk)) for chunk in chunks]
    order = [samples.index(sample) for sample in found]
    assert all(
        after == (before + 1) % len(units) or units[after].keyframe
        for before, after in pairwise(order)
    ), order
