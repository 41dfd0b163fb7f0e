"""Walks a packet stream that comes in pieces of any size: what each piece says, and no picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from recorder_worker.core.errors import FormatError
from recorder_worker.core.packets.fmp4 import MAX_TIMES_SIZE, VIDEO_TRACK, PieceTimes, unpack_times
from recorder_worker.core.packets.fmp4_boxes import BOX_HEADER, Run, check_moov, runs_of

MAX_BOX_SIZES: Final = {
    b"ftyp": 1024,
    b"moov": 1 << 20,
    b"uuid": MAX_TIMES_SIZE,
    b"moof": 4 << 20,
    b"mdat": 1 << 31,
}
"""Bytes. All but the last are held while they are read."""

_FOLLOWS: Final = {
    b"": (b"ftyp", b"uuid"),
    b"ftyp": (b"moov",),
    b"moov": (b"uuid",),
    b"uuid": (b"moof",),
    b"moof": (b"mdat",),
    b"mdat": (b"ftyp", b"uuid"),
}


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One piece. `size` is the bytes of its samples, of all tracks.

    `begin` is the time of the first video sample, in ticks of its track; `head` are ftyp and moov,
    as they are read, where they stand before it, and else nothing.
    """

    times: PieceTimes
    keyframe: bool
    head: bytes
    begin: int
    size: int

    @property
    def headed(self) -> bool:
        """Whether ftyp and moov stand before it."""
        return bool(self.head)


def scan_pieces(stream: Iterable[bytes | memoryview]) -> Iterator[Piece]:
    """The pieces of a packet stream, each once its last byte was read.

    Raises:
        UnsupportedError: a box of ours is of a version that this program does not know.
        FormatError: the stream is damaged, or not such a stream.
    """
    walk = _Walk()
    for data in stream:
        yield from walk.feed(data)
    walk.finish()


class _Walk:
    """Where a walk is: in the box `_kind`, of which `_held` was read and `_left` is to come."""

    def __init__(self) -> None:
        self._kind = b""
        self._head = bytearray()
        self._held = bytearray()
        self._left = 0
        self._moof_size = 0
        self._top = b""
        self._times: PieceTimes | None = None
        self._runs: tuple[Run, ...] = ()

    def feed(self, data: bytes | memoryview) -> Iterator[Piece]:
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                if self._kind != b"mdat":
                    self._held += data[at : at + step]
                self._left -= step
            else:
                step = min(BOX_HEADER - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == BOX_HEADER:
                    self._begin_box()
            at += step
            if not self._left and not self._head and self._kind:
                piece = self._end_box()
                if piece is not None:
                    yield piece

    def finish(self) -> None:
        if self._left or self._head or self._kind not in (b"", b"mdat"):
            raise FormatError("packet stream: it ends within a piece; it is cut short")

    def _begin_box(self) -> None:
        size, kind = int.from_bytes(self._head[:4]), bytes(self._head[4:])
        expected = _FOLLOWS[self._kind]
        if kind not in expected:
            names = " or ".join(name.decode() for name in expected)
            raise FormatError(
                f"packet stream: expected a box {names}, found {kind.decode('latin-1')!r}"
            )
        if not BOX_HEADER < size <= MAX_BOX_SIZES[kind]:
            raise FormatError(f"packet stream: a box {kind.decode()} of {size} bytes")
        self._kind, self._left = kind, size - BOX_HEADER
        self._held = bytearray(self._head) if kind == b"uuid" else bytearray()
        self._head.clear()
        if kind == b"mdat":
            self._check_data(size)

    def _end_box(self) -> Piece | None:
        """A box is whole; what it says, and the piece that it ends."""
        held, self._held = bytes(self._held), bytearray()
        match self._kind:
            case b"ftyp":
                self._top = _box(b"ftyp", held)
            case b"moov":
                check_moov(held)
                self._top += _box(b"moov", held)
            case b"uuid":
                self._times = unpack_times(held)
            case b"moof":
                self._runs = runs_of(held)
                self._moof_size = len(held) + BOX_HEADER
            case b"mdat":
                return self._piece()
        return None

    def _check_data(self, size: int) -> None:
        """Every byte of an mdat is a sample's, in the order of the tracks in the moof."""
        at = self._moof_size + BOX_HEADER
        for run in self._runs:
            if run.offset != at:
                raise FormatError(
                    f"packet stream: samples of track {run.track} at {run.offset}, expected {at}"
                )
            at += run.size
        if at != self._moof_size + size:
            raise FormatError(
                f"packet stream: an mdat of {size - BOX_HEADER} bytes, its moof tells of "
                f"{at - self._moof_size - BOX_HEADER}"
            )

    def _piece(self) -> Piece:
        times, head = self._times, self._top
        video = [run for run in self._runs if run.track == VIDEO_TRACK]
        if times is None or not video:
            raise FormatError("packet stream: a piece without video")
        run = video[0]
        if run.count != len(times.times):
            raise FormatError(
                f"unit {times.first_unit}: expected {len(times.times)} video samples by the times, "
                f"found {run.count}"
            )
        if run.keyframe != bool(head):
            raise FormatError(
                f"unit {times.first_unit}: expected ftyp and moov before a keyframe, and there only"
            )
        self._times, self._top = None, b""
        size = sum(each.size for each in self._runs)
        return Piece(times=times, keyframe=run.keyframe, head=head, begin=run.begin, size=size)


def _box(kind: bytes, contents: bytes) -> bytes:
    return (len(contents) + BOX_HEADER).to_bytes(4) + kind + contents
