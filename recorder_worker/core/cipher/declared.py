"""What `session.json` says of encryption: under which cipher, and the key for those who may read.

The manifest's digest stands in OPEN, which the device signs. So nobody can put another wrapped key
in place, or say that a session was not encrypted.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from recorder_worker.core.errors import FormatError
from recorder_worker.core.model import Wire

MAX_DECLARED_SIZE = 1 << 20
"""Bytes of the largest manifest that is read for its encryption: many times what one needs."""


class Encryption(Wire, frozen=True, kw_only=True):
    """How a session is encrypted.

    Attributes:
        cipher: its name, as in the records of its chunks.
        key_id: tells the session's key from others, in hexadecimal.
        recipients: the public keys that the session's key is wrapped to.
        wrapped_key: that key, as an age file in its armor.
    """

    cipher: Annotated[str, Meta(min_length=1, max_length=100)]
    key_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    recipients: tuple[str, ...]
    wrapped_key: str


class _Declaring(msgspec.Struct):
    encryption: Encryption | None = None


_DECODER = msgspec.json.Decoder(_Declaring)


def declared_encryption(manifest: bytes) -> Encryption | None:
    """What a manifest declares; None where it says nothing of encryption.

    Raises:
        FormatError: it is not JSON, or what it says of encryption is not of this format.
    """
    try:
        return _DECODER.decode(manifest).encryption
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"session.json: its `encryption` cannot be read: {error}") from error
