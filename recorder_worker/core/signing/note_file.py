"""Reads the file `checkpoints`: notes that stand one behind the other, in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recorder_worker.core.errors import FormatError
from recorder_worker.core.signing.note_text import MAX_NOTE_SIZE

_TEXT_LINES = 4
_SIGNATURE = "— ".encode()


def split_notes(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The notes in the bytes of `checkpoints`, each as its bytes; they are still to be parsed.

    A note ends before the first line behind its text that is not a signature.

    Raises:
        FormatError: the last line has no end, or a note grows beyond what one may hold.
    """
    lines: list[bytes] = []
    size = 0
    for line in _lines(pieces):
        if len(lines) >= _TEXT_LINES and not line.startswith(_SIGNATURE):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
        if size > MAX_NOTE_SIZE:
            raise FormatError(f"expected a note of at most {MAX_NOTE_SIZE} bytes, found more")
    if lines:
        yield b"".join(lines)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > MAX_NOTE_SIZE:
            raise FormatError(f"expected a line of at most {MAX_NOTE_SIZE} bytes, found more")
    if rest:
        raise FormatError("note: expected a newline as the last byte")
