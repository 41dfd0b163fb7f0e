"""What is known here of a sealed session's copy: the file `copies/<session>` of a data directory.

It is no part of the recording, whose folder says nothing of where else it is. It stays behind a
deletion, for the record does, here and there.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.model import Count, Hex32, Nanoseconds
from recorder_worker.core.records.leaves import ChunkRecord

VERSION = 1


class CopyMarker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a session was durable in the second store at a time.

    Attributes:
        location: where the copy is.
        seal_sha256: of the seal that was copied.
        archived_wall_ns: when the copy was whole.
        leaving_wall_ns: since when the chunks here are being removed; 0: they stay, or stay yet.
        offloaded_wall_ns: when they were gone; 0: they are not.
    """

    v: int = VERSION
    location: str
    seal_sha256: Hex32
    file_count: Count
    file_bytes: Count
    archived_wall_ns: Nanoseconds
    leaving_wall_ns: Nanoseconds = 0
    offloaded_wall_ns: Nanoseconds = 0

    @property
    def leaving(self) -> bool:
        """Whether chunks may be missing here, because they are elsewhere."""
        return self.leaving_wall_ns > 0


class Expected(msgspec.Struct, frozen=True):
    """What a file must be, by what was told or signed of it. `size` is in bytes."""

    size: int
    sha256: str


def expected_of(chunk: ChunkStored | ChunkRecord) -> Expected:
    """The bytes of a chunk by its leaf, or by its record."""
    sha256 = chunk.stored_sha256
    return Expected(chunk.stored_size, sha256 if isinstance(sha256, str) else sha256.hex())


def encode_marker(marker: CopyMarker) -> bytes:
    """The bytes of the file."""
    return msgspec.json.encode(marker)


def parse_marker(data: bytes) -> CopyMarker:
    """Read the file strictly. Raises FormatError."""
    try:
        marker = msgspec.json.decode(data, type=CopyMarker)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(
            f"copies: expected what is known of a session's copy, found {error}; remove the file, "
            "and the copy is looked at anew"
        ) from error
    if marker.v != VERSION:
        raise FormatError(f"copies: expected version {VERSION}, found {marker.v}; update")
    return marker
