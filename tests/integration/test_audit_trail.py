"""The audit trail on a real nats-server: killed at every step, raced, and with lost streams.

A kill is an exception that nothing catches, right before or right after one effect; what goes on is
a keeper that knows nothing of the one before. The streams forget message ids after 0.1 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from audit_bench import (
    DAY_NS,
    DIGEST_S,
    MAX_AGE_S,
    RECORDER,
    SECOND_NS,
    SESSION,
    AuditBench,
    SetClock,
)
from fresh_streams import forget_all
from mortal import Axe, Killed
from two_clocks import TwoClocks

from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.streams.topology import AUDIT_STREAM, REGISTER_STREAM
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import START, BundleText, chained, parse_bundle
from recorder_worker.core.audit_trail.lines import AgedLine, EventLine, GapLine, Head, body_fields
from recorder_worker.core.audit_trail.listing import rows
from recorder_worker.core.errors import BusUnavailableError, FencedError, IncidentError
from recorder_worker.core.events import (
    AnchorRequested,
    Checkpoint,
    SessionIncident,
    SessionLogged,
    SessionNumbered,
    Totals,
)
from recorder_worker.core.log_audit.report import Problem
from recorder_worker.core.model import ClockState
from recorder_worker.core.session_log.entries import NO_SESSION, EntryKind, encode_entry, entry_hash
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import StoredMessage
from recorder_worker.service.audit_trail import AuditKeeping
from recorder_worker.stages.audit_trail import binder
from recorder_worker.stages.audit_trail import keeper as keeper_module
from recorder_worker.stages.session_log.numbering import number
from recorder_worker.stages.sure_time import STEADY_S


@pytest.fixture
def bench(broker: RecorderBroker, tmp_path: Path) -> AuditBench:
    return AuditBench(broker, tmp_path / "data", SetClock(time.time_ns()))


async def a_session(bench: AuditBench, leaves: int = 2) -> list[Checkpoint]:
    """A session that was numbered and signed: its checkpoints, as the merkle stage says."""
    bench.store.put(keys.blob_key(SESSION, keys.MANIFEST), b"{}")
    numbered = await number(bench.log, bench.store, SESSION)
    signed, after = [], 0
    for size in range(1, leaves + 1):
        event = Checkpoint(
            session_id=SESSION,
            session_counter=numbered.counter,
            tree_size=size,
            root_hash=hashlib.sha256(b"%d" % size).hexdigest(),
            note=f"the signed checkpoint of size {size}",
            totals=Totals(),
            sealed=size == leaves,
        )
        key = f"checkpoint {size}"
        after = await bench.log.append(Fact.CHECKPOINT, SESSION, event, key=key, after=after)
        signed.append(event)
    return signed


# --- in good order --------------------------------------------------------------------------------


async def test_events_are_entered_with_their_exact_bytes_and_a_digest(bench: AuditBench) -> None:
    keeper = bench.keeper()
    assert await keeper.fold() == DIGEST_S
    assert bench.entries() == []
    await bench.events(4)
    await keeper.fold()
    await bench.enter(3, keeper)
    report = await bench.check()
    assert [entry.counter for entry in bench.audits()] == [4, 7]
    assert (report.audit.bundles, report.audit.events, report.audit.gaps) == (2, 7, 0)
    digest = START
    for entry, first in zip(bench.audits(), (1, 5), strict=True):
        digest = chained(digest, bench.bundle_path(first).read_bytes())
        assert (entry.session_id, entry.note_sha256) == (NO_SESSION, digest)


async def test_an_entry_comes_at_most_once_in_the_time_that_is_set(bench: AuditBench) -> None:
    keeper, other = bench.keeper(), bench.keeper()
    await bench.events(1)
    await keeper.fold()
    await bench.events(1)
    bench.clock.pass_s(DIGEST_S / 4)
    for one in (keeper, other):
        assert await one.fold() == pytest.approx(DIGEST_S * 3 / 4)
    assert len(bench.audits()) == 1
    bench.clock.pass_s(DIGEST_S * 3 / 4)
    await other.fold()
    assert await keeper.fold() == DIGEST_S
    assert len(bench.audits()) == 2
    await bench.check()


async def test_a_clock_that_was_set_back_holds_up_nothing(bench: AuditBench) -> None:
    await bench.enter()
    bench.clock.pass_s(-3600)
    await bench.events(1)
    await bench.keeper().fold()
    assert len(bench.audits()) == 2
    await bench.check()


async def test_a_backlog_becomes_several_bundles_at_once(
    bench: AuditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "MAX_LINES", 3)
    await bench.events(7)
    keeper = bench.keeper()
    waits = [await keeper.fold() for _ in range(3)]
    assert waits == [0, 0, DIGEST_S]
    assert [entry.counter for entry in bench.audits()] == [3, 6, 7]
    await bench.check()


async def test_a_bundle_ends_behind_the_message_that_makes_it_large(
    bench: AuditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binder, "MAX_BYTES", 1000)
    await bench.events(4)
    await bench.keeper().fold()
    assert 0 < bench.audits()[0].counter < 4
    assert bench.bundle_path(1).stat().st_size >= 1000


@pytest.mark.parametrize(
    "body", [b"", b"not an event", b'{"a":\n1}', b"\xff\xfe", b'{"type":"command_accepted"}']
)
async def test_what_is_no_event_is_kept_like_all_others(bench: AuditBench, body: bytes) -> None:
    await bench.events(1)
    await bench.broker.jetstream.publish(Fact.AUDIT_DENIED.value, body)
    await bench.events(1)
    await bench.keeper().fold()
    await bench.check()
    assert bench.bodies()[1] == body


async def test_what_a_redelivery_tells_again_is_kept_and_marked(bench: AuditBench) -> None:
    await bench.enter(2)
    stored = await bench.stream.last_sequence()
    async with asyncio.timeout(60):
        while await bench.stream.last_sequence() == stored:  # till the server has forgotten its id
            await bench.forget_ids()
            bench.published -= 1
            await bench.events(1)
    bench.clock.pass_s(DIGEST_S)
    await bench.fold(bench.keeper())
    await bench.check()
    found = list(rows(DataDirectory(bench.folder)))
    assert [(row.actor, row.again) for row in found] == [
        ("kim-1", False),
        ("kim-2", False),
        ("kim-2", True),
    ]


async def test_audit_entries_disturb_neither_numbers_nor_the_newest_seal(
    bench: AuditBench,
) -> None:
    stage = bench.session_stage()
    keeper = bench.keeper(stage=stage)
    await bench.enter(1, keeper)
    opened, sealed = await a_session(bench)
    assert opened.session_counter == 1
    await stage.handle(opened)
    await bench.enter(40, keeper)
    await stage.handle(sealed)
    await bench.enter(1, keeper)
    assert [(entry.kind.name, entry.counter) for entry in bench.entries()] == [
        ("AUDIT", 1),
        ("OPEN", 1),
        ("AUDIT", 41),
        ("SEAL", 1),
        ("AUDIT", 42),
    ]
    head = await bench.log.last_of_all(Fact.LOGGED)
    assert head is not None
    assert isinstance(head.event, SessionLogged)
    seal = hashlib.sha256(sealed.note.encode()).hexdigest()
    assert (head.event.kind, head.event.max_counter) == ("audit", 1)
    assert head.event.last_seal == seal
    await forget_all(bench.broker, REGISTER_STREAM)
    numbered = await number(bench.log, bench.store, NO_SESSION[:-1] + "9")
    assert isinstance(numbered, SessionNumbered)
    assert (numbered.counter, numbered.previous_seal) == (2, seal)


async def test_the_entry_is_proved_and_an_anchor_is_asked_for(bench: AuditBench) -> None:
    await bench.enter()
    await bench.enter()
    for size, entry in enumerate(bench.entries(), start=1):
        proof = parse_log_proof(bench.store.get(keys.audit_proof(size)))
        assert proof.checkpoint.head.tree_size == size
        proof.verify(entry_hash(encode_entry(entry)))
    requests = [logged.event async for logged in bench.log.read(Fact.ANCHOR_REQUESTED, NO_SESSION)]
    sizes = [r.tree_size for r in requests if isinstance(r, AnchorRequested)]
    assert sizes == [1, 2]


# --- killed, and raced ----------------------------------------------------------------------------


async def audited(bench: AuditBench, axe: Axe) -> None:
    """Two entries: the second one is behind the first, and its bundle behind that."""
    keeper = bench.keeper(axe)
    await bench.enter(2, keeper)
    await bench.enter(2, keeper)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_every_effect_of_an_entry_and_taken_up_by_another(
    broker: RecorderBroker, tmp_path: Path, *, after: bool
) -> None:
    clock = SetClock(time.time_ns())
    whole, axe = AuditBench(broker, tmp_path / "whole", clock), Axe()
    await audited(whole, axe)
    await whole.check()
    assert {"put", "append_to_all", "replace", "sign_device", "append"} <= set(axe.effects)
    for at in range(1, len(axe.effects) + 1):
        await forget_all(broker)
        bench = AuditBench(broker, tmp_path / str(at), clock)
        with pytest.raises(Killed):
            await audited(bench, Axe(at, after=after))
        await bench.forget_ids()
        await bench.enter(3)
        clock.pass_s(DIGEST_S)
        await bench.fold(bench.keeper())
        await bench.check()
        assert bench.published in {5, 7}


async def test_two_workers_race_and_one_of_them_is_killed(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    clock = SetClock(time.time_ns())
    for at in range(0, 16, 2):
        await forget_all(broker)
        bench = AuditBench(broker, tmp_path / str(at), clock)

        async def work(bench: AuditBench, axe: Axe) -> None:
            keeper = bench.keeper(axe)
            for _ in range(3):
                await bench.events(2)
                await bench.fold(keeper)
                bench.clock.pass_s(DIGEST_S)

        ends = await asyncio.gather(
            work(bench, Axe(at)), work(bench, Axe()), return_exceptions=True
        )
        assert all(end is None or isinstance(end, Killed) for end in ends), ends
        clock.pass_s(DIGEST_S)
        await bench.fold(bench.keeper())
        await bench.check()


async def test_sessions_and_audit_events_are_entered_at_once_by_two_workers(
    bench: AuditBench,
) -> None:
    opened, sealed = await a_session(bench)
    stages = [bench.session_stage(), bench.session_stage()]
    keepers = [bench.keeper(stage=stage) for stage in stages]

    async def sessions() -> None:
        for event in (opened, sealed):
            for stage in stages:
                while True:
                    try:
                        await stage.handle(event)
                    except FencedError:
                        await asyncio.sleep(0.005)
                        continue
                    break

    async def events(keeper: object) -> None:
        assert isinstance(keeper, keeper_module.AuditKeeper)
        for _ in range(4):
            await bench.events(1)
            await bench.fold(keeper)
            bench.clock.pass_s(DIGEST_S)

    await asyncio.gather(sessions(), *map(events, keepers))
    bench.clock.pass_s(DIGEST_S)
    await bench.fold(bench.keeper())
    kinds = [entry.kind for entry in bench.entries()]
    assert kinds.count(EntryKind.OPEN) == kinds.count(EntryKind.SEAL) == 1
    assert bench.audits()[-1].counter == bench.published == 8
    assert len(bench.bodies()) == 8


# --- streams that were lost -----------------------------------------------------------------------


async def test_a_lost_register_goes_on_behind_the_stored_log(bench: AuditBench) -> None:
    await bench.enter()
    await forget_all(bench.broker, REGISTER_STREAM)
    await bench.enter()
    assert [entry.counter for entry in bench.audits()] == [2, 4]
    await bench.check()


def gaps(bench: AuditBench) -> list[GapLine]:
    return [line for b in bench.bundles() for line in b.lines if isinstance(line, GapLine)]


async def test_a_stream_that_was_lost_is_noticed_and_never_silently_begun_anew(
    bench: AuditBench,
) -> None:
    await bench.enter(3)
    before = bench.bodies()
    await forget_all(bench.broker, AUDIT_STREAM)
    bench.clock.pass_s(DIGEST_S)
    # Nothing new is there, and all the same it is said, once.
    for _ in range(3):
        await bench.fold(bench.keeper())
        bench.clock.pass_s(DIGEST_S)
    (gap,) = gaps(bench)
    assert (gap.reason, gap.n, gap.resume) == ("stream_cut", 4, 0)
    assert gap.from_ns > 0
    await bench.enter(2)
    assert len(gaps(bench)) == 1
    assert bench.bodies() == before + [message.data for message in await bench.stored()]
    report = bench.report()
    assert (report.problems, report.audit.gaps, report.audit.last) == ((), 1, 6)


async def test_a_stream_that_is_not_there_is_waited_for_and_is_no_empty_one(
    bench: AuditBench,
) -> None:
    await bench.enter(1)
    await bench.broker.jetstream.delete_stream(AUDIT_STREAM)
    bench.clock.pass_s(DIGEST_S)
    for keeper in (bench.keeper(), bench.beside("other").keeper()):
        with pytest.raises(BusUnavailableError, match="restart a worker, which makes it again"):
            await keeper._binder.bind(bench.clock.wall_ns(), 10)
    await forget_all(bench.broker, AUDIT_STREAM)
    await bench.enter(1)
    assert [gap.reason for gap in gaps(bench)] == ["stream_cut"]


async def test_sequences_that_are_given_out_again_are_noticed(bench: AuditBench) -> None:
    """The stream has as many messages as before, or more, when it is looked at again."""
    await bench.enter(2)
    before = bench.bodies()
    await forget_all(bench.broker, AUDIT_STREAM)
    await bench.enter(5)
    (gap,) = gaps(bench)
    assert (gap.reason, gap.resume) == ("stream_cut", 0)
    assert bench.bodies() == before + [message.data for message in await bench.stored()]
    assert len(bench.bodies()) == 7


async def test_a_stream_that_lost_its_end_goes_on_behind_what_both_have(
    bench: AuditBench,
) -> None:
    await bench.enter(3)
    await bench.enter(3)
    kept = [found for n in range(1, 5) if (found := await bench.stream.at(n))]
    await forget_all(bench.broker, AUDIT_STREAM)
    before, stream = bench.bodies(), CutStream(bench, kept)
    bench.stream = stream  # type: ignore[assignment]
    await bench.enter(2)
    (gap,) = gaps(bench)
    assert (gap.reason, gap.n, gap.resume) == ("stream_cut", 7, 4)
    new = [message.data for message in await bench.stored()]
    assert bench.bodies() == before + new


class CutStream:
    """A stream whose first messages are there, and whose later sequences are used again.

    A real server does this when a flipped bit and a kill cost it the end of a block. What is behind
    the cut is the real stream.
    """

    def __init__(self, bench: AuditBench, kept: list[StoredMessage]) -> None:
        self._real = bench.stream
        self._kept = kept
        self._shift = len(kept)

    def _old(self, sequence: int) -> StoredMessage:
        return self._kept[sequence - 1]

    async def last_sequence(self) -> int:
        return self._shift + await self._real.last_sequence()

    async def at(self, sequence: int) -> StoredMessage | None:
        if sequence <= self._shift:
            return self._old(sequence)
        return self._shifted(await self._real.at(sequence - self._shift))

    async def behind(self, sequence: int) -> StoredMessage | None:
        if sequence < self._shift:
            return self._old(sequence + 1)
        return self._shifted(await self._real.behind(sequence - self._shift))

    def _shifted(self, found: StoredMessage | None) -> StoredMessage | None:
        if found is None:
            return None
        return msgspec.structs.replace(found, sequence=found.sequence + self._shift)


async def loosened(bench: AuditBench) -> None:
    """A stream from which messages can be taken, as a disk does it."""
    jetstream = bench.broker.jetstream
    config = (await jetstream.stream_info(AUDIT_STREAM)).config
    await jetstream.delete_stream(AUDIT_STREAM)
    config.deny_purge = config.deny_delete = False
    await jetstream.add_stream(config)


async def test_messages_that_are_gone_between_two_others_are_counted(bench: AuditBench) -> None:
    await loosened(bench)
    await bench.enter(2)
    await bench.events(5)
    for sequence in (3, 4, 6):
        await bench.broker.jetstream.delete_msg(AUDIT_STREAM, sequence)
    bench.clock.pass_s(DIGEST_S)
    await bench.fold(bench.keeper())
    assert [(gap.n, gap.reason, gap.missing) for gap in gaps(bench)] == [
        (3, "messages_missing", 2),
        (5, "messages_missing", 1),
    ]
    sequences = [event.sequence for bundle in bench.bundles() for event in bundle.events]
    assert sequences == [1, 2, 5, 7]
    assert (bench.report().problems, bench.report().audit.gaps) == ((), 2)


async def test_what_the_stream_has_let_go_because_of_age_is_no_gap(bench: AuditBench) -> None:
    await loosened(bench)
    await bench.enter(3)
    await bench.broker.jetstream.purge_stream(AUDIT_STREAM)
    bench.clock.pass_s(DIGEST_S)
    assert await bench.keeper().fold() == DIGEST_S
    await bench.enter(1)
    assert gaps(bench) == []
    assert [entry.counter for entry in bench.audits()] == [3, 4]


# --- bundles that were touched --------------------------------------------------------------------


def planted(bench: AuditBench, events: Sequence[StoredMessage], first: int = 3) -> bytes:
    """A bundle as the recorder would make it next, out of these messages."""
    text = BundleText(
        Head(
            v=1,
            recorder=RECORDER,
            first=first,
            previous=bench.audits()[-1].note_sha256.hex(),
            made_ns=bench.clock.wall_ns(),
            device_key=bench.signer.device_keys()[0].data.hex(),
        )
    )
    for found in events:
        fields = msgspec.structs.asdict(found)
        text.event(**body_fields(fields.pop("body")), **fields)
    return text.data


@pytest.mark.parametrize("how", ["changed", "left out", "invented", "no bundle"])
async def test_a_bundle_that_somebody_put_there_is_not_signed(bench: AuditBench, how: str) -> None:
    await bench.enter(2)
    await bench.events(3)
    bench.clock.pass_s(DIGEST_S)
    found = [await bench.stream.at(sequence) for sequence in (3, 4, 5)]
    true = [message for message in found if message is not None]
    other = msgspec.structs.replace(true[1], body=b"{}")
    later = msgspec.structs.replace(true[2], sequence=6)
    events = {
        "changed": [true[0], other, true[2]],
        "left out": [true[0], true[2]],
        "invented": [*true, later],
        "no bundle": [],
    }
    # Without the forgery it is what a worker that was killed leaves, and is taken up.
    bench.overwrite(3, planted(bench, events[how]))
    before = bench.entries()
    with pytest.raises(IncidentError, match="was not entered, and is not what the stream"):
        await bench.keeper().fold()
    assert bench.entries() == before
    bench.overwrite(3, planted(bench, true))
    await bench.keeper().fold()
    await bench.check()
    assert len(bench.audits()) == 2


async def test_a_planted_note_of_age_does_not_hide_what_was_taken_away(bench: AuditBench) -> None:
    """Who may write in the folder, but has no key, cannot have a removal signed."""
    await bench.enter(2)
    await bench.enter(2)
    keeper = bench.keeper()
    await keeper.fold()
    far = bench.clock.wall_ns() + MAX_AGE_S * SECOND_NS + DAY_NS
    made = await keeper._binder.bind(far, 0)
    assert made is not None
    assert any(isinstance(line, AgedLine) for line in parse_bundle(made).lines)
    bench.overwrite(5, made)
    bench.bundle_path(1).unlink()
    with pytest.raises(IncidentError, match="in the future"):
        await bench.keeper().fold()
    assert Problem.AUDIT_MISSING in {finding.problem for finding in bench.report().problems}


async def test_where_the_newest_bundle_is_damaged_nothing_is_entered_and_it_is_said(
    bench: AuditBench,
) -> None:
    await bench.enter(2)
    true = bench.bundle_path(1).read_bytes()
    bench.overwrite(1, true.replace(b"kim-1", b"kim-9"))
    await bench.events(1)
    trail = AuditKeeping(bench.keeper(), bench.log, bench.clock)
    assert trail.check().ok
    for _ in range(2):
        await trail._fold()
    assert not trail.check().ok
    assert "restore it" in trail.check().detail
    found = [logged.event async for logged in bench.log.read(Fact.INCIDENT, NO_SESSION)]
    (incident,) = found
    assert isinstance(incident, SessionIncident)
    assert (incident.stage, incident.session_id) == ("audit", NO_SESSION)
    assert len(bench.audits()) == 1
    bench.overwrite(1, true)
    bench.clock.pass_s(DIGEST_S)
    await trail._fold()
    assert trail.check().ok
    await bench.check()


# --- what is too old ------------------------------------------------------------------------------


async def test_what_is_too_old_goes_and_the_rest_still_verifies(bench: AuditBench) -> None:
    for _ in range(3):
        await bench.enter(2)
    bench.clock.now_ns += MAX_AGE_S * SECOND_NS + DAY_NS
    await bench.enter(1)
    report = bench.report()
    assert report.problems == ()
    # The newest of the old ones stays: it says how far the stream was read.
    assert (report.audit.aged, report.audit.bundles) == (4, 2)
    assert not bench.bundle_path(1).exists()
    assert not bench.bundle_path(3).exists()
    kept = sorted(path.name for path in (bench.folder / "audit/proofs").iterdir())
    assert kept == ["000000000003", "000000000004"]
    await bench.enter(2)
    report = bench.report()
    assert (report.problems, report.audit.bundles) == ((), 2)
    assert report.audit.aged == 6


async def test_without_a_new_event_one_entry_lets_go_and_none_follows_it(
    bench: AuditBench,
) -> None:
    for _ in range(3):
        await bench.enter(2)
    for _ in range(4):
        bench.clock.now_ns += MAX_AGE_S * SECOND_NS + DAY_NS
        await bench.fold(bench.keeper())
    assert [entry.counter for entry in bench.audits()] == [2, 4, 6, 7]
    assert bench.report().problems == ()


async def test_a_bundle_that_is_not_old_and_gone_is_missed(bench: AuditBench) -> None:
    for _ in range(4):
        await bench.enter(2)
    bench.bundle_path(3).unlink()
    assert [finding.problem for finding in bench.report().problems] == [Problem.AUDIT_MISSING]
    # And the note that the older one is too old does not cover it.
    bench.clock.now_ns += MAX_AGE_S * SECOND_NS - 2 * round(DIGEST_S) * SECOND_NS
    await bench.enter(1)
    report = bench.report()
    assert report.audit.aged == 2
    (finding,) = report.problems
    assert finding.problem is Problem.AUDIT_MISSING
    assert "000000000003.jsonl (events 3 to 4, log entry 1)" in finding.detail


async def test_nothing_is_too_old_by_a_clock_that_jumps(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    clock = TwoClocks(ClockState.SYNCHRONISED, time.time_ns())
    bench = AuditBench(broker, tmp_path, clock)
    keeper = bench.keeper(steady_s=STEADY_S)
    for _ in range(3):
        await bench.enter(2, keeper)
    right_ns = clock.set_ns
    clock.set_ns += MAX_AGE_S * SECOND_NS + DAY_NS
    await bench.enter(1, keeper)
    clock.set_ns = right_ns
    await bench.enter(1, keeper)
    report = bench.report()
    assert (report.problems, report.audit.aged, report.audit.bundles) == ((), 0, 5)
    clock.set_ns += MAX_AGE_S * SECOND_NS + DAY_NS
    await bench.enter(1, keeper)
    clock.pass_s(STEADY_S)
    await bench.enter(1, keeper)
    report = bench.report()
    # But for the one that was made by the clock that was ahead, and what is behind it.
    assert (report.problems, report.audit.aged) == ((), 6)
    assert not bench.bundle_path(1).exists()


async def test_by_the_clock_of_another_worker_nothing_goes_before_one_s_own_is_believed(
    bench: AuditBench,
) -> None:
    for _ in range(3):
        await bench.enter(2)
    bench.clock.now_ns += MAX_AGE_S * SECOND_NS + DAY_NS
    await bench.events(1)
    other = bench.keeper()
    await other._writer.settle()
    other.trail.follow()
    made = await other._binder.bind(bench.clock.wall_ns(), 10)
    assert made is not None
    bench.overwrite(7, made)
    keeper = bench.keeper(steady_s=STEADY_S)
    await bench.fold(keeper)
    report = bench.report()
    assert (report.problems, report.audit.aged) == ((), 4)
    assert bench.bundle_path(1).exists()
    bench.clock.pass_s(STEADY_S)
    await bench.enter(1, keeper)
    assert bench.report().problems == ()
    assert not bench.bundle_path(1).exists()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_while_old_bundles_go(
    broker: RecorderBroker, tmp_path: Path, *, after: bool
) -> None:
    clock = SetClock(time.time_ns())

    async def aged(bench: AuditBench, axe: Axe) -> None:
        for _ in range(3):
            await bench.enter(2)
        clock.now_ns += MAX_AGE_S * SECOND_NS + DAY_NS
        await bench.enter(1, bench.keeper(axe))

    whole, axe = AuditBench(broker, tmp_path / "whole", clock), Axe()
    await aged(whole, axe)
    deletions = [at for at, name in enumerate(axe.effects, start=1) if name == "delete"]
    assert len(deletions) == 4
    for at in deletions:
        await forget_all(broker)
        bench = AuditBench(broker, tmp_path / str(at), clock)
        with pytest.raises(Killed):
            await aged(bench, Axe(at, after=after))
        assert bench.report().problems == ()
        await bench.forget_ids()
        await bench.enter(1)
        report = bench.report()
        assert report.problems == ()
        assert not bench.bundle_path(1).exists()
        assert not bench.bundle_path(3).exists()
        events = [line for b in bench.bundles() for line in b.lines if isinstance(line, EventLine)]
        assert events[-1].body == (await bench.stored())[-1].data
