"""The text of checkpoints: C2SP signed notes (c2sp.org/signed-note, tlog-checkpoint).

The text is exactly three lines: origin, decimal tree size, base64 root hash. Extension lines are
refused: a note that is signed with ML-DSA alone still verifies after one was added.

Parsing is strict: a note has one encoding, and any other is an error.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.tree import HASH_SIZE, MAX_SIZE

MAX_SIGNATURES = 16
MAX_NOTE_SIZE = 128 * 1024

_DASH = "— ".encode()
_ORIGIN = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says: of which log, how many leaves, which root (32 bytes)."""

    origin: str
    tree_size: int
    root_hash: bytes

    def text(self) -> bytes:
        """The three lines that are signed."""
        root = base64.b64encode(self.root_hash).decode()
        return f"{self.origin}\n{self.tree_size}\n{root}\n".encode()


class NoteSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature line: the key's name, its short id (4 bytes) and the signature's bytes."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> bytes:
        """The line as it stands in a note."""
        encoded = base64.b64encode(self.key_id + self.value)
        return _DASH + self.name.encode() + b" " + encoded + b"\n"


class SignedNote(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed note. `raw` is every byte of it; its signatures are not verified yet."""

    head: TreeHead
    signatures: tuple[NoteSignature, ...]
    raw: bytes


def parse_note(data: bytes) -> SignedNote:
    """Read one note, with nothing behind it. Raises FormatError."""
    notes = parse_notes(data)
    if len(notes) != 1:
        raise FormatError(f"expected one note, found {len(notes)}")
    return notes[0]


def parse_notes(data: bytes) -> list[SignedNote]:
    """Read notes that stand one behind the other.

    A note ends before the first line behind its signatures that is not one: no origin begins with
    a dash.

    Raises:
        FormatError: something is not written in the one way in which it may be.
    """
    if data and not data.endswith(b"\n"):
        raise FormatError("note: expected a newline as the last byte")
    lines = data.split(b"\n")[:-1]
    notes: list[SignedNote] = []
    at = 0
    while at < len(lines):
        end = at + 4
        while end < len(lines) and lines[end].startswith(_DASH):
            end += 1
        notes.append(_parse(lines[at:end]))
        at = end
    return notes


def _parse(lines: list[bytes]) -> SignedNote:
    raw = b"".join(line + b"\n" for line in lines)
    if len(lines) < 5 or lines[3] or len(lines) > 4 + MAX_SIGNATURES or len(raw) > MAX_NOTE_SIZE:
        raise FormatError(
            f"note: expected origin, size, root, an empty line and 1 to {MAX_SIGNATURES} "
            f"signature lines, found {_shown(raw)}"
        )
    note = SignedNote(
        head=TreeHead(
            origin=_origin(lines[0]), tree_size=_size(lines[1]), root_hash=_root(lines[2])
        ),
        signatures=tuple(_signature(line) for line in lines[4:]),
        raw=raw,
    )
    # The one encoding: whatever the rules above let through, only these bytes are a note.
    if note.head.text() + b"\n" + b"".join(s.line() for s in note.signatures) != raw:
        raise FormatError(f"note: not in its one encoding: {_shown(raw)}")
    return note


def _origin(line: bytes) -> str:
    if not _ORIGIN.fullmatch(line):
        raise FormatError(f"note: expected an origin of A-Z a-z 0-9 . _ / -, found {_shown(line)}")
    return line.decode("ascii")


def _size(line: bytes) -> int:
    if not _DECIMAL.fullmatch(line) or int(line) > MAX_SIZE:
        raise FormatError(
            f"note: expected a decimal tree size without sign or leading zeros, "
            f"found {_shown(line)}"
        )
    return int(line)


def _root(line: bytes) -> bytes:
    root = _base64(line)
    if len(root) != HASH_SIZE:
        raise FormatError(f"note: expected a root hash of {HASH_SIZE} bytes, found {len(root)}")
    return root


def _signature(line: bytes) -> NoteSignature:
    try:
        name, _, encoded = line.removeprefix(_DASH).decode("utf-8").partition(" ")
    except UnicodeDecodeError as error:
        raise FormatError(f"note: expected UTF-8, found {_shown(line)}") from error
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise FormatError(f"note: expected a key name, found {_shown(line)}")
    value = _base64(encoded.encode())
    if len(value) < 5:
        raise FormatError(f"note: expected a key id and a signature, found {_shown(line)}")
    return NoteSignature(name=name, key_id=value[:4], value=value[4:])


def _base64(line: bytes) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"note: expected base64, found {_shown(line)}") from error
    if base64.b64encode(value) != line:
        raise FormatError(f"note: expected canonical base64, found {_shown(line)}")
    return value


def _shown(line: bytes) -> str:
    return repr(line[:160])
