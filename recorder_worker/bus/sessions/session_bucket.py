"""The entries of sessions in a key-value bucket of NATS, which any client can watch."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import BadRequestError, NotFoundError
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from recorder_worker.bus.event_log import (
    FENCE,
    PUBLISH_TIMEOUT_S,
    WRONG_LAST_SEQUENCE,
    patiently,
)
from recorder_worker.bus.sessions.session_entries import KnownEntries
from recorder_worker.core.errors import FencedError
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import SESSIONS_BUCKET
from recorder_worker.core.versions import check_stored_version, check_version

STREAM = f"KV_{SESSIONS_BUCKET}"

_DECODER = msgspec.json.Decoder(SessionEntry)


class SessionBucket:
    """A `EntryTable`."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream
        self._known = KnownEntries(jetstream, STREAM, read_entry)

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
        return read_entry(message.data or b"", message.headers or {}), message.seq or 0

    async def put(self, entry: SessionEntry, *, after: int) -> int:
        """Store an entry behind a revision (see `ports.EntryTable`)."""
        try:
            ack = await patiently(
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
        return ack.seq

    async def all(self) -> list[SessionEntry]:
        """Every entry (see `ports.EntryTable`)."""
        return await self._known.all()


def _subject(session_id: str) -> str:
    return f"$KV.{SESSIONS_BUCKET}.{session_id}"


def read_entry(data: bytes, headers: dict[str, str]) -> SessionEntry | None:
    """What somebody deleted, or put there himself, is nobody's entry.

    Raises:
        NewerVersionError: a newer recorder wrote it; written over, what is new in it would be lost.
    """
    if headers.get(KV_OP) in {KV_DEL, KV_PURGE}:
        return None
    try:
        entry = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        check_stored_version(data, STREAM)
        return None
    check_version(entry.v, STREAM)
    return entry
