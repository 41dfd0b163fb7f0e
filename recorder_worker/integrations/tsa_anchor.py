"""Time-stamps the log of sessions: `integration.anchor.requested` → `integration.anchor.receipt`.

An engine like any other: it hears requests on the bus and answers there. Requests come one at a
time and in order. A crash before the receipt is published leaves nothing, and the request comes
again; behind it, and before the state is, a second receipt is asked for, and dropped by its id or
by the recorder, which keeps the first.
"""

from __future__ import annotations

import structlog

from recorder_worker.core.events import AnchorReceipt, AnchorRequested, AnchorState
from recorder_worker.core.ids import event_key
from recorder_worker.core.receipts.anchoring import judge
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.tsa_client import Authority, time_stamp
from recorder_worker.ports import EventLog

log = structlog.get_logger(__name__)

NAME = "tsa"
"""Of its durable consumer, and in dead letters."""


class TsaAnchor:
    """The handler of anchor requests, with one time-stamp authority."""

    def __init__(self, events: EventLog, authority: Authority) -> None:
        self._events = events
        self._authority = authority

    async def handle(self, request: AnchorRequested) -> None:
        """Anchor one checkpoint, once.

        Raises:
            FormatError, ProofError, IncidentError: the request is wrong, or contradicts what was
                seen: nothing is anchored.
            AuthorityAwayError, AuthorityAnswerError: there is no time-stamp yet.
            BusUnavailableError, FencedError: as `EventLog`.
        """
        last = await self._events.last_of_all(Fact.ANCHOR_STATE)
        state = last.event if last and isinstance(last.event, AnchorState) else None
        judged = judge(state, request)
        if judged.anchored:
            return
        if not judged.linked:
            log.warning(
                "AnchorNotLinked",
                origin=request.origin,
                tree_size=request.tree_size,
                previous_size=request.previous_size,
                why="requests before it were never seen here; that it is one log is not shown",
            )
        receipt, found = await time_stamp(self._authority, request.note.encode())
        key = event_key("anchor", "rfc3161", request.origin, request.tree_size, request.root_hash)
        await self._events.emit(
            Fact.ANCHOR_RECEIPT,
            request.session_id,
            AnchorReceipt(
                origin=request.origin,
                tree_size=request.tree_size,
                root_hash=request.root_hash,
                session_id=request.session_id,
                kind="rfc3161",
                target=self._authority.url,
                receipt=receipt,
            ),
            key=key,
        )
        await self._events.append(
            Fact.ANCHOR_STATE,
            request.session_id,
            judged.state,
            key=f"{key}:state",
            after=last.sequence if last else 0,
        )
        log.info(
            "CheckpointTimestamped",
            tree_size=request.tree_size,
            authority=found.authority,
            serial=found.serial,
            session_id=request.session_id,
        )
