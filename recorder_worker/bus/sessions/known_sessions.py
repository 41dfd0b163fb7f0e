"""The sessions that a server knows: by the subjects of their facts, however old."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from recorder_worker.bus.event_log import patiently
from recorder_worker.bus.streams.topology import SESSIONS_STREAM
from recorder_worker.core.command_parsing import is_session_id
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.subjects import Fact, session_of

TELLING = (Fact.STARTED, Fact.CAPTURED, Fact.CHECKPOINT, Fact.SEALED)
"""A long session's start is the first that a stream forgets; its seal is the last."""


async def known_sessions(jetstream: JetStreamContext) -> set[str]:
    """The ids of all sessions with a fact of these in the stream. Raises BusUnavailableError."""
    found: set[str] = set()
    for fact in TELLING:
        try:
            info = await patiently(
                lambda fact=fact: jetstream.stream_info(  # type: ignore[misc]
                    SESSIONS_STREAM, subjects_filter=fact.wildcard
                )
            )
        except NotFoundError as error:
            raise BusUnavailableError(
                f"stream {SESSIONS_STREAM}: expected it on the NATS server, found none; is this "
                "the server of the recorder?"
            ) from error
        found |= {session_of(subject) for subject in info.state.subjects or {}}
    return set(filter(is_session_id, found))
