"""Which sessions are due: their own time, the age of all, and what all of them take."""

from __future__ import annotations

from recorder_worker.core.retention.sayings import Rule
from recorder_worker.stages.retention.rules import (
    SECOND_NS,
    RetentionLimits,
    due_by_size,
    due_by_time,
)
from recorder_worker.stages.retention.sealed_session import SealedSession

NOW_NS = 10_000 * SECOND_NS


def session(name: str, age_s: int, size: int = 10, retain_s: int | None = None) -> SealedSession:
    return SealedSession(
        session_id=name,
        sealed_ns=NOW_NS - age_s * SECOND_NS,
        tree_size=3,
        root_hash="ab" * 32,
        chunk_count=1,
        chunk_bytes=size,
        encrypted=False,
        retain_s=retain_s,
        owner="",
    )


def by_time(*sessions: SealedSession, max_age_s: int = 100) -> dict[str, Rule]:
    limits = RetentionLimits(max_age_s=max_age_s)
    return {due.session.session_id: due.rule for due in due_by_time(sessions, limits, NOW_NS)}


def test_what_is_older_than_all_may_be_is_due() -> None:
    assert by_time(session("old", 100), session("young", 99)) == {"old": Rule.MAX_AGE}
    assert by_time(session("old", 9999), max_age_s=0) == {}


def test_a_session_s_own_time_is_a_least_and_a_most() -> None:
    own = (session("short", 50, retain_s=50), session("long", 5000, retain_s=9000))
    assert by_time(*own) == {"short": Rule.RETAIN}
    assert by_time(*own, max_age_s=0) == {"short": Rule.RETAIN}


def by_size(
    *sessions: SealedSession, most: int, held: frozenset[str] = frozenset()
) -> tuple[list[str], int]:
    limits = RetentionLimits(max_total_bytes=most)
    due, above = due_by_size(sessions, limits, held, NOW_NS)
    assert all(one.rule is Rule.MAX_TOTAL and one.limit == most for one in due)
    return [one.session.session_id for one in due], above


def test_the_oldest_go_first_and_no_more_than_have_to() -> None:
    all_ = (session("c", 1), session("a", 3), session("b", 2))
    assert by_size(*all_, most=30) == ([], 0)
    assert by_size(*all_, most=29) == (["a"], 0)
    assert by_size(*all_, most=10) == (["a", "b"], 0)
    assert by_size(*all_, most=0) == ([], 0)


def test_what_is_held_or_kept_by_its_own_time_stays_and_the_rest_is_said() -> None:
    all_ = (session("held", 9), session("own", 8, retain_s=100), session("c", 7), session("d", 6))
    held = frozenset({"held"})
    assert by_size(*all_, most=25, held=held) == (["c", "d"], 0)
    assert by_size(*all_, most=15, held=held) == (["c", "d"], 5)


def test_a_session_without_chunks_frees_nothing_and_stays() -> None:
    assert by_size(session("empty", 9, size=0), session("full", 8), most=5) == (["full"], 0)
