"""Which files a sequence of pictures is made of, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from recorder_worker.core.errors import SourceError

MOST_IMAGES: Final = 1_000_000
"""Entries of the directory, and units of the sequence: some 28 hours at 10 frames a second."""

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_NUMBER: Final = re.compile(r"%0?(\d*)d")
_DIGITS: Final = re.compile(r"(\d+)")


def split_pattern(path: str) -> tuple[str, str]:
    """Directory and pattern of names; the latter is empty where all of the directory is meant.

    Raises:
        SourceError: there is a pattern elsewhere than in the last part.
    """
    directory, _, last = path.rstrip("/").rpartition("/")
    if not _is_pattern(last):
        directory, last = path, ""
    if _is_pattern(directory):
        raise SourceError(
            f"images {path}: expected *, ? or %d in the last part of the path only, found it in "
            f"{directory}; name one directory"
        )
    return directory, last


def sequence_of(names: Sequence[str], pattern: str, uri: str) -> list[str | None]:
    """The names of the units in order; None where a number of a %d pattern has no file.

    Without a pattern, or by * and ?, names come in their natural order: `frame9` before `frame10`.

    Raises:
        SourceError: there is none, or the numbers span too many.
    """
    number = _NUMBER.search(pattern)
    found: list[str | None]
    if number is not None:
        found = _numbered(names, pattern, number, uri)
    else:
        wanted = [name for name in names if _is_meant(name, pattern)]
        wanted.sort(key=_natural)
        found = [*wanted]
    if not found:
        what = f"a file that matches {pattern}" if pattern else f"files named {_ENDINGS}"
        raise SourceError(
            f"images {uri}: expected at least one picture, {what}, found none among "
            f"{len(names)} entries; check the name, and that the pictures are there already"
        )
    return found


_ENDINGS: Final = ", ".join(f"*{suffix}" for suffix in _SUFFIXES)


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[") or _NUMBER.search(text) is not None


def _is_meant(name: str, pattern: str) -> bool:
    if pattern:
        return fnmatchcase(name, pattern)
    return not name.startswith(".") and name.lower().endswith(_SUFFIXES)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in _DIGITS.split(name)
        if part
    ]
    return parts, name


def _numbered(
    names: Sequence[str], pattern: str, number: re.Match[str], uri: str
) -> list[str | None]:
    before, behind = pattern[: number.start()], pattern[number.end() :]
    width = int(number[1] or 1)
    wanted = re.compile(rf"{re.escape(before)}(\d{{{width},18}}){re.escape(behind)}")
    found = {int(match[1]): name for name in names if (match := wanted.fullmatch(name))}
    if not found:
        return []
    first, last = min(found), max(found)
    if last - first >= MOST_IMAGES:
        raise SourceError(
            f"images {uri}: expected at most {MOST_IMAGES} numbers, found {first} to {last}; "
            "use * instead of %d where the numbers do not count the pictures"
        )
    return [found.get(index) for index in range(first, last + 1)]
