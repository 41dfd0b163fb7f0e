"""A time as a person reads it, and as commands take it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_words(time_ns: int, *, wall: bool = False) -> str:
    """Nanoseconds since the session began as exact seconds; of the wall clock as a date.

    What no date can say is given as it is.
    """
    if not wall:
        sign, whole = "-" * (time_ns < 0), abs(time_ns)
        return f"{sign}{whole // 10**9}.{whole % 10**9:09d}".rstrip("0").rstrip(".") + " s"
    try:
        moment = _UNIX_EPOCH + timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return f"{time_ns} ns"
    return moment.isoformat().replace("+00:00", "Z")
