"""Times on the command line, read exactly: a float would not hold the nanoseconds of a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import typer

from recorder_worker.core.evidence.clip_plan import UNIX_EPOCH, Window

TIME_HELP = (
    "seconds (`12.5`), `MM:SS` or `HH:MM:SS.mmm` since the session began, nanoseconds as "
    "`recorder frames` prints them (`12500000000ns`), or a date of the wall clock "
    "(`2026-11-23T18:00:05Z`)"
)

_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?s?")
_NANOSECONDS = re.compile(r"([0-9]{1,18})ns")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5][0-9](?:\.[0-9]{1,9})?)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)


def window_of(begin: str, end: str) -> Window:
    """What `--from` and `--to` ask for.

    Raises:
        typer.BadParameter: one is not a time, or one is of the session and the other of the wall.
    """
    begin_ns, wall = time_of(begin, "--from")
    end_ns, end_wall = time_of(end, "--to")
    if wall is not end_wall:
        raise typer.BadParameter(
            f"expected two times of one clock, got {begin!r} and {end!r}; give both since the "
            "session began, or both as dates",
            param_hint="--to",
        )
    return Window(begin_ns=begin_ns, end_ns=end_ns, wall=wall)


def moment_of(text: str, option: str) -> int:
    """A moment of the wall clock, in nanoseconds since 1970; a date alone is its begin in UTC.

    Raises:
        typer.BadParameter: it is none.
    """
    whole = f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text
    if found := _DATE.fullmatch(whole):
        return _wall(found, option)
    raise typer.BadParameter(
        f"expected a date such as `2026-11-23` or `2026-11-23T18:00:05Z`, got {text!r}",
        param_hint=option,
    )


def time_of(text: str, option: str) -> tuple[int, bool]:
    """Nanoseconds, and whether they are of the wall clock: since 1970, else since the begin.

    Raises:
        typer.BadParameter: it is no time.
    """
    if found := _SECONDS.fullmatch(text):
        return _nanoseconds(found[1]), False
    if found := _NANOSECONDS.fullmatch(text):
        return int(found[1]), False
    if found := _CLOCK.fullmatch(text):
        minutes = int(found[1] or 0) * 60 + int(found[2])
        return minutes * 60 * 10**9 + _nanoseconds(found[3]), False
    if found := _DATE.fullmatch(text):
        return _wall(found, option), True
    raise typer.BadParameter(f"expected {TIME_HELP}, got {text!r}", param_hint=option)


def _nanoseconds(text: str) -> int:
    return int(Decimal(text) * 10**9)


def _wall(found: re.Match[str], option: str) -> int:
    try:
        moment = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    except ValueError as error:
        raise typer.BadParameter(
            f"expected a date that exists, got {found[0]!r}", param_hint=option
        ) from error
    whole = (moment.astimezone(UTC) - UNIX_EPOCH) // timedelta(seconds=1)
    return whole * 10**9 + int((found[2] or "0").ljust(9, "0"))
