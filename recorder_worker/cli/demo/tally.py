"""What the facts about one session add up to, for the display and for whoever waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from recorder_worker.core import events
from recorder_worker.core.events import Event


@dataclass
class Tally:
    """One session, so far. Sizes in bytes; `stored_raw` is of the chunks that are stored."""

    name: str
    session_id: str
    state: str = "requested"
    frames: int = 0
    frames_declared: int | None = None
    segments: int = 0
    marks: int = 0
    chunks: int = 0
    raw_bytes: int = 0
    stored_raw_bytes: int = 0
    stored_bytes: int = 0
    tree_size: int = 0
    root_hash: str = ""
    sealed: events.SessionSealed | None = None
    failure: str = ""

    @property
    def ratio(self) -> float:
        """How many bytes of pixels one stored byte holds."""
        return self.stored_raw_bytes / self.stored_bytes if self.stored_bytes else 0.0

    def add(self, event: Event) -> None:
        """Take in one fact."""
        match event:
            case events.SessionStarted():
                self.state, self.frames_declared = "recording", event.source.frame_count
            case events.SegmentCaptured():
                self.segments += 1
                self.frames += event.span.unit_count
                self.raw_bytes += event.raw_size
            case events.MarkCaptured():
                self.marks += 1
            case events.SessionPaused():
                self.state = "paused"
            case events.SessionResumed():
                self.state = "recording"
            case events.EndCaptured():
                self.state = "stopping"
            case events.ChunkStored():
                self.chunks += 1
                self.stored_raw_bytes += event.raw_size
                self.stored_bytes += event.stored_size
            case events.Checkpoint():
                self.tree_size, self.root_hash = event.tree_size, event.root_hash
            case events.SessionSealed():
                self.state, self.sealed = "sealed", event
            case _:
                self.failure = self.failure or _failure(event)


def _failure(event: Event) -> str:
    match event:
        case events.SessionRejected():
            return (
                f"{event.command} was refused: {event.field}: expected {event.expected}, "
                f"got {event.got}; {event.hint}"
            )
        case events.SessionFailed():
            return f"recording ended against our wish: {event.reason.value}: {event.detail}"
        case events.SessionIncident():
            return f"signing has stopped: {event.detail}"
        case _:
            return ""
