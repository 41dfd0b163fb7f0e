"""Segments of frames: what one holds, and when it is full."""

from __future__ import annotations

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.keyframes import KeyframePolicy, KeyframeState
from recorder_worker.core.model import Cursor, Mask, Span
from recorder_worker.ports import Clock, Frame
from recorder_worker.stages.capture.one_at_a_time import turn
from recorder_worker.stages.capture.segments.items import Segment
from recorder_worker.stages.capture.segments.spool import (
    Content,
    SegmentLimits,
    SegmentStore,
    Spool,
)


class SegmentWriter:
    """Collects frames from the cursor on and makes segments of them.

    With a `cipher` they are encrypted before they reach the store.
    """

    def __init__(
        self,
        *,
        store: SegmentStore,
        session_id: str,
        clock: Clock,
        cursor: Cursor,
        limits: SegmentLimits,
        keyframes: KeyframePolicy,
        masks: tuple[Mask, ...],
        cipher: SessionCipher | None = None,
    ) -> None:
        self._spool = Spool(
            store=store,
            session_id=session_id,
            clock=clock,
            cursor=cursor,
            level=limits.level,
            cipher=cipher,
        )
        self._limits = limits
        self._policy = keyframes
        self._masks = masks
        self._keyframes = KeyframeState()
        self._encoder = FrameEncoder()
        self._shape: tuple[int, ...] = ()
        self._pieces: list[memoryview] = []
        self._plain_size = 0
        self._raw_size = 0
        self._count = 0
        self._keyframe = False

    @property
    def cursor(self) -> Cursor:
        """Where the segment being filled begins."""
        return self._spool.cursor

    @property
    def masks(self) -> tuple[Mask, ...]:
        """What is blacked out in every frame."""
        return self._masks

    @property
    def newest_unit(self) -> int:
        """The unit of the frame that was added last."""
        return self.cursor.unit + self._count - 1

    @property
    def count(self) -> int:
        """How many frames are in the segment being filled."""
        return self._count

    def mask(self, masks: tuple[Mask, ...]) -> None:
        """Black out other rectangles from the next frame on, which is a keyframe.

        No frame may be in the segment being filled: `close` comes before.
        """
        self._masks = masks
        self._keyframes = self._keyframes.forced()

    def write_to(self, store: SegmentStore, keyframes: KeyframePolicy) -> None:
        """From the next segment on, go elsewhere, with keyframes by another policy."""
        self._spool.store = store
        self._policy = keyframes

    def begin_with_keyframe(self) -> None:
        """Whatever the policy says, the next segment begins with a keyframe."""
        self._keyframes = self._keyframes.forced()

    def full(self, t_ns: int) -> bool:
        """Whether a frame at session time `t_ns` belongs to the next segment."""
        return self._count > 0 and (
            t_ns - self.cursor.t_ns >= self._limits.duration_ns
            or self._plain_size >= self._limits.plain_size
        )

    def fits(self, frame: Frame, t_ns: int) -> bool:
        """Whether a frame can go into the segment being filled, and belongs there."""
        resized = self._count > 0 and frame.picture.shape != self._shape
        return not resized and not self.full(t_ns)

    def add(self, frame: Frame, t_ns: int) -> None:
        """Encode a frame, which `fits`, into the segment being filled.

        What a frame says of its changes is against the one read before: no frame that says it may
        be left out between two that are added, but for a gap and its `restart`.
        """
        wall_ns = self._spool.stamp()
        first = self._count == 0
        keyframe = first and self._keyframes.due(self._policy, t_ns)
        with turn(frame.picture, None if keyframe else frame.changed):
            encoded = self._encoder.encode(
                frame.picture,
                unit=self.cursor.unit + self._count,
                t_ns=t_ns,
                wall_ns=wall_ns,
                keyframe=keyframe,
                changed=frame.changed,
                pointer=frame.pointer,
                masks=self._masks,
            )
        if first:
            self._keyframe = encoded.keyframe
        self._shape = frame.picture.shape
        self._pieces.append(encoded.data)
        self._plain_size += len(encoded.data)
        self._raw_size += frame.picture.nbytes
        self._count += 1

    def close(self, t1_ns: int) -> Segment | None:
        """Make the segment durable; None where it has no frame.

        Raises:
            StoreError: it could not be stored. The frames are kept: `close` may be repeated.
        """
        if not self._count:
            return None
        content = Content(
            plain=self._pieces,
            unit_count=self._count,
            raw_size=self._raw_size,
            keyframe=self._keyframe,
        )
        segment = self._spool.put(content, t1_ns)
        self._keyframes = self._keyframes.after(
            keyframe=segment.keyframe,
            t0_ns=segment.span.t0_ns,
            plain_size=segment.plain_size,
            stored_size=segment.stored_size,
        )
        self._empty()
        return segment

    def abandon(self, t1_ns: int) -> Span:
        """Give up the frames that could not be stored: the span that is missing now."""
        span = self._spool.pass_by(self._count, t1_ns)
        self.restart(self.cursor)
        return span

    def restart(self, cursor: Cursor) -> None:
        """Go on from behind a gap, with a keyframe."""
        self._keyframes = self._keyframes.forced()
        self._spool.cursor = cursor
        self._empty()

    def _empty(self) -> None:
        self._pieces = []
        self._plain_size = 0
        self._raw_size = 0
        self._count = 0
        self._keyframe = False
