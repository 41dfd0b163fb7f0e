"""Segments: about a second of encoded frames, durable before anyone is told of them."""

from __future__ import annotations

from typing import Protocol

import msgspec
import zstandard
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher, plain_hasher
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.keyframes import KeyframePolicy, KeyframeState
from recorder_worker.core.model import Cursor, Mask, Span
from recorder_worker.ports import Clock, Frame
from recorder_worker.stages.capture.segments.items import Segment
from recorder_worker.stages.payload_writer import segment_place


class SegmentLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When a segment is full, in session time and bytes, and how hard the spool compresses."""

    duration_ns: int
    plain_size: int
    level: int


class SegmentStore(Protocol):
    """Where segments go."""

    def put(self, key: str, data: bytes) -> None:
        """As `BlobStore.put`."""
        ...


class UnitWriter(Protocol):
    """Makes segments of units, from a cursor on."""

    cursor: Cursor

    @property
    def count(self) -> int:
        """How many units are in the segment being filled."""
        ...

    def close(self, t1_ns: int) -> Segment | None:
        """Make the segment durable, up to session time `t1_ns`; None where it has no unit.

        Raises:
            StoreError: it could not be stored. The units are kept: `close` may be repeated.
        """
        ...

    def abandon(self, t1_ns: int) -> Span:
        """Give up the units that could not be stored: the span that is missing now."""
        ...

    def restart(self, cursor: Cursor) -> None:
        """Go on from behind a gap."""
        ...


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
        self.cursor = cursor
        self._cipher = cipher
        self._store = store
        self._session_id = session_id
        self._clock = clock
        self._limits = limits
        self._policy = keyframes
        self._masks = masks
        self._keyframes = KeyframeState()
        self._encoder = FrameEncoder()
        self._shape: tuple[int, ...] = ()
        self._plain = bytearray()
        self._raw_size = 0
        self._count = 0
        self._keyframe = False

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
        self._store = store
        self._policy = keyframes

    def begin_with_keyframe(self) -> None:
        """Whatever the policy says, the next segment begins with a keyframe."""
        self._keyframes = self._keyframes.forced()

    def full(self, t_ns: int) -> bool:
        """Whether a frame at session time `t_ns` belongs to the next segment."""
        return self._count > 0 and (
            t_ns - self.cursor.t_ns >= self._limits.duration_ns
            or len(self._plain) >= self._limits.plain_size
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
        wall_ns = self._clock.wall_ns()
        first = self._count == 0
        if first and self.cursor.wall_ns == 0:
            self.cursor = msgspec.structs.replace(self.cursor, wall_ns=wall_ns)
        encoded = self._encoder.encode(
            frame.picture,
            unit=self.cursor.unit + self._count,
            t_ns=t_ns,
            wall_ns=wall_ns,
            keyframe=first and self._keyframes.due(self._policy, t_ns),
            changed=frame.changed,
            pointer=frame.pointer,
            masks=self._masks,
        )
        if first:
            self._keyframe = encoded.keyframe
        self._shape = frame.picture.shape
        self._plain += encoded.data
        self._raw_size += frame.picture.nbytes
        self._count += 1

    def close(self, t1_ns: int) -> Segment | None:
        """Make the segment durable; None where it has no frame.

        A crash before the put returns leaves no segment, one after it an orphan that no event
        names: both are the gap that the next lease holder writes.

        Raises:
            StoreError: it could not be stored. The frames are kept: `close` may be repeated.
        """
        if not self._count:
            return None
        plain = self._plain
        stored = zstandard.ZstdCompressor(level=self._limits.level).compress(plain)
        if self._cipher is not None:
            stored = b"".join(self._cipher.seal(segment_place(self.cursor.unit), stored))
        digest = plain_hasher(self._cipher).update(plain).hexdigest()
        name = keys.segment(self.cursor.unit, digest)
        self._store.put(keys.blob_key(self._session_id, name), stored)
        span, cursor = self._covered(t1_ns)
        segment = Segment(
            cursor=cursor,
            span=span,
            keyframe=self._keyframe,
            name=name,
            raw_size=self._raw_size,
            plain_size=len(plain),
            plain_blake3=digest,
            stored_size=len(stored),
            stored_blake3=blake3(stored).hexdigest(),
        )
        self._keyframes = self._keyframes.after(
            keyframe=self._keyframe,
            t0_ns=span.t0_ns,
            plain_size=len(plain),
            stored_size=len(stored),
        )
        self._begin(cursor)
        return segment

    def abandon(self, t1_ns: int) -> Span:
        """Give up the frames that could not be stored: the span that is missing now."""
        span, cursor = self._covered(t1_ns)
        self.restart(cursor)
        return span

    def restart(self, cursor: Cursor) -> None:
        """Go on from behind a gap, with a keyframe."""
        self._keyframes = self._keyframes.forced()
        self._begin(cursor)

    def _covered(self, t1_ns: int) -> tuple[Span, Cursor]:
        wall_ns = self._clock.wall_ns()
        span = Span(
            first_unit=self.cursor.unit,
            unit_count=self._count,
            t0_ns=self.cursor.t_ns,
            t1_ns=t1_ns,
            wall0_ns=self.cursor.wall_ns,
            wall1_ns=wall_ns,
        )
        cursor = Cursor(
            unit=self.cursor.unit + self._count,
            t_ns=t1_ns,
            wall_ns=wall_ns,
            boot_ns=self._clock.monotonic_ns(),
        )
        return span, cursor

    def _begin(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._plain = bytearray()
        self._raw_size = 0
        self._count = 0
        self._keyframe = False
