"""Enters the audit trail in the log of sessions: what is new, at most every `digest_s` seconds.

The order of effects, as for sessions (docs/architecture.md, "One writer"):

1. the bundle is durable, under the name that is next: of two workers the store takes one,
2. the head of the log of sessions is appended with the entry in it, fenced over all entries,
3. tiles, checkpoint, proof and anchor follow as for every entry,
4. bundles that the entry says are too old are removed; none is by a clock that is doubted.

A crash after 1 leaves a bundle that is not entered. Whoever comes next makes it again from the
stream, and enters it where that gives the same bytes; else somebody has put it there, and nothing
is entered until a person has looked. A crash after 2 is finished by whoever appends next.
"""

from __future__ import annotations

import asyncio

import structlog

from recorder_worker.core.audit_trail.bundle import Bundle, chained, parse_bundle
from recorder_worker.core.audit_trail.lines import AgedLine, GapLine
from recorder_worker.core.errors import (
    FencedError,
    FormatError,
    ImmutableConflictError,
    IncidentError,
)
from recorder_worker.core.session_log.entries import NO_SESSION, EntryKind, LogEntry
from recorder_worker.core.session_log.log_head import LogHead
from recorder_worker.ports import AuditStream, BlobStore, Clock
from recorder_worker.stages.audit_trail.binder import MAX_BYTES, SECOND_NS, Binder
from recorder_worker.stages.audit_trail.stored_trail import StoredTrail
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.store_check import check_store
from recorder_worker.stages.sure_time import STEADY_S, TimeWitness

log = structlog.get_logger(__name__)

MAX_LINES = 10_000
MAX_AHEAD_NS = 300 * SECOND_NS
"""So far may the clock of whoever made a bundle be ahead: by a far future everything is too old."""


class AuditKeeper:
    """One of any number; all enter one trail.

    Args:
        stream: where the events come from.
        writer: of the log of sessions; shared with the stage that enters sessions.
        digest_s: the longest time, in seconds, that an event waits for its entry.
        max_age_s: how long bundles are kept.
        steady_s: how long the clock has to go evenly before any is too old by it.
    """

    def __init__(
        self,
        stream: AuditStream,
        store: BlobStore,
        writer: LogWriter,
        clock: Clock,
        *,
        digest_s: float,
        max_age_s: int,
        steady_s: float = STEADY_S,
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._digest_ns = round(digest_s * SECOND_NS)
        self._max_age_s = max_age_s
        self._witness = TimeWitness(clock, store, steady_s, notes=False)
        self._newest_ns = 0
        self.trail = StoredTrail(store, writer.known)
        self._binder = Binder(stream, self.trail, writer, max_age_s=max_age_s)

    async def fold(self) -> float:
        """Enter what is new, if it is time; gives the seconds until it is time again.

        Raises:
            FencedError: another worker was quicker.
            IncidentError: trail, log and stream contradict each other; nothing is entered.
            BusUnavailableError, StoreError: try again.
        """
        try:
            return await self._fold()
        except IncidentError:
            await asyncio.to_thread(check_store, self._store)
            raise

    async def _fold(self) -> float:
        async with self._writer.lock:
            head, after = await self._writer.settle()
            self.trail.follow()
            data = await asyncio.to_thread(self.trail.next_bundle)
            if data is None:
                due_ns = await asyncio.to_thread(self._due_ns)
                if due_ns:
                    return due_ns / SECOND_NS
                time = await asyncio.to_thread(self._witness.look, self._newest_ns)
                aging = time.is_sure(self._max_age_s)
                data = await self._binder.bind(time.now_ns, MAX_LINES, aging=aging)
                if data is None:
                    return self._digest_ns / SECOND_NS
                await self._put(data)
            else:
                await self._confirm(data)
            bundle = parse_bundle(data)
            await self._enter(bundle, data, head, after)
        full = len(bundle.lines) >= MAX_LINES or len(data) >= MAX_BYTES
        return 0 if full else self._digest_ns / SECOND_NS

    def _due_ns(self) -> int:
        """How long the newest bundle has still to be the newest: entries cost, and live for ever.

        Not where it is from the future, or the last one was full.
        """
        if not self.trail.links:
            return 0
        bundle = self.trail.read(self.trail.links[-1])
        self._newest_ns = bundle.head.made_ns
        due_ns = bundle.head.made_ns + self._digest_ns - self._clock.wall_ns()
        return due_ns if 0 < due_ns <= self._digest_ns and len(bundle.lines) < MAX_LINES else 0

    async def _put(self, data: bytes) -> None:
        try:
            await asyncio.to_thread(self.trail.put, data)
        except ImmutableConflictError as error:
            raise FencedError(
                f"audit trail: another worker made the next bundle: {error}"
            ) from error

    async def _confirm(self, data: bytes) -> None:
        """Hold a bundle that nobody has entered against the stream.

        It may be of a worker that was killed, or of one that enters it at this moment. Or it was
        put there, with events that never were: what is signed is what the stream gives.
        """
        why = "the stream does not give the same bytes"
        try:
            found = parse_bundle(data)
        except FormatError as error:
            why = str(error)
        else:
            made_ns = found.head.made_ns
            count = sum(not isinstance(line, AgedLine) for line in found.lines)
            aging = count < len(found.lines)
            if made_ns > self._clock.wall_ns() + MAX_AHEAD_NS:
                why = "it says that it was made in the future"
            elif await self._binder.bind(made_ns, count, aging=aging) == data:
                return
        raise IncidentError(
            f"audit trail: the bundle behind event {self.trail.last} in {self.trail.location} was "
            f"not entered, and is not what the stream AUDIT gives: {why}; no event is entered; "
            "keep it, and move it away: then the events of the stream are entered"
        )

    async def _enter(self, bundle: Bundle, data: bytes, head: LogHead, after: int) -> None:
        entry = LogEntry(
            kind=EntryKind.AUDIT,
            session_id=NO_SESSION,
            counter=bundle.last,
            note_sha256=chained(self.trail.digest, data),
        )
        await self._writer.enter_audit(entry, head, after)
        self.trail.follow()
        removed = 0
        # What another worker made may be of a clock that this one doubts: bundles stay then,
        # and are said to be gone once more, as behind a crash.
        time = await asyncio.to_thread(self._witness.look, self._newest_ns)
        for line in bundle.lines:
            if isinstance(line, AgedLine) and time.is_sure(self._max_age_s):
                removed += await asyncio.to_thread(self.trail.remove, line.through)
            elif isinstance(line, GapLine):
                log.error(
                    "AuditEventsMissing",
                    reason=line.reason,
                    missing=line.missing or "unknown",
                    from_ns=line.from_ns,
                    to_ns=line.to_ns,
                    written_as=line.n,
                )
        log.info(
            "AuditLogged",
            first=bundle.head.first,
            last=bundle.last,
            events=sum(1 for _ in bundle.events),
            size=self.trail.links[-1].tree_size,
            removed=removed,
        )
