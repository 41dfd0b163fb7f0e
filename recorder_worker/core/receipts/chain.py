"""Receipts of an anchor that keeps a chain of its own: a file, a database, a ledger.

A receipt is one entry of that chain, and signed: which checkpoint of the log of sessions it was
shown, when, and which entry stands before it. The chain's own entries are these receipts, so that
whoever has a later one knows, with the chain's file, that nothing in front of it was changed.

Nine lines, an empty one, and a signature line as in a C2SP signed note:

    session-recorder anchor receipt v1
    <the anchor's verifier key: name+hex(key id)+base64(0x01 ‖ Ed25519 public key)>
    <origin of the log>
    <its size, decimal>
    <its root hash, base64>
    <SHA-256 of the exact bytes of the signed checkpoint, hexadecimal>
    <seconds since the Unix epoch, decimal>
    <the entry's number in the chain, from 1, decimal>
    <SHA-256 of the nine lines of the entry before it, hexadecimal; of the first: 64 zeros>

    — <name> <base64(key id ‖ Ed25519 signature of the nine lines)>

No other message that is signed here begins like it. There is one encoding; any other is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NoReturn

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.note import NoteKey, SignatureType, parse_note
from recorder_worker.core.signing.note_text import NoteSignature
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey, verify_signature

FORMAT = "session-recorder anchor receipt v1"
FIRST = "0" * 64
"""Stands for the entry before the first."""
MAX_CHAIN_RECEIPT_SIZE = 2048
_LAST_SECOND = 253_402_300_799
"""Of the year 9999."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_HEX = re.compile(r"[0-9a-f]{64}")


def fingerprint(public_key: bytes) -> str:
    """Of an anchor's key, in the names of its receipts: 16 hexadecimal digits of SHA-256."""
    return sha256(public_key).hexdigest()[:16]


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """An anchor that somebody vouches for: the name they give it, and its Ed25519 key, raw."""

    name: str
    public_key: bytes


class ChainEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an anchor says; as above. `root_hash` has 32 bytes, `public_key` too."""

    name: str
    public_key: bytes
    origin: str
    tree_size: int
    root_hash: bytes
    note_sha256: str
    time_s: int
    number: int
    previous: str = FIRST

    @property
    def key(self) -> NoteKey:
        """The key that signs it."""
        return NoteKey(name=self.name, public_key=self.public_key, type=SignatureType.ED25519)

    def text(self) -> bytes:
        """The nine lines that are signed."""
        lines = (
            FORMAT,
            self.key.vkey,
            self.origin,
            str(self.tree_size),
            base64.b64encode(self.root_hash).decode(),
            self.note_sha256,
            str(self.time_s),
            str(self.number),
            self.previous,
        )
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def digest(self) -> str:
        """What the entry behind it names as the one before."""
        return sha256(self.text()).hexdigest()


class ChainReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed receipt; its signature is not verified yet."""

    entry: ChainEntry
    signature: bytes

    def encode(self) -> bytes:
        """Its one encoding."""
        key = self.entry.key
        line = NoteSignature(name=key.name, key_id=key.key_id, value=self.signature).line()
        return self.entry.text() + b"\n" + line


class ChainFound(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt that holds: its entry, and the name of who vouches for its anchor, or None."""

    entry: ChainEntry
    trusted_by: str | None


def sign_entry(entry: ChainEntry, sign: Callable[[bytes], bytes]) -> bytes:
    """The receipt of an entry. `sign` gives the bare Ed25519 signature of its bytes.

    Raises:
        FormatError: a field cannot stand in a receipt.
        ProofError: the signature is another key's.
    """
    data = ChainReceipt(entry=entry, signature=sign(entry.text())).encode()
    _verify_signature(parse_chain_receipt(data))
    return data


def parse_chain_receipt(data: bytes) -> ChainReceipt:
    """Read a receipt strictly.

    Raises:
        FormatError: it is not written in the one way in which it may be.
        UnsupportedError: it is one of another version.
    """
    if len(data) > MAX_CHAIN_RECEIPT_SIZE:
        raise FormatError(
            f"anchor receipt: expected at most {MAX_CHAIN_RECEIPT_SIZE} bytes, found {len(data)}"
        )
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("anchor receipt: expected UTF-8") from error
    if lines[0] != FORMAT:
        if lines[0].startswith(FORMAT.rstrip("1")):
            raise UnsupportedError(
                f"anchor receipt: expected {FORMAT!r}, found {lines[0][:80]!r}; a newer verifier "
                "may know it"
            )
        _refuse(FORMAT, lines[0])
    if len(lines) != 12 or lines[9] or lines[11]:
        _refuse("nine lines, an empty one and a signature line", f"{len(lines) - 1} lines")
    entry = _entry(lines)
    signature = _base64(lines[10].rpartition(" ")[2])
    receipt = ChainReceipt(entry=entry, signature=signature[4:])
    # Whatever the rules let through, only these bytes are a receipt.
    if len(signature) != 68 or receipt.encode() != data:
        _refuse("its one encoding, signed in the name of its key", lines[10])
    return receipt


def verify_chain_receipt(data: bytes, note: bytes, anchors: Sequence[Anchor] = ()) -> ChainFound:
    """Check a receipt over a checkpoint of the log of sessions, its exact bytes.

    Raises:
        FormatError, UnsupportedError: as `parse_chain_receipt`.
        ProofError: it is over something else, or its signature does not verify.
    """
    receipt = parse_chain_receipt(data)
    entry, head = receipt.entry, parse_note(note).head
    said = (entry.origin, entry.tree_size, entry.root_hash, entry.note_sha256)
    if said != (head.origin, head.tree_size, head.root_hash, sha256(note).hexdigest()):
        raise ProofError(
            f"anchor receipt: expected one over the checkpoint of size {head.tree_size} of "
            f"{head.origin}, found one over size {entry.tree_size} of {entry.origin}, note "
            f"{entry.note_sha256}"
        )
    _verify_signature(receipt)
    names = (anchor.name for anchor in anchors if anchor.public_key == entry.public_key)
    return ChainFound(entry=entry, trusted_by=next(names, None))


def _verify_signature(receipt: ChainReceipt) -> None:
    entry = receipt.entry
    key = PublicKey(KeyKind.ED25519, entry.public_key)
    try:
        verify_signature(key, entry.text(), receipt.signature)
    except ProofError as error:
        raise ProofError(f"anchor receipt of {entry.name}: {error}") from error


def _entry(lines: list[str]) -> ChainEntry:
    name, _, rest = lines[1].partition("+")
    key = _base64(rest.partition("+")[2])
    if not _NAME.fullmatch(name) or len(key) != 33:
        _refuse("name+key id+base64 of an Ed25519 key", lines[1])
    root = _base64(lines[4])
    if len(root) != 32:
        _refuse("a root hash of 32 bytes", lines[4])
    for text in (lines[5], lines[8]):
        if not _HEX.fullmatch(text):
            _refuse("64 digits in lower-case hexadecimal", text)
    size, time_s, number = (_decimal(lines[at]) for at in (3, 6, 7))
    if not _ORIGIN.fullmatch(lines[2]) or not size or not number or time_s > _LAST_SECOND:
        _refuse(
            "an origin, a size and a number from 1, and seconds until the year 9999",
            " ".join((lines[2], lines[3], lines[6], lines[7])),
        )
    return ChainEntry(
        name=name,
        public_key=key[1:],
        origin=lines[2],
        tree_size=size,
        root_hash=root,
        note_sha256=lines[5],
        time_s=time_s,
        number=number,
        previous=lines[8],
    )


def _decimal(text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        _refuse("a decimal number", text)
    return int(text)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _refuse("base64", text)


def _refuse(expected: str, found: str) -> NoReturn:
    raise FormatError(f"anchor receipt: expected {expected}, found {found[:160]!r}")
