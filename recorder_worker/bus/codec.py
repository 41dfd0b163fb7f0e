"""Events to bytes and back: strict, typed, one decoder per fact."""

from __future__ import annotations

from typing import Any

import msgspec

from recorder_worker.core import events
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact
from recorder_worker.core.versions import check_stored_version, check_version

FACT_TYPES: dict[Fact, Any] = {
    Fact.STARTED: events.SessionStarted,
    Fact.REJECTED: events.SessionRejected,
    Fact.PAUSED: events.SessionPaused,
    Fact.RESUMED: events.SessionResumed,
    Fact.FAILED: events.SessionFailed,
    Fact.QUALITY: events.SessionQuality,
    Fact.CONTROL: events.Control,
    Fact.CAPTURED: events.CapturedEvent,
    Fact.CHUNKED: events.ChunkedEvent,
    Fact.COMPRESSED: events.CompressedEvent,
    Fact.HEAD: events.Head,
    Fact.CHECKPOINT: events.Checkpoint,
    Fact.SEALED: events.SessionSealed,
    Fact.INCIDENT: events.SessionIncident,
    Fact.RETENTION: events.SessionRetention,
    Fact.NUMBERED: events.SessionNumbered,
    Fact.LOGGED: events.SessionLogged,
    Fact.ANCHOR_REQUESTED: events.AnchorRequested,
    Fact.ANCHOR_RECEIPT: events.AnchorReceipt,
    Fact.ANCHOR_STATE: events.AnchorState,
    Fact.STORED: events.SessionStored,
    Fact.BLOB_COPIED: events.BlobCopied,
    Fact.ARCHIVED: events.SessionArchived,
    Fact.OFFLOADED: events.SessionOffloaded,
    Fact.INTEGRITY_FAILED: events.IntegrityFailed,
    Fact.NODE_REGISTERED: events.NodeRegistered,
    Fact.NODE_HEARTBEAT: events.NodeHeartbeat,
    Fact.NODE_DRAINING: events.NodeDraining,
    Fact.AUDIT_ACCEPTED: events.CommandAccepted,
    Fact.AUDIT_DENIED: events.CommandDenied,
    Fact.AUDIT_VIEWED: events.RecordingViewed,
    Fact.AUDIT_EXPORTED: events.RecordingExported,
    Fact.AUDIT_SETTLED: events.DeadLetterSettled,
}

_DECODERS: dict[Fact, msgspec.json.Decoder[Any]] = {
    fact: msgspec.json.Decoder(kind) for fact, kind in FACT_TYPES.items()
}


def decode(fact: Fact, data: bytes) -> Event:
    """An event of that fact.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is none.
        NewerVersionError: it is one of a version that this program does not know.
    """
    try:
        event: Event = _DECODERS[fact].decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        # Bytes that are no text, or brackets without end: not msgspec's own errors, but the same.
        raise msgspec.DecodeError(f"JSON is malformed: {error}") from error
    except msgspec.MsgspecError:
        check_stored_version(data, fact.value)
        raise
    check_version(event.v, fact.value)
    return event


def encode(event: Event) -> bytes:
    """The bytes that stand on the wire."""
    return msgspec.json.encode(event)
