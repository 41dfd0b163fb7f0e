"""The entries of sessions in a key-value bucket of NATS, which any client can watch."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError, BadRequestError, NotFoundError
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from recorder_worker.bus.event_log import (
    FENCE,
    PUBLISH_TIMEOUT_S,
    WRONG_LAST_SEQUENCE,
    patiently,
)
from recorder_worker.bus.topology import SESSIONS_BUCKET
from recorder_worker.core.errors import BusUnavailableError, FencedError
from recorder_worker.core.session_entry import SessionEntry

STREAM = f"KV_{SESSIONS_BUCKET}"
WATCH_INACTIVE_S = 10.0
"""After so long the server forgets a reading that was given up."""
NEXT_ENTRY_S = 5.0

_DECODER = msgspec.json.Decoder(SessionEntry)


class SessionBucket:
    """A `EntryTable`."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream

    async def get(self, session_id: str) -> tuple[SessionEntry | None, int]:
        """A session's entry and its revision (see `ports.EntryTable`).

        One that does not decode is none: it is written anew.
        """
        try:
            message = await patiently(
                lambda: self._jetstream().get_last_msg(STREAM, _subject(session_id), direct=True)
            )
        except NotFoundError:
            return None, 0
        operation = (message.headers or {}).get(KV_OP)
        entry = None if operation in {KV_DEL, KV_PURGE} else _decoded(message.data)
        return entry, message.seq or 0

    async def put(self, entry: SessionEntry, *, after: int) -> None:
        """Store an entry behind a revision (see `ports.EntryTable`)."""
        try:
            await patiently(
                lambda: self._jetstream().publish(
                    _subject(entry.session_id),
                    msgspec.json.encode(entry),
                    stream=STREAM,
                    headers={FENCE: str(after)},
                    timeout=PUBLISH_TIMEOUT_S,
                )
            )
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            raise FencedError(
                f"{_subject(entry.session_id)}: another worker wrote it behind revision {after}"
            ) from error

    async def all(self) -> list[SessionEntry]:
        """Every entry (see `ports.EntryTable`)."""
        try:
            bucket = await self._jetstream().key_value(SESSIONS_BUCKET)
            watcher = await bucket.watchall(
                ignore_deletes=True, inactive_threshold=WATCH_INACTIVE_S
            )
            try:
                found = []
                # None comes behind the last entry that is there now.
                while (update := await watcher.updates(NEXT_ENTRY_S)) is not None:  # type: ignore[no-untyped-call]  # as upstream
                    found.append(_decoded(update.value))
            finally:
                await watcher.stop()  # type: ignore[no-untyped-call]  # as upstream
        except (APIError, nats.errors.Error, OSError) as error:
            raise BusUnavailableError(
                f"bucket {SESSIONS_BUCKET}: no answer: {error!r}; is it there?"
            ) from error
        return [entry for entry in found if entry is not None]


def _subject(session_id: str) -> str:
    return f"$KV.{SESSIONS_BUCKET}.{session_id}"


def _decoded(data: bytes | None) -> SessionEntry | None:
    """What somebody else put there is nobody's entry."""
    try:
        return _DECODER.decode(data or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
