"""Segments of packets: about a second of them, durable before anyone is told of them."""

from __future__ import annotations

import msgspec
import zstandard
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher, plain_hasher
from recorder_worker.core.errors import FormatError, SourceLostError
from recorder_worker.core.model import Cursor, Span
from recorder_worker.core.packets.fmp4 import MAX_UNITS, PieceTimes, pack_times
from recorder_worker.core.packets.fmp4_stream import scan_pieces
from recorder_worker.ports import BlobStore, Clock, Packet, PacketSource
from recorder_worker.stages.capture.segments.items import Segment
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.payload_writer import segment_place


class PacketWriter:
    """Collects packets from the cursor on and makes segments of them, as `SegmentWriter` of frames.

    `whole_groups`: a segment ends before a keyframe only, or at a limit; for sources that can be
    read again from there, so that whatever goes on with them goes on with a keyframe.
    """

    def __init__(
        self,
        *,
        store: BlobStore,
        session_id: str,
        clock: Clock,
        cursor: Cursor,
        limits: SegmentLimits,
        whole_groups: bool,
        cipher: SessionCipher | None = None,
    ) -> None:
        self.cursor = cursor
        self._cipher = cipher
        self._store = store
        self._session_id = session_id
        self._clock = clock
        self._limits = limits
        self._whole_groups = whole_groups
        self._source: PacketSource | None = None
        self._shift = 0
        self._packets: list[Packet] = []
        self._times: list[tuple[int, int]] = []
        self._late: list[Packet] = []
        self._heard: int | None = None
        self._size = 0
        self._keyframe = False

    @property
    def count(self) -> int:
        """How many units are in the segment being filled."""
        return len(self._times)

    def full(self, t_ns: int) -> bool:
        """Whether the segment being filled should wait no longer at session time `t_ns`."""
        lasts_ns = t_ns - self.cursor.t_ns
        return bool(self._times) and not self._whole_groups and lasts_ns >= self._limits.duration_ns

    def fits(self, packet: Packet, t_ns: int) -> bool:
        """Whether a packet of video can go into the segment being filled, and belongs there."""
        if not self._times:
            return True
        if self.count == MAX_UNITS or self._size >= self._limits.plain_size:
            return False
        lasts_ns = t_ns - self._times[0][0]
        if packet.keyframe:
            # Short groups share a segment; a long one's next keyframe waits for no other.
            return self._keyframe and lasts_ns < self._limits.duration_ns // 2
        return self._whole_groups or lasts_ns < self._limits.duration_ns

    def overfull(self) -> bool:
        """Whether sound has filled the segment, so that it waits for no more video."""
        return bool(self._times) and self._size >= self._limits.plain_size

    def add(self, packet: Packet, t_ns: int, source: PacketSource, shift: int) -> None:
        """Take a packet of video, which `fits`, and is of the same stretch as those before it."""
        wall_ns = self._clock.wall_ns()
        if not self._times:
            self._keyframe = packet.keyframe
            self._source, self._shift = source, shift
            if self.cursor.wall_ns == 0:
                self.cursor = msgspec.structs.replace(self.cursor, wall_ns=wall_ns)
        self._times.append((t_ns, wall_ns))
        self._keep(packet)

    def hear(self, packet: Packet) -> None:
        """Take a packet of sound; what comes before the video of its segment waits for it.

        Where its times step back it waits for the next segment: MP4 knows one direction. Sound that
        no picture follows is held up to the size of a segment.
        """
        if self._size >= self._limits.plain_size and not self._times:
            return
        if self._heard is not None and packet.dts <= self._heard:
            self._late.append(packet)
            self._size += len(packet.data)
            return
        self._heard = packet.dts
        self._keep(packet)

    def close(self, t1_ns: int) -> Segment | None:
        """Make the segment durable; None where it has no unit. As `SegmentWriter.close`.

        Raises:
            StoreError: it could not be stored. The packets are kept: `close` may be repeated.
            SourceLostError: the packets cannot be written as MP4.
        """
        if not self._times or self._source is None:
            return None
        plain, raw_size = self._piece(self._source)
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
            raw_size=raw_size,
            plain_size=len(plain),
            plain_blake3=digest,
            stored_size=len(stored),
            stored_blake3=blake3(stored).hexdigest(),
        )
        late = self._late
        self.restart(cursor)
        for packet in late:
            self.hear(packet)
        return segment

    def _piece(self, source: PacketSource) -> tuple[bytes, int]:
        """The bytes of the segment, and those of its samples. Raises SourceLostError."""
        head, body = source.piece(self._packets, self._shift)
        tick_num, tick_den = source.tick
        times = PieceTimes(
            first_unit=self.cursor.unit,
            shift=self._shift,
            tick_num=tick_num,
            tick_den=tick_den,
            times=tuple(self._times),
        )
        try:
            plain = (head if self._keyframe else b"") + pack_times(times) + body
            # Read as a verifier will: a piece that it would refuse must not become evidence.
            return plain, sum(piece.size for piece in scan_pieces((plain,)))
        except FormatError as error:
            raise SourceLostError(f"its packets make no piece of a recording: {error}") from error

    def abandon(self, t1_ns: int) -> Span:
        """Give up the units that could not be stored: the span that is missing now."""
        span, cursor = self._covered(t1_ns)
        self.restart(cursor)
        return span

    def restart(self, cursor: Cursor) -> None:
        """Go on from a cursor with an empty segment."""
        self.cursor = cursor
        self._forget()

    def drop(self) -> None:
        """Forget what is not durable: its source is going to be read again from the cursor."""
        self._forget()

    def _keep(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._size += len(packet.data)

    def _forget(self) -> None:
        self._packets, self._times, self._late = [], [], []
        self._heard = None
        self._size = 0
        self._keyframe = False

    def _covered(self, t1_ns: int) -> tuple[Span, Cursor]:
        wall_ns = self._clock.wall_ns()
        span = Span(
            first_unit=self.cursor.unit,
            unit_count=self.count,
            t0_ns=self.cursor.t_ns,
            t1_ns=t1_ns,
            wall0_ns=self.cursor.wall_ns,
            wall1_ns=wall_ns,
        )
        cursor = Cursor(
            unit=self.cursor.unit + self.count,
            t_ns=t1_ns,
            wall_ns=wall_ns,
            boot_ns=self._clock.monotonic_ns(),
        )
        return span, cursor
