"""Any picture of a recording, by its unit or by its time, without playing what lies before it.

The records are read once, and a short entry is kept for each chunk and gap: some hundred bytes. A
picture then costs the chunks from its keyframe on, of which no other picture is drawn
(frames/seeking.py). Stored bytes are compared with their records; signatures are not looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError, RefusedError
from recorder_worker.core.frames.playback import DecodedFrame, scan_headers
from recorder_worker.core.frames.seeking import FrameSeeker
from recorder_worker.core.model import Span
from recorder_worker.core.reading.checked_chunk import checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, GapRecord
from recorder_worker.core.time_words import time_words
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader

PICTURES = 0
"""The stream that holds pictures."""


class PictureFinder:
    """Finds pictures of one recording. Not for several threads.

    Of an unsealed recording it knows what was in its records when it was made.

    Raises:
        FormatError: a record is not of the format.
    """

    def __init__(self, recording: RecordingReader, cipher: SessionCipher | None = None) -> None:
        self._recording = recording
        self._cipher = cipher
        self._records: list[bytes] = []
        self._begins_ns: list[int] = []
        self._units: list[int] = []
        for data in recording_records(recording):
            record = decode_record(data)
            if isinstance(record, ChunkRecord | GapRecord) and record.span.stream == PICTURES:
                self._records.append(data)
                self._begins_ns.append(record.span.t0_ns)
                self._units.append(record.span.first_unit)

    def at_time(self, t_ns: int) -> DecodedFrame:
        """What was on the screen at a session time, in ns: the newest frame by then.

        Behind the begin of a chunk and before its first frame that is its first frame.

        Raises:
            RefusedError: nothing was recorded at that time.
            RecorderError: a chunk is damaged, or cannot be read.
        """
        place = self.place_at(t_ns)
        unit = self._chunk(place).span.first_unit
        for header in scan_headers(self._plain(self._chunk(place))):
            if header.t_ns > t_ns:
                break
            unit = header.unit
        return self._picture(place, unit)

    def at_unit(self, unit: int) -> DecodedFrame:
        """The frame of this number. Raises as `at_time`."""
        return self._picture(self.place_of(unit), unit)

    def place_at(self, t_ns: int) -> int:
        """The place of the chunk that holds a session time. Raises RefusedError."""
        return self._place(self._begins_ns, t_ns, lambda span: (span.t0_ns, span.t1_ns), "--at")

    def place_of(self, unit: int) -> int:
        """The place of the chunk that holds a unit. Raises RefusedError."""

        def units(span: Span) -> tuple[int, int]:
            return span.first_unit, span.first_unit + span.unit_count

        return self._place(self._units, unit, units, "--unit")

    def _place(
        self, begins: list[int], wanted: int, reach: Callable[[Span], tuple[int, int]], what: str
    ) -> int:
        """The place of the chunk that holds a time or a unit."""
        place = bisect_right(begins, wanted) - 1
        record = decode_record(self._records[place]) if place >= 0 else None
        got = time_words(wanted) if what == "--at" else str(wanted)
        if isinstance(record, GapRecord) and wanted < reach(record.span)[1]:
            raise _refused(
                what,
                "one that was recorded",
                f"{got}, in a gap from {time_words(record.span.t0_ns)} to "
                f"{time_words(record.span.t1_ns)} ({record.reason.value})",
            )
        if not isinstance(record, ChunkRecord) or wanted >= reach(record.span)[1]:
            raise _refused(what, "one inside of what was recorded", got)
        return place

    def _chunk(self, place: int) -> ChunkRecord:
        record = decode_record(self._records[place])
        assert isinstance(record, ChunkRecord)  # noqa: S101  (no other place is given)
        return record

    def _picture(self, place: int, unit: int) -> DecodedFrame:
        seeker = FrameSeeker(unit)
        for record in self.group(place):
            for piece in self._plain(record):
                if frame := seeker.feed(piece):
                    return frame
        raise FormatError(
            f"{chunk_name(self._chunk(place))}: expected unit {unit} in it, found no such frame"
        )

    def group(self, place: int) -> list[ChunkRecord]:
        """The chunks from a keyframe on that the one at a place builds on, and itself.

        Raises:
            FormatError: one of them is not there.
        """
        last = self._chunk(place)
        group = [last]
        while not group[-1].keyframe:
            place -= 1
            before = decode_record(self._records[place]) if place >= 0 else None
            if not isinstance(before, ChunkRecord) or before.index < last.keyframe_index:
                raise FormatError(
                    f"{chunk_name(last)}: cannot be shown: it builds on chunk "
                    f"{last.keyframe_index}, which is not there; `recorder verify` says more"
                )
            group.append(before)
        group.reverse()
        return group

    def _plain(self, record: ChunkRecord) -> Iterator[bytes]:
        return checked_plain(self._recording, record, self._cipher, whole=False)


def _refused(field: str, expected: str, got: str) -> RefusedError:
    return RefusedError(
        field=field, expected=expected, got=got, hint="`recorder verify` prints times and gaps"
    )
