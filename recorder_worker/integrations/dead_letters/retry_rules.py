"""Whether a dead letter may be tried again: a rule for each stage.

What the record holds cannot be changed by a second try. So a letter is refused where the record
went on without it, where its session has ended, and where signing has stopped. What only tells,
copies or enters may be tried at any time: each of those stages knows what it has done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from recorder_worker.bus import codec
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.dead_letters import DeadLetter
from recorder_worker.core.errors import IncidentError, RequestRefusedError
from recorder_worker.core.events import (
    Captured,
    Checkpoint,
    ChunkPlanned,
    EndCaptured,
    Event,
    Leaf,
    SessionIncident,
)
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.pipeline import CAPTURE, CHUNK, COMPRESS, CONTROL, MERKLE, RETENTION, TSA
from recorder_worker.core.subjects import UNKNOWN_SESSION, Fact
from recorder_worker.ports import EventLog
from recorder_worker.stages.newest_event import newest_event

TAKE_COMMANDS = frozenset({CAPTURE.name, CONTROL.name})
"""All others take facts."""
KEEP = "keep the folder and the letter, and drop the letter once that is looked into"


class RetryRules:
    """Asks the log of the letter's session."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._rules: dict[str, Callable[[DeadLetter, bytes], Awaitable[None]]] = {
            CAPTURE.name: self._start,
            CONTROL.name: self._command,
            CHUNK.name: self._captured,
            COMPRESS.name: self._leaf_to_store,
            MERKLE.name: self._leaf_to_sign,
        }

    async def check(self, letter: DeadLetter, body: bytes) -> None:
        """Whether a second try can help, and can do no harm.

        Raises:
            RequestRefusedError: it cannot; what to do instead.
            BusUnavailableError: nothing is known.
        """
        if not letter.kept:
            raise refused(
                expected="a letter that has its message",
                got=f"one whose message of {letter.size} bytes was too large to be kept with it",
                hint=f"it stood in {letter.stream} at {letter.sequence}; whoever sent it sends it "
                "again, or a server with a larger max_payload takes it whole",
            )
        if letter.stage == TSA.name and letter.error == IncidentError.__name__:
            raise refused(
                expected="a request that contradicts nothing",
                got=letter.reason,
                hint=f"a second time-stamp would hide it; {KEEP}",
            )
        if letter.stage == RETENTION.name:
            raise refused(
                expected="a message that is nobody's word",
                got=f"{letter.subject}: what is held or deleted is signed in the name of whoever "
                "asks for it, and that would be yours",
                hint="if you want it, send it yourself: recorder hold, release or delete; then "
                "drop the letter",
            )
        if letter.stage not in TAKE_COMMANDS:
            _event(letter, body)
        rule = self._rules.get(letter.stage)
        if rule is not None:
            await rule(letter, body)

    async def _start(self, letter: DeadLetter, body: bytes) -> None:
        session_id = session_id_in(body)
        if session_id == UNKNOWN_SESSION:
            session_id = session_id_for(letter.command_id, letter.stored_ns)
        await self._refuse_ended(session_id, "start another session")

    async def _command(self, letter: DeadLetter, body: bytes) -> None:
        del body
        if letter.session_id != UNKNOWN_SESSION:
            await self._refuse_ended(letter.session_id, "there is nothing left to command")

    async def _refuse_ended(self, session_id: str, hint: str) -> None:
        captured = await newest_event(self._log, Fact.CAPTURED, session_id)
        event = captured.event if captured else None
        if isinstance(event, EndCaptured):
            raise refused(
                expected="a session that has not ended",
                got=f"{session_id}, which has: {event.reason.value}; it is, or will be, sealed",
                hint=f"{hint}; drop the letter",
            )
        if await newest_event(self._log, Fact.SEALED, session_id) is not None:
            raise _sealed(session_id)

    async def _captured(self, letter: DeadLetter, body: bytes) -> None:
        event = _event(letter, body)
        assert isinstance(event, Captured)  # noqa: S101  (of that fact there are no others)
        await self._refuse_stopped(event.session_id)
        last = await newest_event(self._log, Fact.CHUNKED, event.session_id)
        leaf = last.event if last else None
        if isinstance(leaf, Leaf) and leaf.captured >= event.ordinal:
            raise refused(
                expected="a captured event that is not in a leaf yet",
                got=f"event {event.ordinal}, which leaf {leaf.index} or one before it covers",
                hint="a later event brought it along; drop the letter",
            )

    async def _leaf_to_store(self, letter: DeadLetter, body: bytes) -> None:
        leaf = _leaf(letter, body)
        if isinstance(leaf, ChunkPlanned):
            raise refused(
                expected="a chunk whose place in the record is free",
                got=f"chunk {leaf.index}, where a gap of reason dead_letter stands",
                hint="what is in the record is not replaced; its segments, as long as the session "
                "runs, lie in segments/ of its folder: copy them, and drop the letter",
            )
        async for logged in self._log.read(Fact.COMPRESSED, leaf.session_id):
            if isinstance(logged.event, Leaf) and logged.event.index == leaf.index:
                raise refused(
                    expected="a leaf that has not passed compress yet",
                    got=f"leaf {leaf.index}, which has",
                    hint="there is nothing to do; drop the letter",
                )

    async def _leaf_to_sign(self, letter: DeadLetter, body: bytes) -> None:
        leaf = _leaf(letter, body)
        last = await newest_event(self._log, Fact.CHECKPOINT, leaf.session_id)
        signed = last.event if last else None
        if isinstance(signed, Checkpoint) and signed.tree_size > leaf.index:
            raise refused(
                expected="a leaf that is not signed yet",
                got=f"leaf {leaf.index} of a tree of {signed.tree_size}",
                hint="there is nothing to do; drop the letter",
            )
        await self._refuse_stopped(leaf.session_id)

    async def _refuse_stopped(self, session_id: str) -> None:
        if await newest_event(self._log, Fact.SEALED, session_id) is not None:
            raise _sealed(session_id)
        async for logged in self._log.read(Fact.INCIDENT, session_id):
            event = logged.event
            if isinstance(event, SessionIncident) and event.stage == MERKLE.name:
                raise refused(
                    expected="a session that is being signed",
                    got=f"{session_id}, for which signing has stopped: {event.detail[:200]}",
                    hint=f"an incident is not tried away; {KEEP}",
                )


def refused(*, expected: str, got: str, hint: str, code: int = 409) -> RequestRefusedError:
    """The refusal to settle a letter."""
    return RequestRefusedError(code, field="letter", expected=expected, got=got, hint=hint)


def _sealed(session_id: str) -> RequestRefusedError:
    return refused(
        expected="a session that is not sealed",
        got=f"{session_id}, which is sealed: its record is complete and cannot grow",
        hint="what is missing of it stands there as a gap; drop the letter",
    )


def _leaf(letter: DeadLetter, body: bytes) -> Leaf:
    event = _event(letter, body)
    assert isinstance(event, Leaf)  # noqa: S101  (of those facts there are no others)
    return event


def _event(letter: DeadLetter, body: bytes) -> Event:
    fact = letter.fact
    try:
        if fact is None:
            raise msgspec.ValidationError(f"{letter.subject} is the subject of no fact")
        return codec.decode(fact, body)
    except msgspec.MsgspecError as error:
        raise refused(
            expected=f"an event of {letter.subject if fact is None else fact.value}",
            got=f"what is none to this version: {error}",
            hint="it would fail again; where a newer worker wrote it, update the workers first; "
            "else drop the letter",
        ) from error
