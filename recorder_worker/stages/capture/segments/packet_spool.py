"""Segments of packets: what one holds, and when it is full."""

from __future__ import annotations

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError, SourceLostError
from recorder_worker.core.model import Cursor, Span
from recorder_worker.core.packets.fmp4 import MAX_UNITS, PieceTimes, pack_times
from recorder_worker.core.packets.fmp4_stream import scan_pieces
from recorder_worker.ports import BlobStore, Clock, Packet, PacketSource
from recorder_worker.stages.capture.segments.items import Segment
from recorder_worker.stages.capture.segments.spool import Content, SegmentLimits, Spool


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
        self._spool = Spool(
            store=store,
            session_id=session_id,
            clock=clock,
            cursor=cursor,
            level=limits.level,
            cipher=cipher,
        )
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
    def cursor(self) -> Cursor:
        """Where the segment being filled begins."""
        return self._spool.cursor

    @property
    def count(self) -> int:
        """How many units are in the segment being filled."""
        return len(self._times)

    @property
    def newest_unit(self) -> int:
        """The unit of the packet of video that was added last."""
        return self.cursor.unit + self.count - 1

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
        if not self._times:
            self._keyframe = packet.keyframe
            self._source, self._shift = source, shift
        self._times.append((t_ns, self._spool.stamp()))
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
        segment = self._spool.put(self._piece(self._source), t1_ns)
        late = self._late
        self.drop()
        for packet in late:
            self.hear(packet)
        return segment

    def _piece(self, source: PacketSource) -> Content:
        """The segment as MP4. Raises SourceLostError."""
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
            raw_size = sum(piece.size for piece in scan_pieces((plain,)))
        except FormatError as error:
            raise SourceLostError(f"its packets make no piece of a recording: {error}") from error
        return Content(
            plain=(plain,), unit_count=self.count, raw_size=raw_size, keyframe=self._keyframe
        )

    def abandon(self, t1_ns: int) -> Span:
        """Give up the units that could not be stored: the span that is missing now."""
        span = self._spool.pass_by(self.count, t1_ns)
        self.drop()
        return span

    def restart(self, cursor: Cursor) -> None:
        """Go on from a cursor with an empty segment."""
        self._spool.cursor = cursor
        self.drop()

    def drop(self) -> None:
        """Forget what is in the segment being filled: nothing of it is durable."""
        self._packets, self._times, self._late = [], [], []
        self._heard = None
        self._size = 0
        self._keyframe = False

    def _keep(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._size += len(packet.data)
