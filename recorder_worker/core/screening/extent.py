"""Which part of a recording a film shows, found in its records.

A window of the wall clock is turned into session time by the span that each end of it lies in. The
records are read and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from recorder_worker.core.errors import FormatError, RefusedError, UnsupportedError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.model import Span
from recorder_worker.core.reading.picture_finder import PICTURES
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, GapRecord, OpenRecord

Records = Callable[[], Iterable[bytes]]
"""Gives the records from the first on, as often as it is called."""


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a session: session time [begin_ns, end_ns), and the leaves that show it.

    Attributes:
        session_id: the session.
        wall0_ns, wall1_ns: the wall clock at both ends.
        decode_index: the chunk that the first picture is decoded from.
        first_index, last_index: the first and the last leaf that is shown.
        frame_rate: frames a second that OPEN speaks of; 0: it does not.
        profile: what OPEN calls the recording's profile.
    """

    session_id: str
    begin_ns: int
    end_ns: int
    wall0_ns: int
    wall1_ns: int
    decode_index: int
    first_index: int
    last_index: int
    frame_rate: float
    profile: str


def extent_of(records: Records, window: Window | None = None) -> Extent:
    """What a film of a window shows; without one, all that was recorded.

    Raises:
        RefusedError: nothing was recorded, or the window reaches out of it.
        FormatError: the records are not of the format.
        UnsupportedError: a stream that is no stream of pictures.
    """
    found = _Search(window)
    for data in records():
        record = decode_record(data)
        if isinstance(record, OpenRecord):
            found.opened = record
        elif isinstance(record, ChunkRecord | GapRecord):
            found.see(record)
    return found.extent()


class _Search:
    def __init__(self, window: Window | None) -> None:
        self.opened: OpenRecord | None = None
        self._window = window
        self._reach: list[tuple[int, int]] = []  # of the first span and of the newest
        self._first: ChunkRecord | GapRecord | None = None
        self._last: ChunkRecord | GapRecord | None = None

    def see(self, record: ChunkRecord | GapRecord) -> None:
        if record.span.stream != PICTURES:
            raise UnsupportedError(
                f"record {record.index}: expected stream {PICTURES} alone, which holds pictures, "
                f"found stream {record.span.stream}; a film of it cannot be made here"
            )
        window = self._window
        span = record.span
        reach = window.of_span(span) if window is not None else (span.t0_ns, span.t1_ns)
        self._reach = [*self._reach[:1], reach]
        if window is None or window.touches(span):
            self._first = self._first or record
            self._last = record

    def extent(self) -> Extent:
        opened = self.opened
        if opened is None:
            raise FormatError("expected an OPEN record, found none; see `recorder verify`")
        if not self._reach:
            raise _refused("DIR", "a recording with at least one chunk or gap", "one with none")
        window = self._window
        if window is not None:
            self._check(window)
        first, last = self._first, self._last
        if first is None or last is None:
            raise _refused("--from", "a time that a chunk or a gap covers", "another")
        begin_ns, wall0_ns = _begin(first.span, window)
        end_ns, wall1_ns = _end(last.span, window)
        return Extent(
            session_id=opened.session_id,
            begin_ns=begin_ns,
            end_ns=end_ns,
            wall0_ns=wall0_ns,
            wall1_ns=wall1_ns,
            decode_index=first.keyframe_index if isinstance(first, ChunkRecord) else first.index,
            first_index=first.index,
            last_index=last.index,
            frame_rate=opened.frame_rate_mhz / 1000,
            profile=opened.profile,
        )

    def _check(self, window: Window) -> None:
        begin, end = window.words(window.begin_ns), window.words(window.end_ns)
        first_ns, last_ns = self._reach[0][0], self._reach[-1][1]
        if window.begin_ns >= window.end_ns:
            raise _refused("--from", f"a time before `--to`, {end}", begin)
        if window.begin_ns < first_ns:
            expected = f"a time from {window.words(first_ns)} on, where it begins"
            raise _refused("--from", expected, begin)
        if window.end_ns > last_ns:
            expected = f"a time up to {window.words(last_ns)}, where it ends"
            raise _refused("--to", expected, end)


def _begin(span: Span, window: Window | None) -> tuple[int, int]:
    return (span.t0_ns, span.wall0_ns) if window is None else _moment(span, window, window.begin_ns)


def _end(span: Span, window: Window | None) -> tuple[int, int]:
    return (span.t1_ns, span.wall1_ns) if window is None else _moment(span, window, window.end_ns)


def _moment(span: Span, window: Window, at_ns: int) -> tuple[int, int]:
    """Session time and wall clock of a moment of the window, held inside of a span."""
    times, walls = (span.t0_ns, span.t1_ns), (span.wall0_ns, span.wall1_ns)
    if window.wall:
        wall_ns = min(max(at_ns, walls[0]), walls[1])
        return between(wall_ns, walls, times), wall_ns
    t_ns = min(max(at_ns, times[0]), times[1])
    return t_ns, between(t_ns, times, walls)


def between(at: int, one: tuple[int, int], other: tuple[int, int]) -> int:
    """The place in a second interval that a place in a first one has, in proportion."""
    length = one[1] - one[0]
    if length <= 0:
        return other[0]
    return other[0] + (at - one[0]) * (other[1] - other[0]) // length


def _refused(field: str, expected: str, got: str) -> RefusedError:
    return RefusedError(
        field=field,
        expected=expected,
        got=got,
        hint="a film is made of what was recorded; `recorder verify` prints times and gaps",
    )
