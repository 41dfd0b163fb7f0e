"""The packet stream of the `copy` profile: its pieces, and the box that times them.

A piece (docs/format.md) is a fragmented MP4 (ISO/IEC 14496-12) as any player reads it. What MP4 has
no place for stands in one box of our own, which players skip: the unit that the piece begins with,
when each unit came, and what was added to the source's own times.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError

PACKETS_FORMAT: Final = "fmp4"
"""Names this stream in manifests and records."""

VIDEO_TRACK: Final = 1
USER_TYPE: Final = b"session-recorder"
VERSION: Final = 1
MAX_UNITS: Final = 16_384
"""Units of one piece: bounds what a reader has to hold."""

_HEAD: Final = struct.Struct(">I4s16sBQqIII")
_TIME: Final = struct.Struct(">QQ")
MAX_TIMES_SIZE: Final = _HEAD.size + MAX_UNITS * _TIME.size


class PieceTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What the box of our own says.

    Attributes:
        first_unit: the unit of the piece's first video sample.
        shift: ticks that were added to the source's times to make those of the piece.
        tick_num, tick_den: a tick is so many seconds, as the source's video counts.
        times: session time and wall clock of each unit, in nanoseconds.
    """

    first_unit: int
    shift: int
    tick_num: int
    tick_den: int
    times: tuple[tuple[int, int], ...]


def pack_times(piece: PieceTimes) -> bytes:
    """The bytes of the box.

    Raises:
        FormatError: a number does not fit its place.
    """
    if not 1 <= len(piece.times) <= MAX_UNITS:
        raise FormatError(f"piece: expected 1 to {MAX_UNITS} units, found {len(piece.times)}")
    size = _HEAD.size + len(piece.times) * _TIME.size
    try:
        head = _HEAD.pack(
            size,
            b"uuid",
            USER_TYPE,
            VERSION,
            piece.first_unit,
            piece.shift,
            piece.tick_num,
            piece.tick_den,
            len(piece.times),
        )
        return head + b"".join(_TIME.pack(*time) for time in piece.times)
    except struct.error as error:
        raise FormatError(f"piece of unit {piece.first_unit}: a number does not fit") from error


def unpack_times(box: bytes | bytearray) -> PieceTimes:
    """What a whole `uuid` box says.

    Raises:
        UnsupportedError: it is of a version that this program does not know.
        FormatError: it is not such a box.
    """
    if len(box) < _HEAD.size:
        raise FormatError(f"uuid box: expected {_HEAD.size} bytes or more, found {len(box)}")
    _, _, user_type, version, first_unit, shift, num, den, count = _HEAD.unpack_from(box)
    if user_type != USER_TYPE:
        raise FormatError("uuid box: expected the one of the recorder, found another")
    if version != VERSION:
        raise UnsupportedError(
            f"uuid box: expected version {VERSION}, found {version}; it needs a newer recorder"
        )
    if not 1 <= count <= MAX_UNITS or len(box) != _HEAD.size + count * _TIME.size:
        raise FormatError(f"uuid box: {len(box)} bytes are not those of {count} units")
    if not num or not den:
        raise FormatError(f"uuid box: expected a tick above 0, found {num}/{den} s")
    times = tuple(_TIME.iter_unpack(bytes(box[_HEAD.size :])))
    return PieceTimes(first_unit=first_unit, shift=shift, tick_num=num, tick_den=den, times=times)
