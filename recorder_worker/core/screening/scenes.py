"""What a film shows, in order, by the session's own time: pictures, and cards for what is missing.

Nothing here knows how long a card stays, or how a film is written: core/screening/exposures.py and
the film's writer do.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    FormatError,
    UnsupportedError,
)
from recorder_worker.core.frames.playback import DecodedFrame, FrameDecoder
from recorder_worker.core.printable import printable
from recorder_worker.core.reading.checked_chunk import checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, GapRecord
from recorder_worker.core.screening.extent import Extent
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader


class CardKind(StrEnum):
    """Why there is a card."""

    GAP = "gap"
    DAMAGED = "damaged"
    UNPLAYABLE = "unplayable"
    NOT_VERIFIED = "not verified"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """In place of pictures: session time [t0_ns, t1_ns), the wall clock at both ends, and why.

    `reason` is one word or a few, `detail` a sentence; both can be printed as they are.
    """

    kind: CardKind
    t0_ns: int
    t1_ns: int
    wall0_ns: int
    wall1_ns: int
    reason: str
    detail: str = ""
    lost_units: int = 0


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """From session time `t_ns` on, this frame. Its picture is valid until the next is asked for.

    `wall_ns` is the wall clock at `t_ns`. `cut`: what came before it was a card, or nothing.
    """

    t_ns: int
    wall_ns: int
    frame: DecodedFrame
    cut: bool


Scene = Shot | Card


def scenes(
    recording: RecordingReader,
    extent: Extent,
    cipher: SessionCipher | None = None,
    *,
    damaged_too: bool = False,
) -> Iterator[Scene]:
    """Everything that a film of a part of a recording shows.

    Args:
        recording: where the chunks are.
        extent: the part.
        cipher: opens the chunks of an encrypted session.
        damaged_too: a chunk that is damaged or missing becomes a card; else it is an error.

    Raises:
        BlobDamagedError, BlobMissingError: a chunk is not the one that was recorded.
        RefusedError: a chunk is encrypted and no cipher is given.
        RecorderError: the recording cannot be read.
    """
    run = _Run(recording, extent, cipher, damaged_too=damaged_too)
    for data in recording_records(recording):
        record = decode_record(data)
        if record.index > extent.last_index:
            break
        if record.index < extent.decode_index:
            continue
        if isinstance(record, GapRecord):
            yield from run.gap(record)
        elif isinstance(record, ChunkRecord):
            yield from run.chunk(record)
    yield from run.rest()


class _Run:
    """One pass over the records of an extent."""

    def __init__(
        self,
        recording: RecordingReader,
        extent: Extent,
        cipher: SessionCipher | None,
        *,
        damaged_too: bool,
    ) -> None:
        self._recording = recording
        self._extent = extent
        self._cipher = cipher
        self._damaged_too = damaged_too
        self._decoder: FrameDecoder | None = None  # None: only a keyframe can be shown
        self._before: DecodedFrame | None = None  # the newest frame before the extent, a copy
        self._waiting: Card | None = None  # a card that may yet grow
        self._cut = True

    def gap(self, record: GapRecord) -> Iterator[Scene]:
        self._decoder = self._before = None
        reason = record.reason.value.replace("_", " ")
        yield from self._card(CardKind.GAP, record, reason, record.detail, record.span.unit_count)

    def chunk(self, record: ChunkRecord) -> Iterator[Scene]:
        if record.keyframe:
            self._decoder = FrameDecoder()
        if self._decoder is None:
            yield from self._card(
                CardKind.UNPLAYABLE,
                record,
                "cannot be decoded",
                "what follows builds on pictures that are missing",
            )
            return
        try:
            yield from self._frames(record, self._decoder)
        except UnsupportedError:
            raise
        except (BlobDamagedError, BlobMissingError, FormatError) as error:
            self._decoder = self._before = None
            if not self._damaged_too:
                raise
            yield from self._card(
                CardKind.DAMAGED, record, f"{chunk_name(record)} was changed", str(error)
            )

    def rest(self) -> Iterator[Scene]:
        """What is still to be shown at the end."""
        yield from self._flush()
        yield from self._opening()

    def _frames(self, record: ChunkRecord, decoder: FrameDecoder) -> Iterator[Scene]:
        """The frames of a chunk that lie in the extent."""
        begin_ns, end_ns = self._extent.begin_ns, self._extent.end_ns
        shown_ns = max(record.span.t0_ns, begin_ns)  # from when on its first frame stands alone
        for piece in checked_plain(self._recording, record, self._cipher):
            for frame in decoder.feed(piece):
                if frame.t_ns >= end_ns:
                    continue  # the digest of the plain bytes is held at their end
                if frame.t_ns <= begin_ns and record.span.t0_ns < begin_ns:
                    self._before = _copied(frame)
                    continue
                yield from self._opening()
                yield from self._shot(frame, shown_ns if self._cut else frame.t_ns)
        decoder.finish()

    def _opening(self) -> Iterator[Scene]:
        """The frame that was on the screen when the extent begins."""
        frame, self._before = self._before, None
        if frame is not None:
            yield from self._shot(frame, self._extent.begin_ns)

    def _shot(self, frame: DecodedFrame, t_ns: int) -> Iterator[Scene]:
        yield from self._flush()
        cut, self._cut = self._cut, False
        wall_ns = frame.wall_ns + t_ns - frame.t_ns
        yield Shot(t_ns=t_ns, wall_ns=wall_ns, frame=frame, cut=cut)

    def _card(
        self,
        kind: CardKind,
        record: ChunkRecord | GapRecord,
        reason: str,
        detail: str,
        lost_units: int = 0,
    ) -> Iterator[Scene]:
        """A card of a span; those of chunks that build on the same missing pictures are one."""
        if record.index < self._extent.first_index:
            return
        span = record.span
        yield from self._opening()
        card = Card(
            kind=kind,
            t0_ns=span.t0_ns,
            t1_ns=span.t1_ns,
            wall0_ns=span.wall0_ns,
            wall1_ns=span.wall1_ns,
            reason=printable(reason),
            detail=printable(detail),
            lost_units=lost_units,
        )
        before = self._waiting
        if before is not None and before.kind is kind is CardKind.UNPLAYABLE:
            self._waiting = msgspec.structs.replace(
                before, t1_ns=card.t1_ns, wall1_ns=card.wall1_ns
            )
            return
        yield from self._flush()
        self._waiting = card
        self._cut = True

    def _flush(self) -> Iterator[Scene]:
        card, self._waiting = self._waiting, None
        if card is not None:
            yield card


def _copied(frame: DecodedFrame) -> DecodedFrame:
    return msgspec.structs.replace(frame, picture=frame.picture.copy())
