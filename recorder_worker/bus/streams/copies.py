"""Copies of facts for the owners of sessions, in a stream of their own."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3
from nats.js import JetStreamContext

from recorder_worker.bus import codec
from recorder_worker.bus.event_log import MESSAGE_ID, PUBLISH_TIMEOUT_S, Headers, patiently
from recorder_worker.bus.streams.topology import CLIENTS_STREAM
from recorder_worker.core.subjects import copy_for
from recorder_worker.ports import FactMessage


class JetStreamCopies:
    """`Copies` on the stream CLIENTS."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], headers: Headers) -> None:
        self._jetstream = jetstream
        self._headers = headers

    async def publish(self, owner: str, message: FactMessage) -> None:
        """Store a copy (see `ports.Copies`)."""
        data = codec.encode(message.event)
        subject = copy_for(owner, message.fact, message.session_id)
        headers = self._headers(message.fact, message.session_id, message.event)
        headers |= {MESSAGE_ID: f"{subject}:{blake3(data).hexdigest()}"}
        await patiently(
            lambda: self._jetstream().publish(
                subject, data, stream=CLIENTS_STREAM, headers=headers, timeout=PUBLISH_TIMEOUT_S
            )
        )
