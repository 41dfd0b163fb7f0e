"""The stream AUDIT, read by sequence.

Asked of the stream's leader and not of any copy (`direct`): a copy that is a moment behind has not
got what was read from the leader, and that would be taken for a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from recorder_worker.bus.event_log import MESSAGE_ID, patiently
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.ports import StoredMessage

EVERYTHING = "audit.>"
NO_MESSAGE = 10037
"""The server's code for a message that is not there; a stream that is not there has another."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JetStreamAuditStream:
    """An `AuditStream`."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream

    async def last_sequence(self) -> int:
        """The last sequence that the stream gave out. Raises BusUnavailableError."""
        try:
            info = await patiently(lambda: self._jetstream().stream_info(AUDIT_STREAM))
        except NotFoundError as error:
            raise _gone(error) from error
        return info.state.last_seq

    async def at(self, sequence: int) -> StoredMessage | None:
        """The message with a sequence. Raises BusUnavailableError."""
        return await self._get(seq=sequence) if sequence > 0 else None

    async def behind(self, sequence: int) -> StoredMessage | None:
        """The first message behind a sequence. Raises BusUnavailableError."""
        return await self._get(seq=sequence + 1, subject=EVERYTHING, next=True)

    async def _get(self, **what: Any) -> StoredMessage | None:  # noqa: ANN401  (of `get_msg`)
        try:
            return _stored(await patiently(lambda: self._jetstream().get_msg(AUDIT_STREAM, **what)))
        except NotFoundError as error:
            if error.err_code != NO_MESSAGE:
                raise _gone(error) from error
            return None


def _gone(error: NotFoundError) -> BusUnavailableError:
    return BusUnavailableError(
        f"stream {AUDIT_STREAM}: expected it on the NATS server, found: {error.description}; "
        "restart a worker, which makes it again, or run `recorder streams apply`"
    )


def _stored(message: RawStreamMsg) -> StoredMessage:
    time = message.time or _EPOCH
    return StoredMessage(
        subject=message.subject or "",
        sequence=message.seq or 0,
        stored_ns=(time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000,
        message_id=(message.headers or {}).get(MESSAGE_ID, ""),
        body=message.data or b"",
    )
