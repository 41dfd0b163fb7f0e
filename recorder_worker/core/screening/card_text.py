"""What stands on a card, and in the corner of a picture that shows its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from recorder_worker.core.screening.scenes import Card, CardKind

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TITLES = {
    CardKind.GAP: "Nothing was recorded",
    CardKind.DAMAGED: "This part was changed after it was recorded",
    CardKind.UNPLAYABLE: "This part cannot be shown",
    CardKind.NOT_VERIFIED: "This recording is not what was signed",
}


def card_title(card: Card) -> str:
    """What a card says first."""
    return _TITLES[card.kind]


def card_lines(card: Card) -> tuple[str, ...]:
    """What stands below: why, from when to when by both clocks, and what is lost."""
    if card.kind is CardKind.NOT_VERIFIED:
        return (card.reason, card.detail)
    seconds = f"{(card.t1_ns - card.t0_ns) / 1e9:.3f} s"
    lost = f", {card.lost_units} frames" if card.lost_units else ""
    times = f"{session_time(card.t0_ns)} to {session_time(card.t1_ns)}"
    return (
        f"Reason: {card.reason}",
        f"Session time {times} ({seconds}{lost})",
        f"{wall_time(card.wall0_ns)} to {wall_time(card.wall1_ns)}",
        card.detail,
    )


def stamp_text(t_ns: int, wall_ns: int) -> str:
    """Wall clock and session time of a picture."""
    return f"{wall_time(wall_ns)}   {session_time(t_ns)}"


def session_time(t_ns: int) -> str:
    """Nanoseconds since the session began as hours, minutes, seconds and milliseconds."""
    milliseconds = t_ns // 1_000_000
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"


def wall_time(wall_ns: int) -> str:
    """Nanoseconds since the Unix epoch as a date in UTC; what no date can say as the number."""
    try:
        moment = _UNIX_EPOCH + timedelta(microseconds=wall_ns // 1000)
    except OverflowError:
        return f"{wall_ns} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
