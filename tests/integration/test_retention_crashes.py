"""Deletion killed at every effect, raced, and taken up by another, on a real nats-server.

A kill is an exception that nothing catches, right before or right after one effect; what goes on is
a keeper that knows nothing of the one before. Behind every kill, and again at the end, the
recording is verified by the product and by the second implementation.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fresh_streams import forget_all
from memory_signer import MemorySigner
from mortal import Axe, Killed, Mortal
from recordings import RECORDER
from retention_bench import CHUNKS, Bench
from two_clocks import TwoClocks

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.core import keys
from recorder_worker.core.access.identity import Identity
from recorder_worker.core.errors import IncidentError, RefusedError, StoreError
from recorder_worker.core.events import Event, SessionRejected, SessionRetention
from recorder_worker.core.retention.sayings import Hold, Rule
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.core.verify import Verdict, verify
from recorder_worker.ports import Delivery
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.rejection import Rejections
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.removal import deletion_of
from recorder_worker.stages.retention.stage import RetentionStage
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.stored_recording import StoredRecording

ALLOWED = {Verdict.COMPLETE, Verdict.REDACTED}
"""What a recording may be while it is being removed: never TAMPERED."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_deletion_killed_at_every_effect_is_gone_on_with_by_another(
    broker: RecorderBroker, tmp_path: Path, *, after: bool
) -> None:
    whole, axe = Bench(broker, tmp_path / "whole"), Axe()
    await whole.record()
    await whole.tend(whole.keeper(axe))
    await whole.check_removed()
    wanted = {"put", "append_to_all", "append", "replace", "sign_device", "delete_below"}
    assert wanted <= set(axe.effects)
    seen = set()
    for at in range(1, len(axe.effects) + 1):
        await forget_all(broker)
        bench = Bench(broker, tmp_path / str(at))
        await bench.record()
        with pytest.raises(Killed):
            await bench.tend(bench.keeper(Axe(at, after=after)))
        seen.add(bench.verdict())
        assert bench.verdict() in ALLOWED
        assert bench.copy_verdict() in ALLOWED
        # Whoever comes next goes on with what was ordered, also where no rule would order it.
        ordered = bench.store.size(keys.blob_key(bench.session_id, keys.statement(1))) is not None
        await bench.tend(bench.keeper(max_age_s=0 if ordered else 1))
        await bench.check_removed()
    assert seen == ALLOWED


async def test_two_keepers_race_and_one_of_them_is_killed(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    for at in range(0, 30, 3):
        await forget_all(broker)
        bench = Bench(broker, tmp_path / str(at))
        await bench.record()
        ends = await asyncio.gather(
            bench.tend(bench.keeper(Axe(at))),
            bench.tend(bench.keeper()),
            return_exceptions=True,
        )
        assert all(end is None or isinstance(end, Killed) for end in ends), ends
        await bench.tend(bench.keeper())
        await bench.check_removed()


async def test_a_hold_that_comes_first_wins_the_race_with_a_rule(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    keeper = bench.keeper()
    held = Hold(name="hold", by="kim", reason="a court asked", command_id="c", wall_ns=1)
    await bench.keeper()._book.say(bench.session_id, lambda _: held)
    await bench.tend(keeper)
    assert bench.verdict() is Verdict.COMPLETE
    assert len(bench.chunks()) == 2 * (CHUNKS + 1)


async def test_a_hold_whose_file_was_taken_away_still_holds(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    held = Hold(name="hold", by="kim", reason="a court asked", command_id="c", wall_ns=1)
    await bench.keeper()._book.say(bench.session_id, lambda _: held)
    bench.store.delete(keys.blob_key(bench.session_id, keys.statement(1)))
    found = await bench.keeper().tend()
    assert (found.held, found.removed) == (1, 0)
    with pytest.raises(IncidentError, match="restore its folder from a copy"):
        await bench.keeper()._book.say(bench.session_id, lambda _: None)
    assert len(bench.chunks()) == 2 * (CHUNKS + 1)


async def test_a_deletion_that_somebody_else_signed_removes_nothing(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    thief = Bench(broker, tmp_path)
    thief.signer = MemorySigner()
    keeper = bench.keeper()
    await keeper._book.settle()
    sealed = await keeper._look(bench.session_id)
    assert sealed is not None

    forged = deletion_of(sealed, by="kim", reason="forged", rule=Rule.COMMAND, now_ns=1)
    thief.keeper()._book.files.add(bench.session_id, Standing(), forged)
    assert thief.keeper()._book.files.deletion(bench.session_id) == forged
    assert bench.keeper()._book.files.deletion(bench.session_id) is None, "copies go on"
    found = await bench.keeper().tend()
    assert found.removed == 0
    assert any("expected our own retention/0001" in problem for problem in found.problems)
    assert len(bench.chunks()) == 2 * (CHUNKS + 1)
    assert bench.verdict() is Verdict.TAMPERED


@pytest.mark.parametrize("name", [keys.SEAL, keys.statement(1)])
async def test_a_session_that_cannot_be_read_ends_no_round_of_the_keeper(
    broker: RecorderBroker, tmp_path: Path, name: str
) -> None:
    """Others are deleted meanwhile, and it is tried again."""
    bench = Bench(broker, tmp_path)
    await bench.record()

    class Unreadable:
        def __getattr__(self, asked: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            return getattr(bench.store, asked)

        def get(self, key: str) -> bytes:
            if key.endswith(name):
                raise StoreError(f"cannot read {key}: I/O error")
            return bench.store.get(key)

    keeper, bad = bench.keeper(), Unreadable()
    keeper._stores = (bad, bench.second)
    keeper._book.files._store = bad
    found = await keeper.tend()
    assert (found.removed, found.problems) == (0, ())
    assert any("I/O error" in text for text in found.postponed)
    await bench.tend(bench.keeper())
    await bench.check_removed()


async def test_a_store_that_keeps_a_chunk_gets_no_tombstone(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()

    class Stubborn:
        """The second store: nothing goes from it."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            if name in ("delete", "delete_below"):
                return lambda _key: None
            return getattr(bench.second, name)

    keeper = bench.keeper()
    keeper._stores = (bench.store, Stubborn())
    found = await keeper.tend()
    assert found.removed == 0
    assert found.problems == ()
    assert any("such as sessions/" in text for text in found.postponed)
    report = verify(StoredRecording(bench.store, bench.session_id))
    assert report.retention.removal is not None
    assert not report.retention.removal.finished
    await bench.tend(bench.keeper())
    await bench.check_removed()


# --- commands -------------------------------------------------------------------------------------


class OneLook:
    """Whose token counted when the command was stored, and has run out since."""

    def __init__(self, looks: int = 1) -> None:
        self.looks = looks

    async def check(self, bearer: str, action: str, received_ns: int) -> Identity:
        del bearer, action, received_ns
        if self.looks < 1:
            raise RefusedError(field="authorization", expected="a token", got="one of", hint="old")
        self.looks -= 1
        return Identity(actor="root", role="SUPER_ADMIN")

    async def signer_of(self, bearer: str) -> Identity:
        del bearer
        return Identity(actor="root", role="SUPER_ADMIN")

    def check_owner(self, *_: object) -> None:
        """He may command all sessions."""

    def person(self, identity: Identity, said: str) -> str:
        del said
        return identity.actor


def command(bench: Bench, kind: Command, sequence: int) -> Delivery:
    body = {"session_id": bench.session_id, "reason": f"because {sequence}"}
    return Delivery(
        command=kind,
        body=json.dumps(body).encode(),
        command_id=f"command {sequence}",
        sequence=sequence,
        received_ns=sequence,
        deliveries=1,
        bearer="a token",
    )


def door(bench: Bench, looks: OneLook, axe: Axe | None = None) -> RetentionStage:
    axe = axe or Axe()
    log: Any = Mortal(bench.log, axe, "append", "append_to_all", "emit")
    store: Any = Mortal(bench.store, axe, "put", "replace")
    signer: Any = Mortal(bench.signer, axe, "sign_device")
    writer = LogWriter(log=log, store=store, signer=signer, recorder=RECORDER)
    metrics = Metrics(version="1", node="node")
    gate = CommandGate(
        looks,  # type: ignore[arg-type]  # what is asked of an authoriser
        AuditTrail(log, SystemClock(), "node"),
        Rejections(log, SystemClock(), metrics),
    )
    return RetentionStage(
        store=store,
        clock=SystemClock(),
        gate=gate,
        book=RetentionBook(log=log, store=store, signer=signer, writer=writer),
        ordered=lambda: None,
    )


async def facts_of(bench: Bench, fact: Fact) -> list[Event]:
    return [logged.event async for logged in bench.log.read(fact, bench.session_id)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_command_killed_at_every_effect_is_carried_out_once_and_accepted_once(
    broker: RecorderBroker, tmp_path: Path, *, after: bool
) -> None:
    whole, axe = Bench(broker, tmp_path / "whole"), Axe()
    await whole.record()
    await door(whole, OneLook(), axe).handle(command(whole, Command.HOLD, 7))
    assert {"sign_device", "put", "append_to_all", "append", "emit"} <= set(axe.effects)
    for at in range(1, len(axe.effects) + 1):
        await forget_all(broker)
        bench = Bench(broker, tmp_path / str(at))
        await bench.record()
        looks = OneLook()
        hold = command(bench, Command.HOLD, 7)
        with pytest.raises(Killed):
            await door(bench, looks, Axe(at, after=after)).handle(hold)
        signed = bench.store.size(keys.blob_key(bench.session_id, keys.statement(1))) is not None
        # Delivered again, when the token has run out: what was carried out stays accepted.
        looks.looks = 0 if signed else 1
        await door(bench, looks).handle(hold)
        await door(bench, OneLook(0)).handle(hold)
        told = await facts_of(bench, Fact.RETENTION)
        assert [one.holds for one in told if isinstance(one, SessionRetention)] == [("hold",)]
        accepted = await facts_of(bench, Fact.AUDIT_ACCEPTED)
        assert {(one.actor, one.command_id) for one in accepted} == {("root", "command 7")}  # type: ignore[attr-defined]
        assert await facts_of(bench, Fact.AUDIT_DENIED) == []
        assert bench.verdict() is Verdict.COMPLETE
        report = verify(StoredRecording(bench.store, bench.session_id))
        assert [(one.by, one.reason) for one in report.retention.held] == [("root", "because 7")]


async def test_commands_of_one_session_take_effect_in_their_order(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    stage = door(bench, OneLook(9))
    kinds = (Command.HOLD, Command.DELETE, Command.RELEASE, Command.DELETE)
    for sequence, kind in enumerate(kinds, 1):
        await stage.handle(command(bench, kind, sequence))
    told = await facts_of(bench, Fact.RETENTION)
    kinds_told = [one.kind for one in told if isinstance(one, SessionRetention)]
    assert kinds_told == ["hold", "release", "delete"]
    denied = await facts_of(bench, Fact.AUDIT_DENIED)
    assert [one.command_id for one in denied] == ["command 2"]  # type: ignore[attr-defined]
    # The hold comes again behind all of it: it was carried out, and changes nothing.
    await stage.handle(command(bench, Command.HOLD, 1))
    assert len(await facts_of(bench, Fact.RETENTION)) == 3


async def test_what_came_back_out_of_a_backup_goes_again(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    await bench.tend(bench.keeper())
    await bench.check_removed()
    chunk = keys.blob_key(bench.session_id, keys.chunk(1, compressed=True))
    bench.store.put(chunk, b"out of a backup")
    assert bench.verdict() is Verdict.TAMPERED
    await bench.tend(bench.keeper())
    await bench.check_removed()


async def test_what_a_late_worker_or_request_brought_back_goes_again(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    """One that stood still over a chunk wakes up behind the tombstone, and behind a look at it."""
    bench = Bench(broker, tmp_path)
    await bench.record()
    clock = TwoClocks(wall_ns=SystemClock().wall_ns())
    keeper = bench.keeper(clock=clock)
    for _ in range(2):
        await bench.tend(keeper)
    await bench.check_removed()
    chunk = keys.blob_key(bench.session_id, keys.chunk(1, compressed=True))
    for wait_s in (600, 1200, 2400):
        for store in (bench.store, bench.second):
            store.put(chunk, b"of a worker that stood still")
        clock.pass_s(wait_s - 1)
        await bench.tend(keeper)
        assert len(bench.chunks()) == 2
        clock.pass_s(1)
        await bench.tend(keeper)
        await bench.check_removed()


async def test_a_command_for_a_folder_that_was_tampered_with_is_refused_and_says_why(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path)
    await bench.record()
    await door(bench, OneLook()).handle(command(bench, Command.HOLD, 1))
    bench.store.delete(keys.blob_key(bench.session_id, keys.statement(1)))
    await door(bench, OneLook()).handle(command(bench, Command.DELETE, 2))
    (refused,) = await facts_of(bench, Fact.REJECTED)
    assert isinstance(refused, SessionRejected)
    assert "1 statements of retention that are in the log of sessions, found 0" in refused.got
    assert len(bench.chunks()) == 2 * (CHUNKS + 1)
