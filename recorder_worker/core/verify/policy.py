"""Which keys are trusted: a TOML file (docs/verify.md).

[[keys]]
name = "lab 7"
public_key = "…"   # 64 hexadecimal digits, or base64 of the 32 bytes
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta

from recorder_worker.core.errors import SettingsError

KEY_SIZE = 32


class TrustedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that somebody vouches for, 32 bytes, and the name they give it."""

    name: str
    public_key: bytes


class TrustPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The trusted keys. An empty policy trusts none."""

    keys: tuple[TrustedKey, ...] = ()

    def name_of(self, public_key: bytes) -> str | None:
        """What the policy calls a key; None where it does not trust it."""
        for key in self.keys:
            if key.public_key == public_key:
                return key.name
        return None


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    public_key: str


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[_Row, ...]


def parse_policy(text: bytes) -> TrustPolicy:
    """Read a trust policy.

    Raises:
        SettingsError: it is not one; the text says where.
    """
    try:
        rows = msgspec.toml.decode(text, type=_File).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            "trust policy: expected TOML with [[keys]] tables of name and public_key, "
            f"got {error}; see docs/verify.md"
        ) from error
    return TrustPolicy(keys=tuple(TrustedKey(name=row.name, public_key=_key(row)) for row in rows))


def _key(row: _Row) -> bytes:
    try:
        if len(row.public_key) == KEY_SIZE * 2:
            key = bytes.fromhex(row.public_key)
        else:
            key = base64.b64decode(row.public_key, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_SIZE:
        raise SettingsError(
            f"trust policy: key {row.name!r}: expected public_key as {KEY_SIZE * 2} hexadecimal "
            f"digits or as base64 of {KEY_SIZE} bytes, got {row.public_key!r}"
        )
    return key
