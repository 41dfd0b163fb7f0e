"""Which sessions are due: their own time, the age of all, and what all of them take."""

from __future__ import annotations

from recorder_worker.core.retention.sayings import Rule
from recorder_worker.stages.retention.rules import (
    SECOND_NS,
    RetentionLimits,
    begins,
    due_by_size,
    due_by_time,
)
from recorder_worker.stages.retention.sealed_session import SealedSession
from recorder_worker.stages.sure_time import SureTime

NOW_NS = 1_790_000_000 * SECOND_NS
SURE = SureTime(now_ns=NOW_NS)
UNSURE = SureTime(now_ns=NOW_NS, leaps=True)


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
    return {due.session.session_id: due.rule for due in due_by_time(sessions, limits, SURE)}


def test_what_is_older_than_all_may_be_is_due() -> None:
    assert by_time(session("old", 100), session("young", 99)) == {"old": Rule.MAX_AGE}
    assert by_time(session("old", 9999), max_age_s=0) == {}


def test_a_session_s_own_time_is_a_least_and_a_most() -> None:
    own = (session("short", 50, retain_s=50), session("long", 5000, retain_s=9000))
    assert by_time(*own) == {"short": Rule.RETAIN}
    assert by_time(*own, max_age_s=0) == {"short": Rule.RETAIN}


def by_size(
    *sessions: SealedSession,
    most: int,
    held: frozenset[str] = frozenset(),
    time: SureTime = SURE,
) -> tuple[list[str], int]:
    limits = RetentionLimits(max_total_bytes=most)
    due, above = due_by_size(sessions, limits, held, time)
    assert all(one.rule is Rule.MAX_TOTAL and one.limit == most for one in due)
    return [one.session.session_id for one in due], above


def test_the_first_of_the_log_go_first_and_no_more_than_have_to() -> None:
    all_ = (session("a", 3), session("b", 2), session("c", 1))
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


def test_by_size_no_clock_says_which_is_the_oldest() -> None:
    # The newest one was sealed by a clock that had not been set; nobody knows what time it is.
    all_ = (session("old", 9), session("new", 8), session("in 1970", NOW_NS // SECOND_NS - 60))
    assert by_size(*all_, most=20) == (["old"], 0)
    assert by_size(*all_, most=20, time=UNSURE) == (["old"], 0)


def test_by_an_unsure_clock_no_time_is_over() -> None:
    old, own = session("old", 5000), session("own", 5000, retain_s=50)
    limits = RetentionLimits(max_age_s=100)
    assert len(list(due_by_time([old, own], limits, SURE))) == 2
    assert list(due_by_time([old, own], limits, UNSURE)) == []
    # Nor is its own time over for the rule of size: it stays in any case.
    assert by_size(own, old, most=5, time=UNSURE) == (["old"], 5)
    assert by_size(own, old, most=5) == (["own", "old"], 0)


def test_what_was_sealed_by_a_clock_that_was_not_set_does_not_age() -> None:
    year_1970 = session("early", NOW_NS // SECOND_NS - 120, retain_s=86_400)
    assert by_time(year_1970) == {}
    # Behind a session that was sealed at a known time it is no older than that one.
    assert by_time(session("before", 99), year_1970) == {}
    before = session("before", 86_400)
    assert by_time(before, year_1970) == {"before": Rule.MAX_AGE, "early": Rule.RETAIN}


def test_what_a_clock_sealed_that_had_gone_back_is_no_older_than_what_is_before_it() -> None:
    first, back, behind = session("first", 99), session("back", 9000), session("behind", 50)
    future = session("future", -5000)
    assert by_time(first, back, behind) == {}
    assert by_time(back, first, behind) == {"back": Rule.MAX_AGE}
    # A seal from the future says nothing of others.
    assert begins([future, back, first], NOW_NS) == {
        one.session_id: one.sealed_ns for one in (future, back, first)
    }
