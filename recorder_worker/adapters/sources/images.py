"""A sequence of pictures in files, each decoded by OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from recorder_worker.adapters.sources.decoding import decode_picture
from recorder_worker.adapters.sources.guard import OpenFile, SourceGuard, path_of
from recorder_worker.adapters.sources.image_names import MOST_IMAGES, sequence_of, split_pattern
from recorder_worker.core.errors import (
    FormatError,
    SourceError,
    SourceLostError,
    UnitsMissingError,
)
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import GapReason, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import FileSource, ImagesSource
from recorder_worker.ports import Frame

_SECOND_NS: Final = 1_000_000_000
_BYTES_A_PIXEL: Final = 4
_BYTES_BESIDE: Final = 16_777_216
"""A picture has no more bytes than its pixels, and so many for profiles, thumbnails and texts."""
_MOST_AT_ONCE: Final = 100
"""Pictures that cannot be read, passed over in one go: between them the reader hears requests."""


class ImageSequence:
    """Pictures in the order of their names, one a unit. Which those are is looked up once.

    The first must be readable. A later one that is not (gone, damaged, too large, not allowed) is a
    unit that is missing; the sequence goes on behind it. One of another size is recorded as it is.
    """

    def __init__(
        self, source: ImagesSource, guard: SourceGuard, *, fps: float, first_unit: int = 0
    ) -> None:
        """Look up the files, and read one.

        Raises:
            SourceForbiddenError: the rules do not allow the directory, or the first picture.
            SourceError: there is no picture, the first cannot be read, or there are fewer than
                `first_unit`.
        """
        self._uri = source.uri
        self._guard = guard
        self._fps = fps
        self._directory, pattern = split_pattern(str(path_of(source.uri)))
        listed = guard.names_in(self._directory, source.uri, MOST_IMAGES)
        self._names = sequence_of(listed, pattern, source.uri)
        if first_unit > len(self._names):
            raise SourceError(
                f"images {source.uri}: expected at least {first_unit} pictures, of which were "
                f"recorded already, found {len(self._names)}; some were taken away since, so start "
                "a new session"
            )
        self._unit = first_unit
        self._closed = False
        self._ahead: Picture | None = None
        first = self._picture(0)
        self._facts = self._describe(first)
        if first_unit == 0:
            self._ahead = first

    @property
    def facts(self) -> SourceFacts:
        """The size is that of the first picture."""
        return self._facts

    def read(self) -> Frame | None:
        """The next picture; None behind the last.

        Raises:
            SourceLostError: the source is closed.
            UnitsMissingError: pictures cannot be read here; the next call goes on behind them.
        """
        if self._closed:
            raise SourceLostError(f"images {self._uri}: expected an open source, found it closed")
        first_bad, why = self._unit, ""
        while self._unit < len(self._names) and self._unit - first_bad < _MOST_AT_ONCE:
            try:
                picture = self._picture(self._unit) if self._ahead is None else self._ahead
            except SourceError as error:
                why = why or str(error)
                self._unit += 1
                continue
            if why:
                self._ahead = picture
                break
            self._ahead = None
            self._unit += 1
            return Frame(picture=picture, t_ns=self._time(self._unit - 1))
        if not why:
            return None
        count = self._unit - first_bad
        text = why if count == 1 else f"{count} pictures in a row; of the first: {why}"
        raise UnitsMissingError(count, self._time(self._unit), GapReason.SOURCE_LOST, text)

    def close(self) -> None:
        """No file is open between two pictures."""
        self._closed = True
        self._ahead = None

    def _time(self, unit: int) -> int:
        return round(unit * _SECOND_NS / self._fps)

    def _picture(self, unit: int) -> Picture:
        name = self._names[unit]
        if name is None:
            raise SourceError(
                f"images {self._uri}: expected a file for picture {unit}, counted from 0, found "
                "none of that number"
            )
        path = f"{self._directory.rstrip('/')}/{name}"
        most = self._guard.max_pixels * _BYTES_A_PIXEL + _BYTES_BESIDE
        with self._guard.open(FileSource(uri=path), what="picture") as file:
            data = _bytes_of(file, most)
        try:
            return decode_picture(data, self._guard.max_pixels)
        except FormatError as error:
            raise SourceError(f"image {path}: {error}") from error

    def _describe(self, picture: Picture) -> SourceFacts:
        height, width, _ = picture.shape
        return SourceFacts(
            kind="images",
            uri=self._uri,
            description=f"{len(self._names)} pictures, the first {width}x{height}, at "
            f"{self._fps:g} fps",
            width=width,
            height=height,
            clock=SourceClock.MEDIA,
            frame_rate=self._fps,
            frame_count=len(self._names),
        )


def _bytes_of(file: OpenFile, most: int) -> bytes:
    if file.size > most:
        raise SourceError(
            f"image {file.path}: expected at most {most} bytes, which sources.max_pixels makes, "
            f"found {file.size}; make the picture smaller, or raise the limit"
        )
    try:
        with Path(file.name).open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        raise SourceError(f"image {file.path}: expected to read it, found {error}") from error
