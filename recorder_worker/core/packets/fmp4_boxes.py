"""Reads the boxes of a piece as far as a check needs: samples, their bytes, and keyframes.

Of ISO/IEC 14496-12 only what a recorder writes is taken; everything else is refused, so that no
byte of a recording is without effect on what is read. Nothing here allocates by a number that it
reads: what is counted has to be there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.packets.fmp4 import VIDEO_TRACK

BOX_HEADER: Final = 8
_BASE_IS_MOOF: Final = 0x020000
_TFHD_FIELDS: Final = ((0x02, 4), (0x08, 4), (0x10, 4), (0x20, 4))
_TFHD_SIZE, _TFHD_FLAGS = 0x10, 0x20
_TRUN_OFFSET, _TRUN_FIRST_FLAGS = 0x01, 0x04
_TRUN_SIZE, _TRUN_FLAGS = 0x200, 0x400
_TRUN_FIELDS: Final = (0x100, _TRUN_SIZE, _TRUN_FLAGS, 0x800)
_NOT_SYNC: Final = 0x10000
MAX_SAMPLES: Final = 1 << 20
"""Of one track in one moof: as many as have a row in it, and no more where none has."""
_COUNT_AT: Final = {b"stco": 4, b"co64": 4, b"stsz": 8, b"stz2": 8}
"""Where and how large samples of a moov would be: where each table says how many it has."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one track in one `moof`: how many, and their bytes.

    `begin` is the time of the first in ticks of its track, `offset` where its bytes begin, from the
    first byte of the moof; `keyframe`: a film may begin with it.
    """

    track: int
    begin: int
    offset: int
    count: int
    size: int
    keyframe: bool


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin of the contents and end of each box. Raises FormatError."""
    end = len(data) if end is None else end
    while at < end:
        if end - at < BOX_HEADER:
            raise FormatError("MP4: bytes behind the last box")
        size, kind = struct.unpack_from(">I4s", data, at)
        if not BOX_HEADER <= size <= end - at:
            raise FormatError(f"MP4: a box {_name(kind)} of {size} bytes where {end - at} are left")
        yield kind, at + BOX_HEADER, at + size
        at += size


def check_moov(moov: bytes) -> None:
    """Hold a `moov` (its contents) against the format: track 1 is a video, and it has no samples.

    Those that it had would be shown by players, and be nobody's units.

    Raises:
        FormatError: it is not.
    """
    handlers: dict[int, bytes] = {}
    fragmented = False
    for kind, begin, end in boxes(moov):
        if kind == b"trak":
            track, handler = _track(moov, begin, end)
            if track in handlers:
                raise FormatError(f"MP4: two tracks of number {track}")
            handlers[track] = handler
        fragmented = fragmented or kind == b"mvex"
    if not fragmented:
        raise FormatError("MP4: a moov without mvex, so its samples would be elsewhere")
    if handlers.get(VIDEO_TRACK) != b"vide" or list(handlers.values()).count(b"vide") != 1:
        raise FormatError(f"MP4: expected one video, as track {VIDEO_TRACK}")


def runs_of(moof: bytes) -> tuple[Run, ...]:
    """The samples that a `moof` (its contents) tells of, track by track.

    Raises:
        FormatError: it is not one that a recorder writes.
    """
    runs: list[Run] = []
    for number, (kind, begin, end) in enumerate(boxes(moof)):
        if (kind == b"mfhd") != (number == 0) or kind not in (b"mfhd", b"traf"):
            raise FormatError(f"MP4: a box {_name(kind)} in its moof")
        if kind == b"traf":
            runs.append(_run(moof, begin, end))
    tracks = [run.track for run in runs]
    if len(set(tracks)) != len(tracks):
        raise FormatError("MP4: a track that is twice in a moof")
    return tuple(runs)


def _track(moov: bytes, begin: int, end: int) -> tuple[int, bytes]:
    """Number and handler of a `trak`."""
    number, handler = 0, b""
    for kind, start, stop in boxes(moov, begin, end):
        if kind == b"tkhd":
            at = 20 if _field(moov, start, stop, 1, 0) else 12
            number = _field(moov, start, stop, 4, at)
        elif kind == b"mdia":
            for inner, first, last in boxes(moov, start, stop):
                if inner == b"hdlr":
                    handler = _field(moov, first, last, 4, 8).to_bytes(4)
                elif inner == b"minf":
                    _check_no_samples(moov, first, last)
    return number, handler


def _check_no_samples(moov: bytes, begin: int, end: int) -> None:
    for kind, start, stop in boxes(moov, begin, end):
        if kind == b"stbl":
            for table, first, last in boxes(moov, start, stop):
                at = _COUNT_AT.get(table)
                if at is not None and _field(moov, first, last, 4, at):
                    raise FormatError(f"MP4: samples in the {_name(table)} of a moov")


def _run(moof: bytes, begin: int, end: int) -> Run:
    parts = list(boxes(moof, begin, end))
    if [kind for kind, _, _ in parts] != [b"tfhd", b"tfdt", b"trun"]:
        raise FormatError("MP4: expected tfhd, tfdt and one trun in a traf")
    (_, *tfhd), (_, *tfdt), (_, *trun) = parts
    track, size, flags = _tfhd(moof, *tfhd)
    if _field(moof, tfdt[0], tfdt[1], 4, 0) != 1 << 24 or tfdt[1] - tfdt[0] != 12:
        raise FormatError("MP4: expected a tfdt of version 1")
    offset, count, total, keyframe = _trun(moof, trun[0], trun[1], size, flags)
    return Run(
        track=track,
        begin=_field(moof, tfdt[0], tfdt[1], 8, 4),
        offset=offset,
        count=count,
        size=total,
        keyframe=keyframe,
    )


def _tfhd(moof: bytes, begin: int, end: int) -> tuple[int, int, int]:
    """Track, default size and default flags."""
    flags = _field(moof, begin, end, 4, 0)
    if flags & ~(_BASE_IS_MOOF | 0x3A) or not flags & _BASE_IS_MOOF:
        raise FormatError(f"MP4: a tfhd of flags {flags:#x}")
    track, at = _field(moof, begin, end, 4, 4), 8
    found = {}
    for bit, width in _TFHD_FIELDS:
        if flags & bit:
            found[bit] = _field(moof, begin, end, width, at)
            at += width
    if begin + at != end:
        raise FormatError("MP4: a tfhd of another length than its flags say")
    return track, found.get(_TFHD_SIZE, 0), found.get(_TFHD_FLAGS, 0)


def _trun(moof: bytes, begin: int, end: int, size: int, flags: int) -> tuple[int, int, int, bool]:
    """Offset of the data, number and bytes of the samples, whether a film may begin with them."""
    version, has = divmod(_field(moof, begin, end, 4, 0), 1 << 24)
    known = _TRUN_OFFSET | _TRUN_FIRST_FLAGS | sum(_TRUN_FIELDS)
    if (
        version > 1
        or has & ~known
        or not has & _TRUN_OFFSET
        or (has & _TRUN_FIRST_FLAGS and has & _TRUN_FLAGS)
    ):
        raise FormatError(f"MP4: a trun of version {version} and flags {has:#x}")
    count, offset, at = _field(moof, begin, end, 4, 4), _field(moof, begin, end, 4, 8), 12
    if has & _TRUN_FIRST_FLAGS:
        flags = _field(moof, begin, end, 4, at)
        at += 4
    fields = [bit for bit in _TRUN_FIELDS if has & bit]
    width = 4 * len(fields)
    if not 0 < count <= MAX_SAMPLES or end - begin != at + count * width:
        raise FormatError(f"MP4: a trun of {end - begin} bytes that tells of {count} samples")
    rows = list(struct.iter_unpack(f">{len(fields)}I", moof[begin + at : end])) if width else []
    total = size * count
    if has & _TRUN_SIZE:
        place = fields.index(_TRUN_SIZE)
        total = sum(row[place] for row in rows)
    if has & _TRUN_FLAGS:
        flags = rows[0][fields.index(_TRUN_FLAGS)]
    return offset, count, total, not flags & _NOT_SYNC


def _field(data: bytes, begin: int, end: int, width: int, at: int) -> int:
    if begin + at + width > end:
        raise FormatError("MP4: a box that ends within a field")
    return int.from_bytes(data[begin + at : begin + at + width])


def _name(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))
