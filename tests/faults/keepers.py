"""What goes by itself beside the stages: the sweep of the second store, the patrol, the desk."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

from faults.bench import NODE, RECORDER, Bench, Handle, Turn
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.core.errors import BusUnavailableError, RecorderError, StoreError
from recorder_worker.core.gateway_messages import DropRequest, RetryRequest
from recorder_worker.integrations.audited_gate import AuditedGate
from recorder_worker.integrations.dead_letters.desk import DeadLetterDesk
from recorder_worker.integrations.second_store.archiver import Archiver, marker_of
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.late_store import LateStore
from recorder_worker.integrations.second_store.offload import Offload
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.replacing import Ours
from recorder_worker.integrations.second_store.sweep import Sweep
from recorder_worker.service.second_store import claim
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.authoriser import OpenAuthoriser
from recorder_worker.stages.patrol.patrol import Patrol, SecondCopies
from recorder_worker.stages.retention.statement_files import StatementFiles

SECOND_NS = 1_000_000_000
KEEP_NS = 86_400 * SECOND_NS
"""So long behind their copy chunks stay here."""
PAUSE_S = 3600.0
"""From one round of the patrol to the next."""
FAST = 2**40


class Asked(NamedTuple):
    """What a person asks of the desk."""

    action: Literal["retry", "drop"]
    letter: str
    by: str


def _copier(bench: Bench) -> Copier:
    def opened() -> Any:  # noqa: ANN401  (a port of this process)
        claim(bench.second, RECORDER)
        return bench.second

    statements = StatementFiles(bench.store, bench.signer, RECORDER)
    copies = bench.metrics.copies
    return Copier(bench.store, opened, copies, deletion_of=statements.deletion)


def sweeper(bench: Bench) -> Handle:
    """As `SecondStore` has it, where chunks leave this store a day behind their copy."""
    copier, clock, copies = _copier(bench), bench.clock, bench.metrics.copies
    patience = Patience(Troubles(clock, copies), (0.001,))
    archiver = Archiver(bench.events, copier, patience, clock, node=NODE, keep_local=False)
    offload = Offload(
        bench.events,
        copier,
        patience,
        bench.reports(),
        clock,
        copies,
        node=NODE,
        keep_ns=KEEP_NS,
    )
    statements = StatementFiles(bench.store, bench.signer, RECORDER)

    def ours() -> Ours:
        return Ours(recorder=RECORDER, log_keys=tuple(statements.own_keys()))

    sweep = Sweep(copier, archiver, offload, patience, clock, ours)

    async def turn(turn: Turn) -> None:
        try:
            await sweep.turn(idle=True)
        except (StoreError, BusUnavailableError):
            turn.done.set_result(False)  # put off
        else:
            turn.done.set_result(True)

    return turn


def patroller(bench: Bench) -> Handle:
    """As `Keeping` has it."""

    def elsewhere(session_id: str) -> bool:
        marker = marker_of(bench.store, session_id)
        return marker is not None and marker.leaving

    patrol = Patrol(
        bench.store,
        bench.clock,
        bench.book(),
        worker=f"{NODE}:{id(bench.process)}",
        bytes_per_s=FAST,
        second=SecondCopies(LateStore(_copier(bench), bench.clock), elsewhere),
        tell=bench.reports().chunk_failed,
        count=lambda _found, _damaged: None,
    )

    async def turn(turn: Turn) -> None:
        try:
            await patrol.walk(PAUSE_S)
        except RecorderError:
            turn.done.set_result(False)
        else:
            turn.done.set_result(True)

    return turn


class _Room:
    """The audit stream has room: whether it has, is asked of the server, and leaves nothing."""

    async def check(self) -> None:
        """As `AuditRoom`."""


def desk(bench: Bench) -> Handle:
    """The desk, for people without tokens."""
    room: Any = _Room()
    trail = AuditTrail(bench.events, bench.clock, NODE)
    gate = AuditedGate(OpenAuthoriser(), trail, room, bench.clock)
    book = DeadLetterBook(bench.jetstream, EventHeaders(NODE))
    letters = bench.process.port("DeadLetters", book)
    made = DeadLetterDesk(letters, bench.events, gate, bench.clock, NODE)

    async def turn(turn: Turn) -> None:
        asked: Asked = turn.asked
        answer = (
            partial(made.retry, RetryRequest(letter=asked.letter, by=asked.by, why="corrected"), {})
            if asked.action == "retry"
            else partial(made.drop, DropRequest(letter=asked.letter, by=asked.by, why="noise"), {})
        )
        try:
            await answer()
        except BusUnavailableError:
            turn.done.set_result(False)
        else:
            turn.done.set_result(True)

    return turn
