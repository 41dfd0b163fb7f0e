"""Times on the command line are exact, whichever way they are written."""

from __future__ import annotations

import pytest
import typer

from recorder_worker.cli.times import window_of

S = 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("12", 12 * S),
        ("12s", 12 * S),
        ("12.25 s", 12_250_000_000),
        ("12.5", 12_500_000_000),
        ("0.000000001", 1),
        ("123456.789012345s", 123_456_789_012_345),
        ("12500000000ns", 12_500_000_000),
        ("01:05", 65 * S),
        ("59:00.25", 3_540_250_000_000),
        ("1:02:03", 3723 * S),
        ("100:00:00.001", 360_000 * S + 1_000_000),
    ],
)
def test_session_times(text: str, expected: int) -> None:
    window = window_of(text, "9999:59:59")
    assert (window.begin_ns, window.wall) == (expected, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2025-10-09T08:53:20Z", 1_760_000_000 * S),
        ("2025-10-09 08:53:20.123456789Z", 1_760_000_000_123_456_789),
        ("2025-10-09T04:53:20.5-04:00", 1_760_000_000_500_000_000),
    ],
)
def test_dates(text: str, expected: int) -> None:
    window = window_of(text, "2026-01-01T00:00:00Z")
    assert (window.begin_ns, window.wall) == (expected, True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "-1", "+1", "1e3", "1.", ".5", "1:60", "60:00", "1:2:3", "1_0", "٣", "1  s"),
        *("2025-10-09T08:53:20", "2025-10-09", "2025-02-30T00:00:00Z", "2025-10-09T25:00:00Z"),
    ],
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        window_of(text, "10")
    assert refused.value.param_hint == "--from"


def test_two_clocks_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="one clock"):
        window_of("1", "2025-10-09T08:53:20Z")
