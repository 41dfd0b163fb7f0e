"""Which sessions are due: by their own time, by age, by what all of them take. Pure.

A session's own `retain_s` is the whole word about it: until then no rule takes it, and then it
goes. Two numbers, a least and a most, could contradict each other, and those who asked for the one
mean the other as well: keep it for so long. Who wants a least alone puts it under hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from recorder_worker.core.retention.sayings import Rule
from recorder_worker.stages.retention.sealed_session import SealedSession

SECOND_NS = 1_000_000_000


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


def due_by_time(
    sessions: Iterable[SealedSession], limits: RetentionLimits, now_ns: int
) -> Iterator[Due]:
    """Those whose time is over: their own, or else that of all."""
    for session in sessions:
        own = session.retain_s is not None
        limit_s = session.retain_s if session.retain_s is not None else limits.max_age_s
        if limit_s and now_ns - session.sealed_ns >= limit_s * SECOND_NS:
            whose = "its start asked for" if own else "are kept here"
            yield Due(
                session=session,
                rule=Rule.RETAIN if own else Rule.MAX_AGE,
                limit=limit_s,
                reason=f"sealed more than the {limit_s} s ago that {whose}",
            )


def due_by_size(
    sessions: Iterable[SealedSession], limits: RetentionLimits, kept: frozenset[str], now_ns: int
) -> tuple[list[Due], int]:
    """The oldest ones, until the others fit; and bytes above the limit that nothing may free.

    `kept` are under hold. Those whose own time is not over stay as well.
    """
    if not limits.max_total_bytes:
        return [], 0
    ordered = sorted(sessions, key=lambda session: (session.sealed_ns, session.session_id))
    total = sum(session.chunk_bytes for session in ordered)
    due = []
    for session in ordered:
        if total <= limits.max_total_bytes:
            break
        own = session.retain_s
        waits = own is not None and now_ns - session.sealed_ns < own * SECOND_NS
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
