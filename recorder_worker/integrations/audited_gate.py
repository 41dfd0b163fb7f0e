"""The gateway's door: who asks is asked for his token, and his look or copy is put on record.

Where authorisation is open everybody is let in, as NATS does, and is on record without a name.
"""

from __future__ import annotations

import uuid

import msgspec

from recorder_worker.bus.rights.bearer import bearer_in
from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.access.rules import refusal
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.subjects import UNKNOWN_SESSION
from recorder_worker.integrations.audit_room import AuditRoom
from recorder_worker.ports import Admission, Asked, Clock
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.authoriser import Authoriser

EXPORTS = frozenset({"proof"})
"""What is given away to be kept."""
ACTIONS = {"proof": "export", "retry": "retry", "drop": "drop"}
"""What a role has to be allowed for a request; for all others it is `view`."""
UNRECORDED = frozenset({"stats", "retry", "drop"})
"""What says nothing of any recording, and what the desk itself puts on record."""
STRANGERS_NS = 10_000_000_000
"""So seldom a request without a good token is an event of its own."""


class AuditedGate:
    """A `RequestGate` that knows tokens, owners and the audit trail."""

    def __init__(
        self, authoriser: Authoriser, trail: AuditTrail, room: AuditRoom, clock: Clock
    ) -> None:
        self._authoriser = authoriser
        self._trail = trail
        self._room = room
        self._clock = clock
        self._strangers = 0
        self._strangers_told_ns = -STRANGERS_NS

    async def admit(self, asked: Asked) -> Admission:
        """Let a request in, and have it on record.

        Raises:
            RefusedError: he may not ask this.
            TransientError: who asks is not known now, or it cannot be put on record.
        """
        await self._room.check()
        token = bearer_in(asked.headers)
        action = ACTIONS.get(asked.action, "view")
        try:
            identity = await self._authoriser.check(token, action, self._clock.wall_ns())
        except RefusedError as error:
            signer = await self._authoriser.signer_of(token) if token else NOBODY
            if signer != NOBODY:
                await self._deny(signer, asked, error)
            else:
                await self._deny_stranger(asked, error)
            raise
        only_owner = self._authoriser.confined_to(identity)
        admission = Admission(only_owner=only_owner, identity=identity)
        if asked.session_id and admission.only_owner not in {None, asked.owner}:
            # He is told that there is no such session, by whoever asks us; the trail knows better.
            await self._deny(identity, asked, _not_his(identity))
        elif asked.action not in UNRECORDED:
            await self._record(identity, asked)
        return admission

    async def _deny(self, identity: Identity, asked: Asked, error: RefusedError) -> None:
        await self._trail.denied_request(
            identity,
            request=asked.action,
            session_id=asked.session_id or UNKNOWN_SESSION,
            refusal=error.refusal,
            key=uuid.uuid4().hex,
        )

    async def _deny_stranger(self, asked: Asked, error: RefusedError) -> None:
        """Of those who show no good token one event in a while stands for all.

        There is no limit to how often nobody can ask.
        """
        self._strangers += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._strangers_told_ns < STRANGERS_NS:
            return
        count, self._strangers, self._strangers_told_ns = self._strangers, 0, now_ns
        hint = f"{error.refusal.hint}; requests of this kind since the last event: {count}"
        refusal = msgspec.structs.replace(error.refusal, hint=hint)
        await self._deny(NOBODY, asked, RefusedError(**msgspec.structs.asdict(refusal)))

    async def _record(self, identity: Identity, asked: Asked) -> None:
        """Every look is a fact of its own, however often the same thing is looked at."""
        where = {"session_id": asked.session_id or UNKNOWN_SESSION, "what": asked.action}
        key = uuid.uuid4().hex
        if asked.action in EXPORTS:
            await self._trail.exported(identity, **where, key=key, detail=asked.detail)
        else:
            await self._trail.viewed(identity, **where, key=key)


def _not_his(identity: Identity) -> RefusedError:
    return refusal(
        expected=f"a session of {identity.actor}'s own",
        got="one that is not, or none",
        hint=f"{identity.role} is confined to its own sessions (auth.own_only)",
    )
