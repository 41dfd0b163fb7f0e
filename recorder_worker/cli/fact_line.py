"""One line of text for each kind of fact."""

from __future__ import annotations

from recorder_worker.cli.output import seconds, size
from recorder_worker.core import events
from recorder_worker.core.events import Event
from recorder_worker.core.mark_words import mark_words
from recorder_worker.core.notes import RECORDER
from recorder_worker.core.subjects import Fact


def fact_line(fact: Fact, session_id: str, event: Event) -> str:
    """The fact's name, the session's first digits, and what matters about it."""
    return f"{fact.value:<19} {session_id[:8]}…  {_says(event)}"


def _says(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912  (one case for each kind of event)
    match event:
        case events.SessionStarted():
            facts = event.source
            return f"{facts.kind} {facts.uri} {facts.width}x{facts.height} on {event.node}"
        case events.SessionRejected():
            refused = f"{event.command}: {event.field}: expected {event.expected}, got {event.got}"
            return f"{refused}; {event.hint}" if event.hint else refused
        case events.SegmentCaptured():
            return f"segment {event.span.unit_count} frames, {size(event.stored_size)}"
        case events.GapCaptured() | events.GapLeaf():
            span = event.span
            times = f"{seconds(span.t0_ns)} to {seconds(span.t1_ns)}, {span.unit_count} frames lost"
            return f"gap: {event.reason.value}, {times}; {event.detail}".rstrip("; ")
        case events.EndCaptured() | events.EndLeaf():
            return f"ended: {event.reason.value} {event.detail}".rstrip()
        case events.MarkCaptured() | events.MarkLeaf():
            by = "" if event.by == RECORDER else _by(event.by)
            said = mark_words(event.kind, event.body)
            return f"mark at {seconds(event.t_ns)}: {event.kind}{by}" + (
                f": {said}" if said else ""
            )
        case events.SessionPaused() | events.SessionResumed() | events.PauseCaptured():
            return f"{event.__struct_config__.tag} at {seconds(event.t_ns)}{_by(event.by)}"
        case events.ChunkPlanned():
            return f"chunk {event.index}: {event.span.unit_count} frames in segments"
        case events.ChunkStored():
            sizes = f"{size(event.raw_size)} → {size(event.stored_size)}"
            return f"chunk {event.index}: {event.span.unit_count} frames, {sizes}"
        case events.Head() | events.Checkpoint():
            return f"size {event.tree_size} root {event.root_hash[:16]}…"
        case events.SessionSealed():
            return f"{event.reason.value}, {event.frame_count} frames, root {event.root_hash}"
        case events.SessionFailed():
            return f"{event.reason.value}: {event.detail}"
        case events.SessionQuality():
            return f"{event.condition} {event.state} at {seconds(event.since_ns)}"
        case events.SessionIncident():
            return event.detail
        case events.Control():
            return f"{event.command} by {event.by or 'nobody named'}"
        case _:
            return str(event.__struct_config__.tag)


def _by(name: str) -> str:
    return f" by {name}" if name else ""
