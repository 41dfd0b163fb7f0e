"""Looks at the server: streams and consumers, what waits, dead letters, the log of sessions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator

from recorder_worker.bus.inspection.inspector import Drift, Inspector, QueueSeen
from recorder_worker.core.dead_letters import LetterSeen
from recorder_worker.core.events import SessionLogged, SessionSealed
from recorder_worker.core.findings import Finding, Severity
from recorder_worker.core.pipeline import CAPTURE, SESSION_LOG, UPLOAD
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import EventLog
from recorder_worker.service.doctor.case import YOUNG_S, Case

LATE_S = 60.0
"""A message waits no longer where somebody works."""
FULL_PERCENT = 95
FILLING_PERCENT = 80
SECOND_NS = 1_000_000_000
OPTIONAL = ("tsa",)
"""Where no authority is set nobody runs it, and its messages wait for ever."""
UPLOAD_ADVICE = (
    "copies wait, and are not lost: see the check storage in /health of a worker of merkle; where "
    "the second store works, raise storage.workers"
)


async def look_at_shape(inspector: Inspector) -> AsyncIterator[Case]:
    """Streams and consumers that are not as declared. Raises TopologyError."""
    for drift in await inspector.drift():
        yield _drifted(inspector, drift)


def _drifted(inspector: Inspector, drift: Drift) -> Case:
    difference = drift.difference
    repair = "" if drift.harmful else "makes it" if difference.missing else "updates it"
    what = str(difference)
    if drift.harmful:
        what += f"; less is declared than there is: {', '.join(drift.harmful)}"

    async def mend() -> str:
        await inspector.mend(drift)
        return "made" if difference.missing else "updated"

    return Case(
        finding=Finding(
            check=f"{difference.kind}.{'missing' if difference.missing else 'drift'}",
            severity=Severity.ERROR if difference.missing else Severity.WARNING,
            where=difference.name,
            what=what,
            advice="run `recorder streams apply` with the settings of the workers (as the user "
            "deploy, where there are users), or set these as the server has it",
            repair=repair,
        ),
        repair=mend if repair else None,
    )


async def look_at_queues(inspector: Inspector, *, copies: bool) -> AsyncIterator[Finding]:
    """Stages that are behind, that nobody runs, or that get stuck. Raises TimeoutError.

    Args:
        inspector: of the server.
        copies: whether there is a second store; else nobody copies.
    """
    optional = OPTIONAL if copies else (*OPTIONAL, UPLOAD.name)
    for queue in await inspector.queues():
        if queue.stage in optional and not queue.asked_for:
            continue
        for finding in _queue(queue):
            yield finding


def _queue(queue: QueueSeen) -> Iterator[Finding]:
    where = f"{queue.stream}/{queue.stage}"
    waited_s = (time.time_ns() - queue.oldest_ns) / SECOND_NS if queue.oldest_ns else 0.0
    copying = queue.stage == UPLOAD.name
    # Who copies keeps a message in his hand while the second store is away, and asks for no other.
    if not queue.asked_for and not (copying and queue.ack_pending):
        yield Finding(
            check="consumer.idle",
            severity=Severity.ERROR,
            where=where,
            what=f"{queue.pending} messages wait, and nobody asks for them"
            + (f"; the oldest for {waited_s:.0f} s" if waited_s else ""),
            advice=f"start a worker that runs {queue.stage}, or one with a free hand: of capture, "
            "raise capture.capacity",
        )
    elif queue.redelivered and waited_s > LATE_S and queue.stage != CAPTURE.name:
        yield Finding(
            check="consumer.stuck",
            severity=Severity.WARNING,
            where=where,
            what=f"{queue.redelivered} messages come again and again, the oldest for "
            f"{waited_s:.0f} s",
            advice="the log of the stage says why (MessagePostponed): a store or a key that is "
            "away, or an earlier leaf that is missing",
        )
    elif waited_s > LATE_S:
        yield Finding(
            check="consumer.lag",
            severity=Severity.WARNING,
            where=where,
            # Those in somebody's hand wait, too: copies do while the second store is away.
            what=f"{queue.pending + queue.ack_pending} messages wait, the oldest for "
            f"{waited_s:.0f} s",
            advice=UPLOAD_ADVICE
            if copying
            else f"more workers of {queue.stage}, or fewer sessions; what is captured meanwhile "
            "lies in the spool",
        )


async def look_at_streams(inspector: Inspector) -> AsyncIterator[Finding]:
    """Streams that are nearly full. Raises TimeoutError."""
    for name, fill in (await inspector.fills()).items():
        percent = 100 * fill.stored_bytes / fill.max_bytes if fill.max_bytes > 0 else 0.0
        if percent >= FILLING_PERCENT:
            yield Finding(
                check="stream.full",
                severity=Severity.ERROR if percent >= FULL_PERCENT else Severity.WARNING,
                where=name,
                what=f"{percent:.1f} % of {fill.max_bytes} bytes; a full one takes nothing new, or "
                "forgets what is oldest",
                advice="raise nats.max_bytes (of AUDIT audit.max_bytes), or lower nats.max_age_s",
            )


def look_at_letters(seen: Iterable[LetterSeen]) -> Iterator[Finding]:
    """Dead letters that nobody has dealt with: one finding for what failed alike."""
    groups: dict[tuple[str, str], list[LetterSeen]] = defaultdict(list)
    for one in seen:
        if one.settled is None:
            groups[one.letter.stage, one.letter.stack].append(one)
    for (stage, stack), alike in groups.items():
        first = alike[0].letter
        yield Finding(
            check="dead_letters",
            severity=Severity.ERROR,
            where=f"session.dead.{stage}",
            what=f"{len(alike)} messages failed alike (stack {stack or 'unknown'}), the first is "
            f"{first.letter}: {first.reason[:200]}",
            advice=f"recorder dead show {first.letter}; then retry or drop each, with the reason",
        )


async def look_at_log(log: EventLog, sealed: SessionSealed) -> Finding | None:
    """Whether the seal of a session stands in the log of sessions. Raises BusUnavailableError."""
    age_s = (time.time_ns() - sealed.wall_ns) / SECOND_NS
    if age_s < YOUNG_S:
        return None
    # Statements of retention are entered in front of the seal and behind it.
    async for entered in log.read(Fact.LOGGED, sealed.session_id):
        if isinstance(entered.event, SessionLogged) and entered.event.kind == "seal":
            return None
    return Finding(
        check="log.behind",
        severity=Severity.ERROR,
        where=sealed.session_id,
        what=f"sealed {age_s:.0f} s ago, and its seal is not in the log of sessions",
        advice="see whether merkle runs, what waits for log, and its dead letters: recorder dead "
        f"ls --stage {SESSION_LOG.name}; docs/operations.md, The log of sessions",
    )
