"""A signed statement about a session's retention: six lines, and a signature as in a C2SP note.

    session-recorder retention v1
    <recorder>
    <session id>
    <number of the statement in its session, from 1, decimal>
    <SHA-256 of the statement before it, hexadecimal; of the first: 64 zeros>
    <what it says: JSON in one line>

    — <recorder>/log <base64(key id ‖ Ed25519 signature of the six lines)>

Signed by the device's key in the name of the log of sessions, in which its SHA-256 is entered. No
other text that is signed begins like it. There is one encoding; any other is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NoReturn

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.retention.sayings import KINDS, Saying, encode_saying, parse_saying
from recorder_worker.core.session_log.entries import LogEntry
from recorder_worker.core.session_log.stored_log import log_key
from recorder_worker.core.signing.note_text import NoteSignature
from recorder_worker.core.signing.origins import check_recorder, log_origin
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey, verify_signature

TITLE = "session-recorder retention v1"
FIRST = "0" * 64
"""Stands for the statement before the first."""
MAX_STATEMENT_SIZE = 32 * 1024
MAX_STATEMENTS = 9999
"""Of a session: what its file names have room for."""

_LINES = 9
_SIGNATURE_SIZE = 64
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
_HEX = re.compile(r"[0-9a-f]{64}")


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed. `previous` is 64 hexadecimal digits, `number` from 1 to `MAX_STATEMENTS`."""

    recorder: str
    session_id: str
    number: int
    previous: str
    says: Saying

    def text(self) -> bytes:
        """The six lines. Raises FormatError where a value cannot stand there."""
        check_recorder(self.recorder)
        lines = (
            TITLE.encode(),
            self.recorder.encode(),
            self.session_id.encode(),
            str(self.number).encode(),
            self.previous.encode(),
            encode_saying(self.says),
        )
        return b"".join(line + b"\n" for line in lines)


class SignedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement as it is stored; `raw` is every byte of it, not verified yet."""

    statement: Statement
    signature: NoteSignature
    raw: bytes

    @property
    def sha256(self) -> bytes:
        """What the log of sessions, and the statement behind it, have of it."""
        return sha256(self.raw).digest()


def sign_statement(
    statement: Statement, public_key: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """The signed bytes. The same arguments give the same ones: Ed25519 is deterministic.

    Raises:
        FormatError: a value cannot stand in a statement.
        ProofError: `sign` gave something else than the key's signature.
    """
    text = statement.text()
    key = log_key(log_origin(statement.recorder), public_key)
    line = NoteSignature(name=key.name, key_id=key.key_id, value=sign(text)).line()
    signed = parse_statement(text + b"\n" + line)
    verify_statement(signed, [public_key])
    return signed.raw


def parse_statement(data: bytes) -> SignedStatement:
    """Read one strictly; its signature is not verified yet.

    Raises:
        FormatError: it is not written in the one way in which it may be.
        UnsupportedError: it is one of another version.
    """
    if len(data) > MAX_STATEMENT_SIZE:
        raise FormatError(
            f"retention statement: expected at most {MAX_STATEMENT_SIZE} bytes, found {len(data)}"
        )
    lines = data.split(b"\n")
    if lines[0] != TITLE.encode():
        if lines[0].startswith(TITLE.rstrip("1").encode()):
            raise UnsupportedError(
                f"retention statement: expected {TITLE!r}, found {lines[0][:80]!r}; a newer "
                "verifier may know it"
            )
        _refuse(TITLE, lines[0])
    if len(lines) != _LINES or lines[6] or lines[8]:
        _refuse("six lines, an empty one and a signature line", f"{len(lines) - 1} lines".encode())
    statement = Statement(
        recorder=check_recorder(_text(lines[1])),
        session_id=_session(_text(lines[2])),
        number=_number(_text(lines[3])),
        previous=_hex(_text(lines[4])),
        says=parse_saying(lines[5]),
    )
    signed = SignedStatement(statement=statement, signature=_signature(lines[7]), raw=data)
    # The one encoding: whatever the rules above let through, only these bytes are a statement.
    if statement.text() + b"\n" + signed.signature.line() != data:
        _refuse("its one encoding", data)
    return signed


def verify_statement(signed: SignedStatement, public_keys: Iterable[bytes]) -> bytes:
    """The one of these raw Ed25519 keys that has signed, in the name of the log of sessions.

    Raises:
        ProofError: none of them has.
    """
    statement = signed.statement
    where = f"retention statement {statement.number}"
    for public_key in public_keys:
        key = log_key(log_origin(statement.recorder), public_key)
        if (signed.signature.name, signed.signature.key_id) != (key.name, key.key_id):
            continue
        try:
            verify_signature(
                PublicKey(KeyKind.ED25519, public_key), statement.text(), signed.signature.value
            )
        except ProofError as error:
            raise ProofError(f"{where}: key {key.name}: {error}") from error
        return public_key
    raise ProofError(
        f"{where}: expected a signature by the device's key in OPEN, or by one that statements of "
        "rotation in the policy tie to it; found another key"
    )


def entry_for(signed: SignedStatement, counter: int) -> LogEntry:
    """The entry in the log of sessions; `counter` is the session's number."""
    return LogEntry(
        kind=KINDS[type(signed.statement.says)],
        session_id=signed.statement.session_id,
        counter=counter,
        note_sha256=signed.sha256,
    )


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii")
    except UnicodeDecodeError:
        _refuse("ASCII", line)


def _session(text: str) -> str:
    try:
        found = str(uuid.UUID(text))
    except ValueError:
        _refuse("the UUID of a session", text.encode())
    return found


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        _refuse(f"a decimal number from 1 to {MAX_STATEMENTS}", text.encode())
    return int(text)


def _hex(text: str) -> str:
    if not _HEX.fullmatch(text):
        _refuse("64 digits in lower-case hexadecimal", text.encode())
    return text


def _signature(line: bytes) -> NoteSignature:
    dash, name, encoded = [*line.split(b" "), b"", b""][:3]
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        _refuse("a signature in base64", line)
    if dash != "—".encode() or len(value) != 4 + _SIGNATURE_SIZE:
        _refuse("a signature line of 68 bytes in base64", line)
    return NoteSignature(name=_text(name), key_id=value[:4], value=value[4:])


def _refuse(expected: str, found: bytes) -> NoReturn:
    raise FormatError(f"retention statement: expected {expected}, found {found[:160]!r}")
