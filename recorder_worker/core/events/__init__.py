"""Facts that the stages publish, as they stand on the wire."""

from recorder_worker.core.events.captured import (
    Captured,
    CapturedEvent,
    EndCaptured,
    GapCaptured,
    MarkCaptured,
    Opened,
    PauseCaptured,
    SegmentCaptured,
)
from recorder_worker.core.events.event import Event
from recorder_worker.core.events.leaves import (
    ChunkedEvent,
    ChunkPlanned,
    ChunkStored,
    CompressedEvent,
    EndLeaf,
    GapLeaf,
    Leaf,
    MarkLeaf,
    OpenLeaf,
    SegmentRef,
)
from recorder_worker.core.events.ledger import Checkpoint, Head, SessionSealed, Totals
from recorder_worker.core.events.life import (
    Control,
    SessionFailed,
    SessionPaused,
    SessionRejected,
    SessionResumed,
    SessionStarted,
)

__all__ = [
    "Captured",
    "CapturedEvent",
    "Checkpoint",
    "ChunkPlanned",
    "ChunkStored",
    "ChunkedEvent",
    "CompressedEvent",
    "Control",
    "EndCaptured",
    "EndLeaf",
    "Event",
    "GapCaptured",
    "GapLeaf",
    "Head",
    "Leaf",
    "MarkCaptured",
    "MarkLeaf",
    "OpenLeaf",
    "Opened",
    "PauseCaptured",
    "SegmentCaptured",
    "SegmentRef",
    "SessionFailed",
    "SessionPaused",
    "SessionRejected",
    "SessionResumed",
    "SessionSealed",
    "SessionStarted",
    "Totals",
]
