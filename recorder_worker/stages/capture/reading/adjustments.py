"""Requests that change how is read, and not whether: masks, the frame rate, and being armed."""

from __future__ import annotations

from recorder_worker.core import notes
from recorder_worker.core.errors import PermanentError
from recorder_worker.stages.capture.reading.coverage import Coverage
from recorder_worker.stages.capture.reading.policy import Arming
from recorder_worker.stages.capture.reading.requests import (
    GoOn,
    Hold,
    MaskWith,
    Request,
    SetRate,
    TriggerNow,
)
from recorder_worker.stages.capture.reading.timeline import SECOND_NS, Pacer, Timeline
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.items import Masked, Note


class Adjustments:
    """Makes them between two segments, so that it is clear from which frame on they hold."""

    def __init__(
        self,
        writer: SegmentWriter,
        coverage: Coverage[SegmentWriter],
        timeline: Timeline,
        pacer: Pacer,
        arming: Arming | None,
    ) -> None:
        self._writer = writer
        self._coverage = coverage
        self._timeline = timeline
        self._pacer = pacer
        self._arming = arming
        self.hold: Hold | None = None
        """Nothing is to be read until what this is for is over."""

    def make(self, request: Request, covered_ns: int, *, standing: bool = False) -> None:
        """Make the change at session time `covered_ns`, up to which the frames so far cover.

        `standing` still, there is no segment to close. What is no such request changes nothing:
        the state machine refuses it before it comes here.

        Raises:
            Finished: the session has ended here, for the store did not take the segment.
        """
        match request:
            case MaskWith(masks=masks, by=by):
                at_ns = self._between(covered_ns, standing=standing)
                self._writer.mask(masks)
                self._coverage.forget_held()  # it shows what shall not be seen now
                self._coverage.deliver(Masked(t_ns=at_ns, masks=masks, by=by))
            case SetRate():
                self._set_rate(request, self._between(covered_ns, standing=standing))
            case TriggerNow() if self._arming is not None:
                self._coverage.trigger(self._arming, covered_ns)
            case Hold():
                self.hold = request
            case GoOn():
                self.hold = None
            case _:
                pass

    def make_standing(self, request: Request) -> None:
        """As `make`, while nothing is read."""
        self.make(request, self._timeline.now_ns(), standing=True)

    def arm(self) -> None:
        """From now on the last seconds are held in memory, until `TriggerNow`."""
        arming = self._arming
        if arming is None:
            raise PermanentError("a session is armed whose start has no pre_record_s")
        self._coverage.arm(arming)
        self._pacer.rebase()
        keep_s = arming.keep_ns / SECOND_NS
        body = notes.Armed(pre_record_s=keep_s, max_bytes=arming.max_bytes)
        self._note(notes.ARMED, body, self._coverage.cursor.t_ns)

    def _set_rate(self, request: SetRate, at_ns: int) -> None:
        before = self._timeline.fps
        self._timeline.pace(request.fps)
        self._pacer.pace(self._timeline.period_ns)
        body = notes.RateChanged(
            from_fps=before, to_fps=request.fps, reason=request.reason, detail=request.detail
        )
        self.tell_rate(body, at_ns)

    def tell_rate(self, body: notes.RateChanged, at_ns: int) -> None:
        """Another rate holds from session time `at_ns` on."""
        self._note(notes.RATE, body, at_ns)

    def _between(self, covered_ns: int, *, standing: bool) -> int:
        """Behind the segment being filled, and the session time there."""
        if standing:
            return covered_ns
        self._coverage.close(covered_ns)
        return self._coverage.cursor.t_ns

    def _note(self, kind: str, body: notes.NoteBody, t_ns: int) -> None:
        self._coverage.deliver(Note(t_ns=t_ns, kind=kind, body=notes.note_text(body)))
