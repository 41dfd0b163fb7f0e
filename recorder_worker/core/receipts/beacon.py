"""`log/beacon`: the newest receipted checkpoint of the log of sessions, for the next OPEN.

A time-stamp cannot be foreseen, so a record that holds one was made after the time in it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from recorder_worker.core.errors import FormatError

MAX_BEACON_TIMESTAMP_SIZE = 16_384
"""Bytes. OPEN holds it beside much else, and no record may be larger than 65,536 bytes."""


class Beacon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `log/beacon`, JSON.

    Attributes:
        tree_size: entries of the log under the checkpoint.
        note: the signed checkpoint, its exact text.
        timestamp: the RFC 3161 receipt over its bytes, DER; base64 in JSON.
    """

    tree_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    note: Annotated[str, Meta(min_length=1)]
    timestamp: Annotated[bytes, Meta(min_length=1, max_length=MAX_BEACON_TIMESTAMP_SIZE)]


_DECODER = msgspec.json.Decoder(Beacon)


def encode_beacon(beacon: Beacon) -> bytes:
    """The bytes that are stored."""
    return msgspec.json.encode(beacon)


def parse_beacon(data: bytes) -> Beacon:
    """Read a beacon. Raises FormatError."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"log/beacon: expected JSON of tree_size, note and timestamp: {error}"
        ) from error
