"""What an MP4 or QuickTime file declares of its samples, before FFmpeg makes room for them.

FFmpeg keeps some 70 bytes for each sample that such a file declares, and a file of a kilobyte can
declare billions: a size that all have is written once. No option of FFmpeg bounds that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recorder_worker.adapters.sources.guard import OpenFile
from recorder_worker.core.errors import SourceError

MOST_SAMPLES: Final = 2**23
"""Of all tracks together: more than a day of 60 frames a second, with its sound; some 600 MB."""
MOST_BOXES: Final = 2**20
"""Files in fragments have a handful for each of them."""

_HEAD: Final = struct.Struct(">I4s")
_LARGE: Final = struct.Struct(">Q")
_COUNTED: Final = {b"stsz": 8, b"stz2": 8, b"trun": 4}
"""Where in a box its count of samples stands, 4 bytes; all else in the box is of no interest."""
_PLAIN: Final = frozenset(
    b"moov trak mdia minf stbl moof traf mvex edts udta sinf schi tref gmhd wave".split()
)
"""Boxes that hold boxes and nothing else, as far as FFmpeg looks into them."""
_DEEPEST: Final = 16


def check_tables(file: OpenFile) -> None:
    """Hold what is declared against the size of the file; a file of another kind has nothing.

    Raises:
        SourceError: it declares more samples than it can hold, or than are recorded.
    """
    descriptor = os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _Tables(descriptor, file).check()
    except OSError as error:
        raise SourceError(f"file {file.path}: expected to read it, found {error}") from error
    finally:
        os.close(descriptor)


class _Tables:
    def __init__(self, descriptor: int, file: OpenFile) -> None:
        self._descriptor = descriptor
        self._path: Path = file.path
        self._size = file.size
        self._boxes = 0
        self._samples = 0

    def check(self) -> None:
        self._look(0, self._size, 0)

    def _look(self, begin: int, end: int, depth: int, *, sound: bool = False) -> None:
        for kind, at, behind in self._within(begin, end):
            if kind == b"cmov":
                raise self._refused("a header that can be read", "one that is compressed (cmov)")
            if kind == b"trak":
                sound = self._handlers(at, behind, depth) == {b"soun"}
            if kind in _COUNTED:
                self._count(self._number(at + _COUNTED[kind]))
            elif kind == b"stbl" and sound and self._is_plain_sound(at, behind):
                continue
            elif (kind in _PLAIN or kind == b"meta") and depth < _DEEPEST:
                self._look(at + 4 * (kind == b"meta"), behind, depth + 1, sound=sound)

    def _handlers(self, begin: int, end: int, depth: int) -> set[bytes]:
        """Of sound and video, what a track says that it is, wherever in it."""
        found: set[bytes] = set()
        for kind, at, behind in self._within(begin, end):
            if kind == b"hdlr":
                found |= {self._bytes(at + 8, 4)} & {b"soun", b"vide"}
            elif (kind in _PLAIN or kind == b"meta") and depth < _DEEPEST:
                found |= self._handlers(at + 4 * (kind == b"meta"), behind, depth + 1)
        return found

    def _is_plain_sound(self, begin: int, end: int) -> bool:
        """Whether samples are those of sound that is not compressed: FFmpeg keeps none of each."""
        counts, times = [], []
        for kind, at, _ in self._within(begin, end):
            if kind == b"stsz":
                counts.append(self._number(at + 8))
            if kind == b"stts":
                times.append((self._number(at + 4), self._number(at + 12)))
        if times != [(1, 1)]:
            return False
        if sum(counts) > self._size:
            raise self._too_many(sum(counts), self._size)
        return True

    def _within(self, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Kind, begin of the content, and end of each box in a range."""
        while begin + _HEAD.size <= end:
            head = self._bytes(begin, _HEAD.size + _LARGE.size)
            if len(head) < _HEAD.size:
                return
            size, kind = _HEAD.unpack_from(head)
            content = begin + _HEAD.size
            if size == 1 and len(head) == _HEAD.size + _LARGE.size:
                (size,) = _LARGE.unpack_from(head, _HEAD.size)
                content += _LARGE.size
            behind = end if size == 0 else min(begin + size, end)
            if behind < content:
                return
            self._boxes += 1
            if self._boxes > MOST_BOXES:
                raise self._refused(f"at most {MOST_BOXES} boxes", "more of them")
            yield kind, content, behind
            begin = behind

    def _count(self, samples: int) -> None:
        self._samples += samples
        most = min(MOST_SAMPLES, self._size)
        if self._samples > most:
            raise self._too_many(self._samples, most)

    def _too_many(self, found: int, most: int) -> SourceError:
        return self._refused(
            f"at most {most} samples, for it has {self._size} bytes", f"{found} declared"
        )

    def _refused(self, expected: str, found: str) -> SourceError:
        return SourceError(
            f"file {self._path}: expected {expected}, found {found}; it is damaged, or else very "
            "long: write it anew in parts, with ffmpeg -i IN -c copy -f segment -segment_time 3600 "
            "OUT%03d.mkv"
        )

    def _number(self, at: int) -> int:
        return int.from_bytes(self._bytes(at, 4), "big")

    def _bytes(self, at: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, at)
