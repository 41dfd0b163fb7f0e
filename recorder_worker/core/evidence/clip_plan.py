"""What a clip shows: from the records of a session and a window of time to the leaves it needs.

Shown are OPEN, every EPOCH (so that every key can be followed), the last leaf, and one range of
leaves: from the keyframe that the first wanted chunk is decoded from to the last wanted chunk or
gap. Wanted is what the window touches; so a clip begins and ends with whole chunks.

* A chunk names its keyframe in `keyframe_index`. Behind a dead letter that may be the gap itself
  or a chunk before it (docs/format.md, rule 5); the range begins at the earliest that any chunk in
  it names, so that whoever has the clip can follow every name.
* A mark stands before the chunk that holds its moment. The range is widened to marks in the window
  that only such leaves separate from it: never over a further chunk or gap.
* The last leaf is the SEAL. Of a session that is not sealed it would show a chunk that nobody asked
  for; the clip is then of the tree that ends with the newest BEAT or EPOCH, or with the range.

The records are read a few times over and never kept: what is held grows with the epochs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from recorder_worker.core.errors import FormatError, RefusedError
from recorder_worker.core.merkle.partial_tree import LeafRange, ranges_of
from recorder_worker.core.model import Span
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    ChunkRecord,
    EpochRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.time_words import time_words

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Records = Callable[[], Iterable[bytes]]
"""Gives the records from the first on, as often as it is called."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The time that is wanted: [begin, end) in ns of session time, or of the wall clock."""

    begin_ns: int
    end_ns: int
    wall: bool = False

    def of_span(self, span: Span) -> tuple[int, int]:
        """Begin and end of a span by the clock of this window."""
        return (span.wall0_ns, span.wall1_ns) if self.wall else (span.t0_ns, span.t1_ns)

    def touches(self, span: Span) -> bool:
        """Whether some of the span lies in the window; one without length counts where it is."""
        begin_ns, end_ns = self.of_span(span)
        if begin_ns == end_ns:
            return self.begin_ns <= begin_ns < self.end_ns
        return begin_ns < self.end_ns and self.begin_ns < end_ns

    def words(self, time_ns: int) -> str:
        """A time by the clock of this window, as it is given back."""
        return time_words(time_ns, wall=self.wall)

    def holds(self, mark: MarkRecord) -> bool:
        """Whether the moment of a mark lies in the window."""
        return self.begin_ns <= (mark.wall_ns if self.wall else mark.t_ns) < self.end_ns


class ClipPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The leaves that a clip shows of a tree of `size` leaves.

    Attributes:
        size: of the tree; where the session is not sealed it may be smaller than the newest.
        clip: the range of leaves that was asked for.
        ranges: all leaves that are shown: `clip`, OPEN, every EPOCH and the last one.
        note_sizes: the checkpoints to take, ascending: the first, those that close epochs, the
            last; the last leaf of each is shown.
        t0_ns, t1_ns: session time that the chunks and gaps of the range cover.
    """

    session_id: str
    size: int
    sealed: bool
    clip: LeafRange
    ranges: tuple[LeafRange, ...]
    note_sizes: tuple[int, ...]
    t0_ns: int
    t1_ns: int
    chunk_count: int
    gap_count: int
    mark_count: int


def plan_clip(records: Records, size: int, window: Window) -> ClipPlan:
    """Find the leaves of a clip in the first `size` records.

    Raises:
        RefusedError: the window is empty, or reaches out of the session.
        FormatError: the records are not those of a session, in order.
    """
    if window.begin_ns >= window.end_ns:
        raise _refused("from", "a time before `to`", window.words(window.begin_ns))
    found = _Search(window)
    for _, record in numbered(records(), size):
        found.see(record)
    clip = found.range()
    size = max(found.quiet_size, clip.end)
    while (survey := _Survey(records, size, clip)).lowest < clip.begin:
        clip = LeafRange(survey.lowest, clip.end)
    epochs = [index for index in found.epochs if index < size]
    shown = {0, size - 1, *epochs, *range(clip.begin, clip.end)}
    return ClipPlan(
        session_id=found.session_id,
        size=size,
        sealed=found.sealed,
        clip=clip,
        ranges=ranges_of(shown),
        note_sizes=tuple(sorted({1, size, *(index + 1 for index in epochs)})),
        t0_ns=survey.t0_ns,
        t1_ns=survey.t1_ns,
        chunk_count=survey.chunk_count,
        gap_count=survey.gap_count,
        mark_count=survey.mark_count,
    )


def numbered(records: Iterable[bytes], size: int) -> Iterator[tuple[bytes, AnyRecord]]:
    """The first `size` records, as bytes and decoded; each says its own place.

    Raises:
        FormatError: one is of another place, the first is no OPEN, or there are fewer.
    """
    count = 0
    for count, data in enumerate(records, start=1):
        record = decode_record(data)
        if record.index != count - 1 or isinstance(record, OpenRecord) is not (count == 1):
            raise FormatError(
                f"record {count - 1}: expected {'OPEN' if count == 1 else 'a later record'} of "
                f"this index, found {type(record).__name__} of index {record.index}; "
                "see what `recorder verify` says of this recording"
            )
        yield data, record
        if count == size:
            return
    raise FormatError(
        f"expected {size} records under the newest checkpoint, found {count}; "
        "see what `recorder verify` says of this recording"
    )


class _Search:
    """One pass: what the window touches, where the epochs turn, and how far the session goes."""

    def __init__(self, window: Window) -> None:
        self.session_id = ""
        self.sealed = False
        self.epochs: list[int] = []
        self.quiet_size = 0  # of the newest tree whose last leaf says nothing of any chunk
        self._window = window
        self._session_begin_ns = 0
        self._session_end_ns = 0
        self._begin: int | None = None
        self._end = 0
        self._lead: int | None = None  # the first wanted mark behind the newest span
        self._tail = False  # no other span stands behind the last wanted one

    def see(self, record: AnyRecord) -> None:
        if isinstance(record, SealRecord | EpochRecord | BeatRecord):
            self.quiet_size = record.index + 1
        match record:
            case OpenRecord():
                self.session_id = record.session_id
                self._session_begin_ns = record.wall_ns if self._window.wall else 0
                self._session_end_ns = self._session_begin_ns
            case EpochRecord():
                self.epochs.append(record.index)
            case MarkRecord() if self._window.holds(record):
                self._mark(record.index)
            case ChunkRecord() | GapRecord():
                self._span(record)
            case SealRecord():
                self.sealed = True
            case _:
                pass

    def _mark(self, index: int) -> None:
        if self._tail:
            self._end = index + 1
        elif self._lead is None:
            self._lead = index

    def _span(self, record: ChunkRecord | GapRecord) -> None:
        end_ns = self._window.of_span(record.span)[1]
        self._session_end_ns = max(self._session_end_ns, end_ns)
        self._tail = self._window.touches(record.span)
        if self._tail:
            if self._begin is None:
                self._begin = record.index if self._lead is None else self._lead
            self._end = record.index + 1
        self._lead = None

    def range(self) -> LeafRange:
        """What the window touches.

        Raises:
            RefusedError: it reaches out of the session.
        """
        window = self._window
        if window.begin_ns < self._session_begin_ns:
            expected = f"a time from {window.words(self._session_begin_ns)} on, where it begins"
            raise _refused("from", expected, window.words(window.begin_ns))
        if window.end_ns > self._session_end_ns:
            expected = f"a time up to {window.words(self._session_end_ns)}, where it ends"
            raise _refused("to", expected, window.words(window.end_ns))
        if self._begin is None:
            raise _refused(
                "from",
                "a time that a chunk or a gap covers",
                window.words(window.begin_ns),
            )
        return LeafRange(self._begin, self._end)


class _Survey:
    """One pass over a range: what is in it, and the earliest keyframe that it needs."""

    def __init__(self, records: Records, size: int, clip: LeafRange) -> None:
        self.lowest = clip.begin
        self.chunk_count = self.gap_count = self.mark_count = 0
        spans: list[Span] = []
        for _, record in numbered(records(), size):
            if record.index not in clip:
                continue
            if isinstance(record, ChunkRecord):
                self.chunk_count += 1
                self.lowest = min(self.lowest, max(1, record.keyframe_index))
            self.gap_count += isinstance(record, GapRecord)
            self.mark_count += isinstance(record, MarkRecord)
            if isinstance(record, ChunkRecord | GapRecord):
                spans = [*spans[:1], record.span]
        self.t0_ns, self.t1_ns = spans[0].t0_ns, spans[-1].t1_ns


def _refused(field: str, expected: str, got: str) -> RefusedError:
    return RefusedError(
        field=field,
        expected=expected,
        got=got,
        hint="a clip is cut out of what was recorded; choose a time inside of the session",
    )
