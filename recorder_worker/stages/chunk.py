"""The chunk stage: folds the captured log into leaves and publishes each, fenced.

Order needs no partition and no waiting. Captured events are appended in order, so when event n is
delivered every earlier one stands in the log: whichever worker gets it folds from the last leaf
that was published up to n. Two workers that fold the same events make the same leaves; the fence
lets one of them publish, and the other sees that it is done.

Most events are the next one behind what this worker has folded. Then nothing is asked: the event is
at hand, and that somebody else went on meanwhile shows at the fence of the next leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from recorder_worker.core.chunker import ChunkerState, advance, resume_state
from recorder_worker.core.errors import FencedError, OutOfOrderError
from recorder_worker.core.events import Captured, CapturedEvent, ChunkedEvent, Leaf, Opened
from recorder_worker.core.ids import event_key
from recorder_worker.core.model import RecordingPolicy
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import EventLog, Logged
from recorder_worker.stages.session_table import SessionTable, never_lost


@dataclass
class _Position:
    """How far this worker has folded one session, and the sequences that it stands on."""

    policy: RecordingPolicy | None = None
    state: ChunkerState = field(default_factory=ChunkerState)
    leaf_sequence: int = -1
    read_after: int = 0
    sequences: dict[int, int] = field(default_factory=dict)

    def reset(self, last: Logged | None) -> None:
        """Stand right behind the last leaf that was published."""
        leaf: ChunkedEvent | None = last.event if last else None  # type: ignore[assignment]
        self.state = resume_state(leaf)
        self.leaf_sequence = last.sequence if last else 0
        self.read_after = leaf.read_after if leaf else 0
        self.sequences = {self.state.applied - 1: self.read_after}

    def is_next(self, event: CapturedEvent) -> bool:
        """Whether an event follows what is remembered."""
        known = self.policy is not None and self.leaf_sequence >= 0
        return known and event.ordinal == self.state.applied

    def forget(self) -> None:
        """Trust nothing that is remembered."""
        self.leaf_sequence = -1


class ChunkStage:
    """Handles `session.captured.<id>`."""

    def __init__(self, log: EventLog, connection: Callable[[], int] = never_lost) -> None:
        self._log = log
        self._sessions = SessionTable(_Position, connection)

    async def handle(self, delivered: Logged) -> None:
        """Publish every leaf that is complete with this event.

        Args:
            delivered: a captured event, and where it stands in the log; 0: that is not known.

        Raises:
            FencedError: another worker folds this session too; the next try sees what it did.
            OutOfOrderError: the log does not reach to this event yet.
        """
        event: CapturedEvent = delivered.event  # type: ignore[assignment]
        async with self._sessions.entry(event.session_id) as position:
            try:
                if delivered.sequence and position.is_next(event):
                    await self._apply(position, event, delivered.sequence)
                    position.read_after = delivered.sequence
                else:
                    await self._catch_up(event.session_id, position, event.ordinal)
            except BaseException:
                position.forget()
                raise

    async def _catch_up(self, session_id: str, position: _Position, until: int) -> None:
        """Fold from the last published leaf up to an ordinal."""
        if position.policy is None:
            position.policy = await session_policy(self._log, session_id)
        last = await self._log.last(Fact.CHUNKED, session_id)
        if position.leaf_sequence != (last.sequence if last else 0):
            position.reset(last)
        try:
            await self._fold(session_id, position, until)
        except FencedError:
            raise
        except OutOfOrderError:
            if position.read_after == 0:
                raise
            # The hint was made for another stream (a restored one): read from the beginning.
            position.reset(last)
            position.read_after = 0
            await self._fold(session_id, position, until)

    async def _fold(self, session_id: str, position: _Position, until: int) -> None:
        """Apply captured events up to an ordinal and publish the leaves that they complete."""
        if position.state.applied > until:
            return
        async for logged in self._log.read(Fact.CAPTURED, session_id, after=position.read_after):
            event = logged.event
            if isinstance(event, Captured) and event.ordinal >= position.state.applied:
                await self._apply(position, event, logged.sequence)  # type: ignore[arg-type]
            position.read_after = logged.sequence
            if position.state.applied > until:
                return
        raise OutOfOrderError(
            f"session {session_id}: captured event {until} was delivered, but the log ends "
            f"before event {position.state.applied}"
        )

    async def _apply(self, position: _Position, event: CapturedEvent, sequence: int) -> None:
        assert position.policy is not None  # noqa: S101  (_catch_up has read it)
        state, leaves = advance(position.state, event, position.policy)
        position.sequences[event.ordinal] = sequence
        for leaf in leaves:
            hint = position.sequences.get(leaf.open_from - 1, 0)
            position.leaf_sequence = await self._publish(
                msgspec.structs.replace(leaf, read_after=hint), position.leaf_sequence
            )
        position.state = state
        for ordinal in [o for o in position.sequences if o < state.open_from - 1]:
            del position.sequences[ordinal]

    async def _publish(self, leaf: Leaf, after: int) -> int:
        key = event_key(Fact.CHUNKED.value, leaf.session_id, leaf.index)
        return await self._log.append(Fact.CHUNKED, leaf.session_id, leaf, key=key, after=after)


async def session_policy(log: EventLog, session_id: str) -> RecordingPolicy:
    """The policy that a session was opened with: it stands in the first event of its log.

    Raises:
        OutOfOrderError: there is no such event yet.
    """
    async for logged in log.read(Fact.CAPTURED, session_id):
        if isinstance(logged.event, Opened):
            return logged.event.policy
    raise OutOfOrderError(f"session {session_id}: its log has no opening event")
