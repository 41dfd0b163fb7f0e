"""Which sessions are due: by their own time, by age, by what all of them take. Pure.

A session's own `retain_s` is the whole word about it: until then no rule takes it, and then it
goes. Two numbers, a least and a most, could contradict each other, and those who asked for the one
mean the other as well: keep it for so long. Who wants a least alone puts it under hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from recorder_worker.core.retention.sayings import Rule
from recorder_worker.stages.retention.sealed_session import SealedSession
from recorder_worker.stages.sure_time import SureTime

SECOND_NS = 1_000_000_000
FIRST_NS = 1_577_836_800 * SECOND_NS
"""The year 2020. Before it there was no recorder: a clock that says so has not been set yet."""


class RetentionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sets; 0: no limit. Seconds behind the seal, bytes of all stored chunks."""

    max_age_s: int = 0
    max_total_bytes: int = 0


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has to go, by which rule and its limit, and why in words."""

    session: SealedSession
    rule: Rule
    limit: int
    reason: str


def begins(sessions: Iterable[SealedSession], now_ns: int) -> dict[str, int]:
    """From when on the time of each counts; `sessions` in the order of the log of sessions.

    From its own seal, or from a seal that stands before it in the log and is later: its clock had
    gone back by then. One from the future says nothing of others. Those that were sealed before
    there was a recorder, and have no such seal before them, are left out: nobody knows how old they
    are, and they are not old by any clock.
    """
    found, newest_ns = {}, 0
    for session in sessions:
        if FIRST_NS <= session.sealed_ns <= now_ns:
            newest_ns = max(newest_ns, session.sealed_ns)
        begin_ns = max(session.sealed_ns, newest_ns)
        if begin_ns >= FIRST_NS:
            found[session.session_id] = begin_ns
    return found


def limit_of(session: SealedSession, limits: RetentionLimits) -> int:
    """How long a session is kept, in seconds; 0: no limit."""
    return session.retain_s if session.retain_s is not None else limits.max_age_s


def old_by_clock(
    sessions: Sequence[SealedSession], limits: RetentionLimits, now_ns: int
) -> list[SealedSession]:
    """Those whose time is over, if the clock is right."""
    since = begins(sessions, now_ns)
    return [
        session
        for session in sessions
        if (limit_s := limit_of(session, limits))
        and session.session_id in since
        and now_ns - since[session.session_id] >= limit_s * SECOND_NS
    ]


def due_by_time(
    sessions: Sequence[SealedSession], limits: RetentionLimits, time: SureTime
) -> Iterator[Due]:
    """Those whose time is over for sure: their own, or else that of all. In the log's order."""
    for session in old_by_clock(sessions, limits, time.now_ns):
        limit_s, own = limit_of(session, limits), session.retain_s is not None
        if time.is_sure(limit_s):
            whose = "its start asked for" if own else "are kept here"
            yield Due(
                session=session,
                rule=Rule.RETAIN if own else Rule.MAX_AGE,
                limit=limit_s,
                reason=f"sealed more than the {limit_s} s ago that {whose}",
            )


def due_by_size(
    sessions: Sequence[SealedSession],
    limits: RetentionLimits,
    kept: frozenset[str],
    time: SureTime,
) -> tuple[list[Due], int]:
    """The first ones of the log, until the others fit; and bytes above it that nothing may free.

    No clock says which is the oldest: what was sealed by a wrong one would go first. `kept` are
    under hold. Those whose own time is not over for sure stay as well.
    """
    if not limits.max_total_bytes:
        return [], 0
    total = sum(session.chunk_bytes for session in sessions)
    over = {due.session.session_id for due in due_by_time(sessions, limits, time)}
    due = []
    for session in sessions:
        if total <= limits.max_total_bytes:
            break
        waits = session.retain_s is not None and session.session_id not in over
        if session.session_id in kept or waits or not session.chunk_bytes:
            continue
        due.append(
            Due(
                session=session,
                rule=Rule.MAX_TOTAL,
                limit=limits.max_total_bytes,
                reason=f"all sessions took {total} bytes, and this was the oldest that may go",
            )
        )
        total -= session.chunk_bytes
    return due, max(0, total - limits.max_total_bytes)
