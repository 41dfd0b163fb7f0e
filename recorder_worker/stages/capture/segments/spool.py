"""The spool: segments are about a second of units, durable before anyone is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import msgspec
from blake3 import blake3
from zstandard import ZstdCompressor

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher, plain_hasher
from recorder_worker.core.model import Cursor, Span
from recorder_worker.ports import Clock
from recorder_worker.stages.capture.segments.items import Segment
from recorder_worker.stages.compressors import Compressors
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

    @property
    def cursor(self) -> Cursor:
        """Where the segment being filled begins."""
        ...

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


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment holds, in pieces. `raw_size`: of its pictures or samples, in bytes."""

    plain: Sequence[bytes | memoryview]
    unit_count: int
    raw_size: int
    keyframe: bool


class Spool:
    """Makes segments of a session durable, one behind the other, whatever is in them.

    With a `cipher` they are encrypted before they reach the store.

    Attributes:
        cursor: where the next one begins.
        store: where it goes.
    """

    def __init__(
        self,
        *,
        store: SegmentStore,
        session_id: str,
        clock: Clock,
        cursor: Cursor,
        level: int,
        cipher: SessionCipher | None,
    ) -> None:
        self.store = store
        self.cursor = cursor
        self._session_id = session_id
        self._clock = clock
        self._level = level
        self._cipher = cipher

    def stamp(self) -> int:
        """The wall clock's time of a unit. A session's first one says when it began, too."""
        wall_ns = self._clock.wall_ns()
        if self.cursor.wall_ns == 0:
            self.cursor = msgspec.structs.replace(self.cursor, wall_ns=wall_ns)
        return wall_ns

    def put(self, content: Content, t1_ns: int) -> Segment:
        """Make a segment durable, up to session time `t1_ns`; the next one begins behind it.

        A crash before the put returns leaves no segment, one after it an orphan that no event
        names: both are the gap that the next lease holder writes.

        Raises:
            StoreError: it could not be stored; the cursor is where it was.
        """
        plain_size = sum(len(piece) for piece in content.plain)
        stored = self._compressed(content.plain, plain_size)
        if self._cipher is not None:
            stored = b"".join(self._cipher.seal(segment_place(self.cursor.unit), stored))
        hasher = plain_hasher(self._cipher)
        for piece in content.plain:
            hasher.update(piece)
        digest = hasher.hexdigest()
        name = keys.segment(self.cursor.unit, digest)
        self.store.put(keys.blob_key(self._session_id, name), stored)
        span = self.pass_by(content.unit_count, t1_ns)
        return Segment(
            cursor=self.cursor,
            span=span,
            keyframe=content.keyframe,
            name=name,
            raw_size=content.raw_size,
            plain_size=plain_size,
            plain_blake3=digest,
            stored_size=len(stored),
            stored_blake3=blake3(stored).hexdigest(),
        )

    def _compressed(self, plain: Sequence[bytes | memoryview], size: int) -> bytes:
        with _compressors(self._level).lend() as compressor:
            stream = compressor.compressobj(size=size)
            return b"".join([*(stream.compress(piece) for piece in plain), stream.flush()])

    def pass_by(self, unit_count: int, t1_ns: int) -> Span:
        """The span of so many units, up to session time `t1_ns`; go on behind it."""
        begin, wall_ns = self.cursor, self._clock.wall_ns()
        self.cursor = Cursor(
            unit=begin.unit + unit_count,
            t_ns=t1_ns,
            wall_ns=wall_ns,
            boot_ns=self._clock.monotonic_ns(),
        )
        return Span(
            first_unit=begin.unit,
            unit_count=unit_count,
            t0_ns=begin.t_ns,
            t1_ns=t1_ns,
            wall0_ns=begin.wall_ns,
            wall1_ns=wall_ns,
        )


@lru_cache(maxsize=2)
def _compressors(level: int) -> Compressors:
    return Compressors(lambda: ZstdCompressor(level=level))
