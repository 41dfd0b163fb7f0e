"""What is said of sessions that stay because no clock can be believed about them."""

from __future__ import annotations

from structlog.testing import capture_logs
from two_clocks import BEGIN_NS, SECOND_NS

from recorder_worker.stages.retention.doubts import Doubts
from recorder_worker.stages.retention.rules import RetentionLimits
from recorder_worker.stages.retention.sealed_session import SealedSession
from recorder_worker.stages.sure_time import SureTime

DAY_S = 86_400
LEAPING = SureTime(now_ns=BEGIN_NS, leaps=True, doubt="it leaps")


def session(name: str, sealed_ns: int) -> SealedSession:
    return SealedSession(
        session_id=name,
        sealed_ns=sealed_ns,
        tree_size=3,
        root_hash="ab" * 32,
        chunk_count=1,
        chunk_bytes=10,
        encrypted=False,
        retain_s=None,
        owner="",
    )


OLD = session("old", BEGIN_NS - 2 * DAY_S * SECOND_NS)
YOUNG = session("young", BEGIN_NS - SECOND_NS)
IN_1970 = session("in 1970", 120 * SECOND_NS)
LIMITS = RetentionLimits(max_age_s=DAY_S)


def test_a_doubt_is_said_once_and_anew_behind_a_while_without_one() -> None:
    doubts = Doubts(LIMITS)
    with capture_logs() as logs:
        for time in (LEAPING, LEAPING, SureTime(now_ns=BEGIN_NS), LEAPING):
            line = doubts.say([OLD, YOUNG], set(), time)
            assert line == ("1 would be too old, but it leaps" if time.leaps else "")
    assert [(entry["event"], entry["sessions"]) for entry in logs] == [("ClockDoubted", 1)] * 2


def test_where_nothing_would_go_by_it_a_doubt_is_nobody_s_concern() -> None:
    with capture_logs() as logs:
        assert Doubts(LIMITS).say([YOUNG], set(), LEAPING) == ""
        assert Doubts(LIMITS).say([OLD], {"old"}, LEAPING) == ""
        assert Doubts(RetentionLimits()).say([OLD, IN_1970], set(), LEAPING) == ""
    assert logs == []


def test_a_session_of_a_clock_that_was_not_set_is_named_once() -> None:
    doubts, sure = Doubts(LIMITS), SureTime(now_ns=BEGIN_NS)
    with capture_logs() as logs:
        for _ in range(2):
            line = doubts.say([IN_1970, YOUNG], set(), sure)
            assert line == "1 were sealed by a clock that was not set, and do not age"
    assert [(entry["event"], entry["session_id"]) for entry in logs] == [
        ("SealTimeDoubted", "in 1970")
    ]
