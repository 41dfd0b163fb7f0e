"""A bundle of the audit trail: its head, and numbered lines that hang on each other.

digest of the trail = SHA-256(digest before ‖ SHA-256(bytes of the bundle)); the first one before is
32 zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from recorder_worker.core.audit_trail.lines import (
    AgedLine,
    EventLine,
    GapLine,
    Head,
    Line,
    encode_line,
    line_sha256,
    parse_head,
    parse_line,
)
from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.tree import HASH_SIZE

START = bytes(HASH_SIZE)
"""The digest of a trail that holds nothing."""

MAX_BUNDLE_SIZE = 256 * 1024 * 1024
"""No reader takes more: the largest message, in base64, behind a bundle that was nearly full."""


def chained(previous: bytes, data: bytes) -> bytes:
    """The digest of a trail, 32 bytes, with one more bundle of these bytes."""
    return hashlib.sha256(previous + hashlib.sha256(data).digest()).digest()


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle whose lines fit each other; that it is the right one is for its digest to say."""

    head: Head
    lines: tuple[Line, ...]

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.head.first + len(self.lines) - 1

    @property
    def events(self) -> Iterator[EventLine]:
        """Its messages."""
        return (line for line in self.lines if isinstance(line, EventLine))

    @property
    def newest_ns(self) -> int:
        """The time of the youngest thing in it, by whichever clock is ahead."""
        return max([self.head.made_ns, *(line.stored_ns for line in self.events)])


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle strictly: each line in its one encoding, numbered, behind the one before.

    Raises:
        FormatError: it is not.
    """
    first, *rest = split_lines(data)
    head = parse_head(first)
    before, lines = line_sha256(first), []
    for number, text in enumerate(rest, start=head.first):
        line = parse_line(text)
        if (line.n, line.after) != (number, before):
            raise FormatError(
                f"audit bundle: expected line {number} behind the line {before}, found line "
                f"{line.n} behind {line.after}"
            )
        before = line_sha256(text)
        lines.append(line)
    if not lines:
        raise FormatError("audit bundle: expected at least one line behind its head, found none")
    return Bundle(head=head, lines=tuple(lines))


def split_lines(data: bytes) -> list[bytes]:
    """The lines of a bundle without their ends; at least one. Raises FormatError."""
    if not data.endswith(b"\n"):
        raise FormatError("audit bundle: expected a line end behind its last line, found none")
    return data[:-1].split(b"\n")


class BundleText:
    """A bundle that is being written. Line by line, in memory."""

    def __init__(self, head: Head) -> None:
        text = encode_line(head)
        self._lines = [text]
        self._number = head.first
        self.size = len(text) + 1

    @property
    def count(self) -> int:
        """How many lines stand behind the head."""
        return len(self._lines) - 1

    def event(self, **fields: Any) -> None:  # noqa: ANN401  (the fields of the line)
        """One more message: all fields of `EventLine` but its place."""
        self._append(EventLine, fields)

    def gap(self, **fields: Any) -> None:  # noqa: ANN401  (as above)
        """Messages that are missing: all fields of `GapLine` but its place."""
        self._append(GapLine, fields)

    def aged(self, **fields: Any) -> None:  # noqa: ANN401  (as above)
        """Bundles that go: all fields of `AgedLine` but its place."""
        self._append(AgedLine, fields)

    def _append(self, kind: type[Line], fields: dict[str, Any]) -> None:
        line = kind(n=self._number, after=line_sha256(self._lines[-1]), **fields)
        text = encode_line(line)
        self._lines.append(text)
        self._number += 1
        self.size += len(text) + 1

    @property
    def data(self) -> bytes:
        """The bytes."""
        return b"".join(line + b"\n" for line in self._lines)
