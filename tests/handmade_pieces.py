"""Pieces of a packet stream made by hand, box by box, and wrong where a test wants them to be."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from recorder_worker.core.packets.fmp4 import PieceTimes, pack_times

SYNC, DELTA = 0x0200_0000, 0x0101_0000


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def track(number: int, handler: bytes) -> bytes:
    tkhd = box(b"tkhd", words(3, 0, 0, number))
    return box(b"trak", tkhd, box(b"mdia", box(b"hdlr", words(0, 0), handler, bytes(13))))


def head(*tracks: bytes, fragmented: bool = True) -> bytes:
    parts = tracks or (track(1, b"vide"), track(2, b"soun"))
    mvex = [box(b"mvex")] if fragmented else []
    return box(b"ftyp", b"iso5", words(512)) + box(b"moov", *parts, *mvex)


def times(first_unit: int, stamps: Sequence[int], shift: int = 0) -> bytes:
    return pack_times(
        PieceTimes(
            first_unit=first_unit,
            shift=shift,
            tick_num=1,
            tick_den=90_000,
            times=tuple((stamp, stamp + 5) for stamp in stamps),
        )
    )


def traf(number: int, sizes: Sequence[int], offset: int, flags: int, base: int = 0) -> bytes:
    """One size for all stands in the tfhd, as FFmpeg writes it for G.711."""
    return box(
        b"traf",
        box(b"tfhd", words(0x20038, number, 1, sizes[0], flags)),
        box(b"tfdt", b"\1\0\0\0", struct.pack(">Q", base)),
        box(b"trun", words(0x201, len(sizes), offset), words(*sizes)),
    )


def fragment(*tracks: tuple[int, Sequence[int]], keyframe: bool = True, more: bytes = b"") -> bytes:
    """A moof and its mdat; `more` is behind the samples."""
    flags = SYNC if keyframe else DELTA

    def moof(size: int) -> bytes:
        at, parts = size + 8, []
        for number, sizes in tracks:
            parts.append(traf(number, sizes, at, flags if number == 1 else SYNC))
            at += sum(sizes)
        return box(b"moof", box(b"mfhd", words(0, 1)), *parts)

    data = b"".join(bytes([number]) * sum(sizes) for number, sizes in tracks)
    return moof(len(moof(0))) + box(b"mdat", data, more)


def piece(first_unit: int, stamps: Sequence[int], *, keyframe: bool = True) -> bytes:
    """A whole piece with as many samples of 10 bytes, and two of sound."""
    body = fragment((1, [10] * len(stamps)), (2, [4, 6]), keyframe=keyframe)
    return (head() if keyframe else b"") + times(first_unit, stamps) + body
