"""The desk: who may settle dead letters, has one tried again or dropped, once, and on record.

The order of effects: what becomes of the letter is written down behind a fence, once and for all;
then it is sent again, behind a fence of its own; then the audit trail is told. A crash in between
is made good by asking again: each step finds what is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import structlog

from recorder_worker.bus.micro_service import Served
from recorder_worker.bus.rights.bearer import bearer_in
from recorder_worker.core.access.identity import Identity
from recorder_worker.core.access.rules import refusal
from recorder_worker.core.dead_letters import DeadLetter, LetterSeen
from recorder_worker.core.errors import RequestRefusedError
from recorder_worker.core.events import DeadLetterSettled
from recorder_worker.core.gateway_messages import (
    REQUEST_TYPES,
    DropRequest,
    RetryRequest,
    SettledAnswer,
)
from recorder_worker.core.ids import event_key
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import Endpoint, Fact
from recorder_worker.integrations.dead_letters.retry_rules import RetryRules, refused
from recorder_worker.ports import Asked, Clock, DeadLetters, EventLog, RequestGate

log = structlog.get_logger(__name__)

Headers = Mapping[str, str]


class DeadLetterDesk:
    """Answers `recorder.api.dead.retry` and `recorder.api.dead.drop`."""

    def __init__(
        self, letters: DeadLetters, events: EventLog, gate: RequestGate, clock: Clock, node: str
    ) -> None:
        self._letters = letters
        self._events = events
        self._gate = gate
        self._clock = clock
        self._node = node
        self._rules = RetryRules(events)

    def served(self) -> tuple[Served, ...]:
        """Its endpoints."""
        answers = {Endpoint.RETRY: self.retry, Endpoint.DROP: self.drop}
        return tuple(
            Served(
                name=f"dead-{endpoint.name.lower()}",
                subject=endpoint.value,
                request=REQUEST_TYPES[endpoint],
                answer=answer,  # type: ignore[arg-type]  # each takes the request of its endpoint
                metadata={
                    "request_schema": f"{endpoint.value}.request.json",
                    "answer_schema": f"{endpoint.value}.answer.json",
                },
            )
            for endpoint, answer in answers.items()
        )

    async def retry(self, request: RetryRequest, headers: Headers) -> bytes:
        """Have a letter tried again by its stage, once.

        Raises:
            RefusedError: he who asks may not, or it cannot help.
            BlobMissingError: the letter is there no more.
            BusUnavailableError: ask again.
        """
        identity = await self._admitted("retry", request.letter, request.by, headers)
        seen = await self._seen(request.letter)
        body = await self._letters.body(seen.letter)
        if seen.settled is None:
            await self._rules.check(seen.letter, body)
        event, first = await self._settle(seen, identity, "retried", request)
        # Also where it was written down before: whoever did may have died before this.
        if await self._letters.send_again(seen.letter, body, bearer_in(headers)):
            log.info("DeadLetterRetried", stage=event.stage, letter=event.letter)
        return await self._answer(event, first=first)

    async def drop(self, request: DropRequest, headers: Headers) -> bytes:
        """Say that nothing more is done about a letter; as `retry`."""
        identity = await self._admitted("drop", request.letter, request.by, headers)
        seen = await self._seen(request.letter)
        event, first = await self._settle(seen, identity, "dropped", request)
        if first:
            log.info("DeadLetterDropped", stage=event.stage, letter=event.letter, why=event.why)
        return await self._answer(event, first=first)

    async def _admitted(self, action: str, letter: str, by: str, headers: Headers) -> Identity:
        asked = Asked(action=action, detail=letter, headers=headers)
        admission = await self._gate.admit(asked)
        identity = admission.identity
        if admission.only_owner is not None:
            raise refusal(
                expected="a role that may settle the letters of all sessions",
                got=f"{identity.role}, which is confined to its own",
                hint="ask for a token with another role (auth.own_only)",
            )
        if identity.actor and by not in {"", identity.actor}:
            raise refusal(
                expected=f"by: {identity.actor}, or none",
                got=by,
                hint="with authorisation on, the subject of the token stands in the record",
            )
        return identity

    async def _seen(self, name: str) -> LetterSeen:
        for seen in await self._letters.all():
            if seen.letter.letter == name:
                if seen.letter.stage in {stage.name for stage in CONSUMERS}:
                    return seen
                break
        raise RequestRefusedError(
            404,
            field="letter",
            expected="the id of a dead letter of one of our stages",
            got=name,
            hint="`recorder dead ls --all` lists them",
        )

    async def _settle(
        self,
        seen: LetterSeen,
        identity: Identity,
        action: Literal["retried", "dropped"],
        request: RetryRequest | DropRequest,
    ) -> tuple[DeadLetterSettled, bool]:
        """What stands in the end about a letter, and whether that is of this request."""
        asked = self._event(seen.letter, identity, action, request)
        found = seen.settled or await self._letters.settle(seen.letter, asked)
        if found.action != action:
            raise refused(
                expected="a letter that nobody has dealt with",
                got=f"one that was {found.action} by {found.actor or found.by or 'somebody'}: "
                f"{found.why or 'no reason was given'}",
                hint="a letter is settled once; `recorder dead show` has what became of it",
            )
        return found, found == asked

    def _event(
        self,
        letter: DeadLetter,
        identity: Identity,
        action: Literal["retried", "dropped"],
        request: RetryRequest | DropRequest,
    ) -> DeadLetterSettled:
        return DeadLetterSettled(
            actor=identity.actor,
            role=identity.role,
            token_id=identity.token_id,
            session_id=letter.session_id,
            node=self._node,
            wall_ns=self._clock.wall_ns(),
            letter=letter.letter,
            stage=letter.stage,
            action=action,
            by=request.by,
            why=request.why,
        )

    async def _answer(self, event: DeadLetterSettled, *, first: bool) -> bytes:
        key = event_key(Fact.AUDIT_SETTLED.value, event.letter, event.action)
        await self._events.emit(Fact.AUDIT_SETTLED, event.session_id, event, key=key)
        return msgspec.json.encode(SettledAnswer(settled=event, first=first))
