"""NATS headers of every event: CloudEvents attributes (binary mode) and W3C trace context."""

from __future__ import annotations

import uuid

from blake3 import blake3

from recorder_worker.bus.codec import encode
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact


class EventHeaders:
    """Makes the headers of events that one node publishes."""

    def __init__(self, node: str) -> None:
        self._source = f"/recorder/{node}"

    def __call__(self, fact: Fact, session_id: str, event: Event) -> dict[str, str]:
        """The headers of one event.

        Deterministic, like the event: the trace is the session's UUID, so that all spans of a
        session are one trace whichever worker made them. The subject is part of the digest: what
        passes a stage unchanged is another event behind it.
        """
        digest = blake3(fact.of(session_id).encode() + b"\n" + encode(event)).hexdigest()
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": digest[:32],
            "ce-type": f"{fact.value}.v{event.v}",
            "ce-source": self._source,
            "ce-subject": session_id,
        }
        trace = _trace_id(session_id)
        if trace:
            headers["traceparent"] = f"00-{trace}-{digest[32:48]}-01"
        return headers


def _trace_id(session_id: str) -> str:
    try:
        return uuid.UUID(session_id).hex
    except ValueError:
        return ""
