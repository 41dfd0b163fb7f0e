"""A media source at a lower rate: of every period the first frame."""

from __future__ import annotations

import math

import msgspec

from recorder_worker.core.model import SourceFacts
from recorder_worker.ports import Frame, FrameSource

_SECOND_NS = 1_000_000_000


class SampledSource:
    """Keeps the first frame at or behind each multiple of 1/fps of another source's time.

    Which frames are kept depends on the material and the rate alone, so a worker that takes over
    keeps the same ones. Units count the frames that are kept.
    """

    def __init__(self, source: FrameSource, fps: float, first_unit: int = 0) -> None:
        self._source = source
        self._fps = fps
        self._due_ns = 0
        self._read_count = self._kept_count = 0
        self._facts = _sampled(source.facts, fps)
        for _ in range(first_unit):
            if self.read() is None:
                break

    @property
    def facts(self) -> SourceFacts:
        """The other source's, at this rate; behind its end with as many frames as there had to be.

        Before that it is an estimate: the frames of a recorded screen come in bursts.
        """
        return self._facts

    def read(self) -> Frame | None:
        """The next frame that is kept; None behind the last. Raises as the other source."""
        while True:
            frame = self._source.read()
            if frame is None:
                self._facts = self._counted()
                return None
            self._read_count += 1
            if frame.t_ns >= self._due_ns:
                self._kept_count += 1
                period = math.floor(frame.t_ns * self._fps / _SECOND_NS) + 1
                self._due_ns = math.ceil(period * _SECOND_NS / self._fps)
                return frame

    def _counted(self) -> SourceFacts:
        """What was kept, and of what was declared and could not be read its share."""
        declared = self._source.facts.frame_count
        if declared is None:
            return self._facts
        missing = max(0, declared - self._read_count)
        share = math.floor(missing * self._fps / self._source.facts.frame_rate)
        return msgspec.structs.replace(self._facts, frame_count=self._kept_count + share)

    def close(self) -> None:
        """Let go of the other source."""
        self._source.close()


def _sampled(facts: SourceFacts, fps: float) -> SourceFacts:
    count = facts.frame_count
    return msgspec.structs.replace(
        facts,
        description=f"{facts.description}, sampled at {fps:g} fps",
        frame_rate=fps,
        frame_count=None if count is None else math.floor(count * fps / facts.frame_rate),
    )
