"""Makes the next bundle of the audit trail out of the stream AUDIT.

The trail itself says how far it has read: the position is in its newest line. A durable consumer of
JetStream would be a second opinion about that, and a wrong one where it counts: when the stream
loses its end and gives the same sequences out again, a consumer that is ahead says nothing and
skips what is new. Here the message that was read last must still be what it was; where it is not,
the bundle says so, in a line of its own, and goes on behind what both have in common.

Given the moment at which it was made and the number of its lines, a bundle is a function of trail
and stream. So one that a crash left unentered can be made again and compared.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from recorder_worker.core.audit_trail.bundle import BundleText
from recorder_worker.core.audit_trail.lines import VERSION, EventLine, GapLine, Head, body_fields
from recorder_worker.core.errors import IncidentError
from recorder_worker.ports import AuditStream, StoredMessage
from recorder_worker.stages.audit_trail.stored_trail import Link, StoredTrail
from recorder_worker.stages.session_log.log_writer import LogWriter

log = structlog.get_logger(__name__)

MAX_BYTES = 4 * 1024 * 1024
"""A bundle ends behind the message with which it has so many."""
AGED_AT_ONCE = 1000
SECOND_NS = 1_000_000_000


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stream was read.

    Attributes:
        place: of the bundle that says so, in the links of the trail; -1: none does.
        sequence: what is behind it is new.
        event: the message with that sequence, where it was written down last.
    """

    place: int = -1
    sequence: int = 0
    event: EventLine | None = None


class Binder:
    """Reads trail and stream; writes neither."""

    def __init__(
        self, stream: AuditStream, trail: StoredTrail, writer: LogWriter, *, max_age_s: int
    ) -> None:
        self._stream = stream
        self._trail = trail
        self._writer = writer
        self._max_age_s = max_age_s
        self._damaged: list[Link] = []

    async def bind(self, made_ns: int, limit: int, *, aging: bool = True) -> bytes | None:
        """The next bundle, with at most `limit` messages and gaps (and one more); None: no news.

        Without `aging` no bundle is too old.

        Raises:
            IncidentError: the newest bundle is not the one that was entered.
            BusUnavailableError, StoreError: try again.
        """
        trail = self._trail
        text = BundleText(
            Head(
                v=VERSION,
                recorder=self._writer.recorder,
                first=trail.last + 1,
                previous=trail.digest.hex(),
                made_ns=made_ns,
                device_key=self._writer.device_key,
            )
        )
        position = await asyncio.to_thread(self._position)
        if limit:
            after, before_ns = await self._resume(text, position, made_ns)
            await self._read(text, after, before_ns, limit)
        if aging:
            await asyncio.to_thread(self._age, text, position, made_ns)
        return text.data if text.count else None

    # --- where the stream was left ----------------------------------------------------------------

    def _position(self) -> Position:
        for place, bundle in self._trail.newest_first():
            for line in reversed(bundle.lines):
                if isinstance(line, EventLine):
                    return Position(place=place, sequence=line.sequence, event=line)
                if isinstance(line, GapLine):
                    return Position(place=place, sequence=line.resume)
        return Position()

    async def _resume(self, text: BundleText, position: Position, made_ns: int) -> tuple[int, int]:
        """Behind which sequence to read, and when the last message was stored.

        Where the stream is not what it was, that becomes a line.
        """
        before_ns = position.event.stored_ns if position.event else 0
        if await self._goes_on(position):
            return position.sequence, before_ns
        resume = await self._common()
        text.gap(reason="stream_cut", missing=0, from_ns=before_ns, to_ns=made_ns, resume=resume)
        return resume, before_ns

    async def _goes_on(self, position: Position) -> bool:
        """Whether the stream still has what was read last, or had it: what is old goes."""
        if not position.sequence:
            return True
        found = await self._stream.at(position.sequence)
        if found is not None and position.event is not None:
            return _same(found, position.event)
        return await self._stream.last_sequence() >= position.sequence

    async def _common(self) -> int:
        """The last sequence that trail and stream agree about; else all that the stream has is new.

        What was written down before the stream's first message was stored cannot be in it.
        """
        first = await self._stream.behind(0)
        if first is None:
            return 0
        last = await self._stream.last_sequence()
        bundles = self._trail.newest_first()
        while (found := await asyncio.to_thread(next, bundles, None)) is not None:
            for line in reversed(found[1].lines):
                if not isinstance(line, EventLine) or line.sequence > last:
                    continue
                if line.stored_ns < first.stored_ns:
                    return first.sequence - 1
                held = await self._stream.at(line.sequence)
                if held is not None and _same(held, line):
                    return line.sequence
        return first.sequence - 1

    async def _read(self, text: BundleText, after: int, before_ns: int, limit: int) -> None:
        while text.count < limit and text.size < MAX_BYTES:
            found = await self._stream.behind(after)
            if found is None:
                return
            if found.sequence != after + 1:
                text.gap(
                    reason="messages_missing",
                    missing=found.sequence - after - 1,
                    from_ns=before_ns,
                    to_ns=found.stored_ns,
                    resume=found.sequence - 1,
                )
            text.event(
                subject=found.subject,
                sequence=found.sequence,
                stored_ns=found.stored_ns,
                message_id=found.message_id,
                **body_fields(found.body),
            )
            after, before_ns = found.sequence, found.stored_ns

    # --- what is too old --------------------------------------------------------------------------

    def _age(self, text: BundleText, position: Position, made_ns: int) -> None:
        """Say which bundles go, if any.

        Not the one that says how far the stream was read. And for bundles that only say that others
        went there is no entry of its own, or every entry would bring about one more.
        """
        trail, gone, worth = self._trail, None, text.count > 0
        begin = trail.oldest()
        for link in trail.links[begin : min(position.place, begin + AGED_AT_ONCE)]:
            try:
                bundle = trail.read(link)
            except IncidentError as error:
                # It stays as it is, and what is behind it, for whoever finds out what happened.
                if link not in self._damaged:
                    self._damaged.append(link)
                    log.warning("AuditBundleDamaged", error=str(error))
                break
            if bundle.newest_ns + self._max_age_s * SECOND_NS >= made_ns:
                break
            gone, worth = link, worth or any(bundle.events)
        if gone is not None and worth:
            text.aged(through=gone.last, digest=gone.digest.hex(), max_age_s=self._max_age_s)


def _same(found: StoredMessage, line: EventLine) -> bool:
    held = (found.subject, found.stored_ns, found.message_id, found.body)
    return held == (line.subject, line.stored_ns, line.message_id, line.body)
