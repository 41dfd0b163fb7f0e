"""A statement of rotation: the old device keys say which ones take their place.

```
session-recorder key rotation v1
recorder recorder-0123456789abcdef
time 2026-11-23T18:00:00Z
old ed25519 <base64>
old ml-dsa-44 <base64>          where there is one
new ed25519 <base64>
new ml-dsa-44 <base64>          where there is one

signed ed25519 <base64>
signed ml-dsa-44 <base64>       for each old key, in their order
```

Signed are the lines before the empty one, with their newlines. A statement has one encoding,
newlines alone and canonical base64; any other is an error. It proves who follows whom, not when:
the time is what the recorder's clock said, and whoever has the old keys can make other statements.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.origins import check_recorder
from recorder_worker.core.signing.signing_keys import (
    KEY_SETS,
    KEY_SIZES,
    KeyKind,
    PublicKey,
    verify_signature,
)

MAX_STATEMENT_SIZE = 32 * 1024
TITLE = "session-recorder key rotation v1"

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_YEAR_10000_S = 253_402_300_800
_SIGNATURE_SIZES = {KeyKind.ED25519: 64, KeyKind.ML_DSA_44: 2420}


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement says. `at_s` is in seconds since the Unix epoch; both are key sets."""

    recorder: str
    at_s: int
    old: tuple[PublicKey, ...]
    new: tuple[PublicKey, ...]

    def text(self) -> bytes:
        """The lines that the old keys sign.

        Raises:
            FormatError: a value cannot stand in a statement.
        """
        if not 0 <= self.at_s < _YEAR_10000_S:
            raise FormatError(f"rotation: expected a time from 1970 to 9999, got {self.at_s} s")
        lines = [
            TITLE,
            f"recorder {check_recorder(self.recorder)}",
            f"time {datetime.fromtimestamp(self.at_s, UTC).strftime(_TIME)}",
            *(_key_line("old", key) for key in _key_set(self.old)),
            *(_key_line("new", key) for key in _key_set(self.new)),
        ]
        if set(self.old) & set(self.new):
            raise FormatError("rotation: expected new keys that are not old ones, got one again")
        return "".join(f"{line}\n" for line in lines).encode()


class SignedRotation(msgspec.Struct, frozen=True, kw_only=True):
    """A statement and its signatures, one for each old key. `raw` is every byte of it."""

    rotation: Rotation
    signatures: tuple[bytes, ...]
    raw: bytes


def sign_rotation(rotation: Rotation, sign: Callable[[KeyKind, bytes], bytes]) -> bytes:
    """The statement, signed by each of the old keys.

    Raises:
        FormatError: a value cannot stand in a statement.
        ProofError: `sign` gave something else than the old key's signature.
    """
    text = rotation.text()
    lines = [
        f"signed {key.kind.value} {base64.b64encode(sign(key.kind, text)).decode()}\n"
        for key in rotation.old
    ]
    statement = text + b"\n" + "".join(lines).encode()
    verify_rotation(parse_rotation(statement))
    return statement


def parse_rotation(data: bytes) -> SignedRotation:
    """Read a statement strictly; its signatures are not verified yet.

    Raises:
        FormatError: something is not written in the one way in which it may be.
    """
    if len(data) > MAX_STATEMENT_SIZE:
        raise FormatError(f"rotation: expected at most {MAX_STATEMENT_SIZE} bytes")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"rotation: expected ASCII, found {data[:160]!r}") from error
    if len(lines) < 4 or lines[0] != TITLE or lines[-1]:
        raise FormatError(
            f"rotation: expected {TITLE!r} as the first line and a newline as the last byte, "
            f"found {data[:80]!r}; in YAML write the text as a block that begins with |"
        )
    if "" not in lines[3:-1]:
        raise FormatError("rotation: expected an empty line before the signatures, found none")
    empty = lines.index("", 3)
    rotation = Rotation(
        recorder=_value(lines[1], "recorder"),
        at_s=_time(_value(lines[2], "time")),
        old=_keys(lines[3:empty], "old"),
        new=_keys(lines[3:empty], "new"),
    )
    signatures = tuple(
        _bytes(_value(line, f"signed {key.kind.value}"), _SIGNATURE_SIZES[key.kind])
        for key, line in zip(rotation.old, lines[empty + 1 : -1], strict=False)
    )
    signed = SignedRotation(rotation=rotation, signatures=signatures, raw=data)
    # The one encoding: whatever the rules above let through, only these bytes are a statement.
    if len(signatures) != len(rotation.old) or _written(signed) != data:
        raise FormatError(
            "rotation: expected recorder, time, old and new keys, an empty line and a signature "
            f"for each old key, each once and in this order, found {data[:160]!r}"
        )
    return signed


def verify_rotation(signed: SignedRotation) -> None:
    """Check that each of the old keys has signed.

    Raises:
        ProofError: one has not.
    """
    text = signed.rotation.text()
    for key, signature in zip(signed.rotation.old, signed.signatures, strict=True):
        try:
            verify_signature(key, text, signature)
        except ProofError as error:
            raise ProofError(f"rotation of {signed.rotation.recorder}: {error}") from error


def former_keys(present: Sequence[PublicKey], statements: Sequence[bytes]) -> tuple[PublicKey, ...]:
    """The keys that a device had before those in force, the newest first.

    Statements are followed from the present Ed25519 key back. One that is damaged, or that its old
    keys have not signed, ties nothing.
    """
    before: dict[PublicKey, tuple[PublicKey, ...]] = {}
    for statement in statements:
        try:
            signed = parse_rotation(statement)
            verify_rotation(signed)
        except (FormatError, ProofError):
            continue
        before[signed.rotation.new[0]] = signed.rotation.old
    found: list[PublicKey] = []
    key = present[0]
    while (old := before.pop(key, None)) is not None:
        found += old
        key = old[0]
    return tuple(found)


def _written(signed: SignedRotation) -> bytes:
    lines = [
        f"signed {key.kind.value} {base64.b64encode(signature).decode()}\n"
        for key, signature in zip(signed.rotation.old, signed.signatures, strict=True)
    ]
    return signed.rotation.text() + b"\n" + "".join(lines).encode()


def _key_line(word: str, key: PublicKey) -> str:
    return f"{word} {key.kind.value} {base64.b64encode(key.data).decode()}"


def _key_set(keys: Sequence[PublicKey]) -> Sequence[PublicKey]:
    kinds = tuple(key.kind for key in keys)
    if kinds not in KEY_SETS or any(len(key.data) != KEY_SIZES[key.kind] for key in keys):
        raise FormatError(
            "rotation: expected an ed25519 key of 32 bytes, or one and an ml-dsa-44 key of 1312, "
            f"found {', '.join(f'{key.kind.value} of {len(key.data)}' for key in keys) or 'none'}"
        )
    return keys


def _value(line: str, name: str) -> str:
    if not line.startswith(f"{name} "):
        raise FormatError(f"rotation: expected a line of {name!r}, found {line[:160]!r}")
    return line.removeprefix(f"{name} ")


def _time(text: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII):
        raise FormatError(f"rotation: expected a time as 2026-11-23T18:00:00Z, found {text!r}")
    try:
        return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise FormatError(f"rotation: expected a time that there is, found {text!r}") from error


def _keys(lines: Sequence[str], word: str) -> tuple[PublicKey, ...]:
    keys = []
    for line in lines:
        for kind in KeyKind:
            if line.startswith(f"{word} {kind.value} "):
                data = _bytes(_value(line, f"{word} {kind.value}"), KEY_SIZES[kind])
                keys.append(PublicKey(kind, data))
    return tuple(keys)


def _bytes(text: str, size: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"rotation: expected base64, found {text[:160]!r}") from error
    if len(data) != size:
        raise FormatError(f"rotation: expected base64 of {size} bytes, found {len(data)}")
    return data
