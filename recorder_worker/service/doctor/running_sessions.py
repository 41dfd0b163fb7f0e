"""Looks at sessions that are not sealed, with the stream at hand: who records and signs them?

A segment is no orphan because nothing names it yet: what is young is left alone, the files are
listed before the stream is asked, and what seems to be missing is looked for once more afterwards.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.events import (
    Captured,
    ChunkStored,
    EndCaptured,
    GapLeaf,
    SegmentCaptured,
    SessionIncident,
    SessionStarted,
)
from recorder_worker.core.findings import Finding, Severity
from recorder_worker.core.pipeline import MERKLE
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import EventLog
from recorder_worker.service.doctor.case import YOUNG_S
from recorder_worker.service.doctor.session_folder import SessionFolder
from recorder_worker.stages.newest_event import newest_event

SILENT_S = 30.0
"""A lease holder appends a beat every few seconds, whatever else happens."""
SECOND_NS = 1_000_000_000


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the stream tells of a session that is not sealed."""

    last: Captured | None
    segments: tuple[SegmentCaptured, ...]
    incident: str


async def told(log: EventLog, session_id: str) -> Told:
    """Ask the stream. Raises BusUnavailableError."""
    last: Captured | None = None
    segments: list[SegmentCaptured] = []
    async for logged in log.read(Fact.CAPTURED, session_id):
        if isinstance(logged.event, Captured):
            last = logged.event
        if isinstance(logged.event, SegmentCaptured):
            segments.append(logged.event)
    incident = ""
    async for logged in log.read(Fact.INCIDENT, session_id):
        if isinstance(logged.event, SessionIncident) and logged.event.stage == MERKLE.name:
            incident = logged.event.detail
    return Told(last=last, segments=tuple(segments), incident=incident)


async def look_at_running(
    log: EventLog, folder: SessionFolder, lease_s: float
) -> AsyncIterator[Finding]:
    """What is wrong with a session that is not sealed. Raises BusUnavailableError."""
    found = await told(log, folder.session_id)
    where = str(folder.path)
    if found.last is None:
        started = await newest_event(log, Fact.STARTED, folder.session_id)
        if started is not None and isinstance(started.event, SessionStarted):
            unopened = _unopened(started.event, where)
            if unopened is not None:
                yield unopened
        elif folder.segments or folder.journal:
            yield Finding(
                check="session.forgotten",
                severity=Severity.ERROR,
                where=where,
                what="not sealed, and the stream knows nothing of it any more: it will not be",
                advice="its events are older than nats.max_age_s, or the stream was lost: copy the "
                "folder; recorder verify says how far it is signed",
            )
        return
    life = _life(found, where, lease_s)
    if life is not None:
        yield life
    if not folder.manifest:
        yield Finding(
            check="session.manifest",
            severity=Severity.ERROR,
            where=where,
            what=f"expected {keys.MANIFEST}, found none",
            advice="restore it from a backup: the record's first leaf has its digest",
        )
    async for finding in _segments(log, folder, found):
        yield finding


def _life(found: Told, where: str, lease_s: float) -> Finding | None:
    """Whether somebody is at it."""
    assert found.last is not None  # noqa: S101  (asked before)
    silent_s = (time.time_ns() - found.last.wall_ns) / SECOND_NS
    if found.incident:
        return Finding(
            check="session.incident",
            severity=Severity.ERROR,
            where=where,
            what=f"signing has stopped: {found.incident}",
            advice="copy folder and events, and see docs/operations.md, An incident",
        )
    if isinstance(found.last, EndCaptured):
        if silent_s < YOUNG_S:
            return None
        return Finding(
            check="session.unsealed",
            severity=Severity.ERROR,
            where=where,
            what=f"captured to its end {silent_s:.0f} s ago, and not sealed",
            advice="see what waits for chunk, compress and merkle, whether they run, and the dead "
            "letters about it: recorder dead ls --session",
        )
    if silent_s < max(SILENT_S, 3 * lease_s):
        return None
    return Finding(
        check="session.silent",
        severity=Severity.ERROR,
        where=where,
        what=f"no sign of life of who records it for {silent_s:.0f} s (lease: {found.last.lease})",
        advice="a worker of capture with a free hand takes it over: start one. Where one is free, "
        "its start is a dead letter: recorder dead ls --stage capture",
    )


def _unopened(started: SessionStarted, where: str) -> Finding | None:
    """A session that was begun and never opened."""
    age_s = (time.time_ns() - started.wall_ns) / SECOND_NS
    if age_s < YOUNG_S:
        return None
    return Finding(
        check="session.silent",
        severity=Severity.ERROR,
        where=where,
        what=f"started {age_s:.0f} s ago, and nothing of it was captured, not even its opening",
        advice="its start waits for a worker, or is a dead letter: recorder dead ls --stage "
        "capture",
    )


async def _segments(log: EventLog, folder: SessionFolder, found: Told) -> AsyncIterator[Finding]:
    named = {event.name for event in found.segments}
    orphans = sorted(
        name for name, age_s in folder.segments.items() if name not in named and age_s >= YOUNG_S
    )
    if orphans:
        yield Finding(
            check="segments.orphan",
            severity=Severity.WARNING,
            where=str(folder.path / keys.SEGMENTS),
            what=f"{len(orphans)} segments that no event names: {', '.join(orphans[:3])}"
            f"{' …' if len(orphans) > 3 else ''}",
            advice="a worker died between file and event; that time is a gap in the record. They "
            "go at the seal: copy them first, where what is in them matters",
        )
    gone = [
        event
        for event in found.segments
        if event.name not in folder.segments and not (folder.path / event.name).exists()
    ]
    if not gone:
        return
    covered = [
        (leaf.span.first_unit, leaf.span.first_unit + leaf.span.unit_count)
        async for leaf in _stored_leaves(log, folder.session_id)
    ]
    lost = [
        event.name
        for event in gone
        if not any(first <= event.span.first_unit < end for first, end in covered)
    ]
    if lost and not (folder.path / keys.SEAL).exists():
        yield Finding(
            check="segments.missing",
            severity=Severity.ERROR,
            where=str(folder.path / keys.SEGMENTS),
            what=f"{len(lost)} segments that events name, and that are in no chunk yet, are gone: "
            f"{', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}",
            advice="restore them now, under these names, before compress comes to them: else their "
            "chunk becomes a gap of reason dead_letter",
        )


async def _stored_leaves(log: EventLog, session_id: str) -> AsyncIterator[ChunkStored | GapLeaf]:
    async for logged in log.read(Fact.COMPRESSED, session_id):
        if isinstance(logged.event, ChunkStored | GapLeaf):
            yield logged.event
