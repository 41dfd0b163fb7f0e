"""What a reader of packets hands over: segments that begin with keyframes, and what jumped."""

from __future__ import annotations

import msgspec
import structlog

from recorder_worker.core.errors import SourceLostError, UnitsMissingError
from recorder_worker.core.model import EndReason, GapReason, SourceFacts
from recorder_worker.core.notes import TIMESTAMPS
from recorder_worker.core.packets.film import Film, Jump
from recorder_worker.ports import Packet, PacketSource
from recorder_worker.stages.capture.reading.coverage import DETAIL_CHARACTERS, Coverage
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.timeline import Timeline
from recorder_worker.stages.capture.segments.items import Gap, Note
from recorder_worker.stages.capture.segments.packet_spool import PacketWriter

log = structlog.get_logger(__name__)


class PacketCoverage:
    """Lays packets behind the cursor of a `Coverage`, in the film of all openings.

    `looks`: what watches the pictures in them; None: nobody does.
    """

    def __init__(
        self,
        coverage: Coverage[PacketWriter],
        timeline: Timeline,
        looks: KeyframeLooks | None = None,
    ) -> None:
        self._coverage = coverage
        self._writer = coverage.writer
        self._timeline = timeline
        self._looks = looks
        self._film = Film()
        self._skipped = 0

    def begin(self, source: PacketSource) -> None:
        """A source is open: its times begin anew."""
        self._skipped = source.skipped
        self._film.open(source.tick)

    def hear(self, packet: Packet) -> None:
        """Take a packet of sound."""
        self._writer.hear(packet)
        if self._writer.overfull():
            self.close(self.covered_ns())

    def add(self, packet: Packet, t_ns: int, source: PacketSource) -> None:
        """Take a packet of video, at session time `t_ns`.

        Raises:
            SourceLostError: as `close`.
        """
        if self._skipped:
            detail = f"{self._skipped} units before a keyframe cannot be shown without it"
            self._coverage.skip(GapReason.SOURCE_LOST, detail, self._skipped, t_ns)
            self._skipped = 0
        jump = self._film.follow(packet.dts, packet.duration, t_ns)
        if jump is not None:
            self._jumped(jump)
        elif not self._writer.fits(packet, t_ns):
            self.close(t_ns)
        self._writer.add(packet, t_ns, source, self._film.shift)
        if self._looks is not None:
            unit = self._writer.newest_unit
            self._tell(self._looks.see(packet, source.coding, unit, t_ns))

    def missing(self, error: UnitsMissingError, source: PacketSource) -> None:
        """Declare what a source itself says is missing, behind the packets before it.

        What comes behind it is a stretch of its own. Raises as `close`.
        """
        cursor, timeline = self._coverage.cursor, self._timeline
        t1_ns = max(cursor.t_ns, timeline.last_ns + 1, timeline.session_time(error.t_ns))
        shown_ns = timeline.last_ns + timeline.period_ns if error.unit_count else t1_ns
        self.close(max(cursor.t_ns, min(shown_ns, t1_ns)))
        detail = str(error)[:DETAIL_CHARACTERS]
        self._coverage.skip(error.reason, detail, error.unit_count, t1_ns)
        timeline.last_ns = max(timeline.last_ns, t1_ns - 1)
        self._film.open(source.tick)

    def close(self, t1_ns: int) -> None:
        """Make the segment being filled durable and hand it over.

        Raises:
            Finished: the session has ended here.
            SourceLostError: the packets are none that MP4 can hold; a gap says so by now.
        """
        try:
            self._coverage.close(t1_ns)
        except SourceLostError as error:
            span = self._writer.abandon(t1_ns)
            cursor, lost = self._coverage.cursor, GapReason.SOURCE_LOST
            self._coverage.deliver(Gap(cursor=cursor, span=span, reason=lost, detail=str(error)))
            raise

    def close_lost(self) -> None:
        """The source is gone: its last unit was shown for no longer than any."""
        shown_ns = self._timeline.last_ns + self._timeline.period_ns
        try:
            self.close(max(self._coverage.cursor.t_ns, min(self.covered_ns(), shown_ns)))
        except SourceLostError as error:
            log.warning("PacketsUnwritable", error=str(error))

    def put_down(self) -> None:
        """Nothing is read for now. A file is read again from the last keyframe that was kept."""
        if self._timeline.live:
            self.close_lost()
        else:
            self._writer.drop()
            self._timeline.last_ns = self._coverage.cursor.t_ns - 1

    def end(self, reason: EndReason, detail: str) -> None:
        """Close and end. Raises Finished."""
        t1_ns = self.covered_ns()
        try:
            self.close(t1_ns)
        except SourceLostError as error:
            log.warning("PacketsUnwritable", error=str(error))
        self._look_at_the_last()
        self._coverage.end(reason, detail, max(t1_ns, self._coverage.cursor.t_ns))

    def source_ended(self, facts: SourceFacts) -> None:
        """End behind the material. Raises Finished."""
        self._look_at_the_last()
        self._coverage.source_ended(facts)

    def covered_ns(self) -> int:
        """How far the units so far cover; one that is held back is not covered yet."""
        return max(self._coverage.cursor.t_ns, self._timeline.end_ns())

    def _jumped(self, jump: Jump) -> None:
        """The source's times say something else than ours: both stay, and this says where."""
        self.close(jump.t_ns)
        body = msgspec.json.encode(jump).decode()
        self._coverage.deliver(Note(t_ns=jump.t_ns, kind=TIMESTAMPS, body=body))

    def _look_at_the_last(self) -> None:
        if self._looks is not None:
            self._tell(self._looks.finish())

    def _tell(self, notes: tuple[Note, ...]) -> None:
        for note in notes:
            self._coverage.deliver(note)
