"""Which calls of which ports leave something behind, and which only look: all of them, by name.

`test_every_call_of_every_port_is_an_effect_or_none` fails when a port or a call is not here.
"""

from __future__ import annotations

EFFECTS: dict[str, frozenset[str]] = {
    "BlobStore": frozenset({"put", "replace", "delete", "delete_below"}),
    "BlobWriter": frozenset({"commit"}),
    "CipherKeys": frozenset({"make", "erase"}),
    "Copies": frozenset({"publish"}),
    "DeadLetters": frozenset({"settle", "send_again"}),
    "EntryTable": frozenset({"put"}),
    "EventLog": frozenset({"append", "append_to_all", "emit"}),
    "Signer": frozenset(
        {"sign_device", "session_secret", "open_epoch", "sign_epoch", "close_epoch"}
        | {"close_session"}
    ),
}
"""What outlives the process that called it."""

LOOKS: dict[str, frozenset[str]] = {
    "AuditStream": frozenset({"last_sequence", "at", "behind"}),
    "BlobStore": frozenset(
        {"get", "stream", "digest", "size", "keys", "children", "free_bytes", "location", "writer"}
    ),
    # A writer's bytes are nobody's until its commit, and are not visible before.
    "BlobWriter": frozenset({"write", "abort"}),
    "CipherKeys": frozenset({"get"}),
    "Clock": frozenset({"monotonic_ns", "wall_ns", "state"}),
    "ControlFeed": frozenset({"listen"}),
    "DeadLetters": frozenset({"all", "body"}),
    "EntryTable": frozenset({"get", "all"}),
    "EventLog": frozenset({"last", "last_of_all", "read"}),
    "JwksSource": frozenset({"read"}),
    "KeyframeDecoder": frozenset({"picture"}),
    "KeyWrap": frozenset({"recipients", "wrap"}),
    "Optics": frozenset({"shrink", "measure", "jpeg"}),
    "Revocations": frozenset({"find"}),
    "Signer": frozenset({"device_keys", "former_keys"}),
    "TokenVerifier": frozenset({"claims"}),
}
"""What leaves nothing behind."""

NOT_OF_THE_RECORD: dict[str, str] = {
    "ArrivingPackets": "as ArrivingSource",
    "ArrivingSource": "a source is outside: what it loses is told as a gap, in the sources' tests",
    "FrameFeed": "as ArrivingSource",
    "FrameSource": "as ArrivingSource",
    "FrameSubscription": "as ArrivingSource",
    "CopyMetrics": "as StageMetrics",
    "AttemptBook": "of the bus: how often a message killed its worker, no part of a record",
    "PacketOpener": "as ArrivingSource",
    "PacketSource": "as ArrivingSource",
    "RequestGate": "asks and puts on record by EventLog.emit, which is an effect",
    "SourceOpener": "as ArrivingSource",
    "StageMetrics": "counts in memory; what dies with the process was never evidence",
    "Tracing": "spans are no evidence, and never hold anything up",
}
"""Ports that no fault here is put into, and why."""

DELIVERY = "Delivery"
"""The answers to a message: no port of the stages, for the bus gives them, but effects all the
same."""

ANSWERS = frozenset({"ack", "nak", "term"})
DEAD_LETTER = "DeadLetter.publish"

NOT_IN_THE_SESSION: dict[str, str] = {
    "session.paused": "told as `session.quality` is, by CapturedJournal.tell",
    "session.resumed": "as session.paused",
    "session.failed": "the session ends as it should; emitted as session.rejected is",
    "session.quality": "by CapturedJournal.tell; its mark is a captured event like others",
    "session.incident": "no single fault may bring one about: a test for itself",
    "audit.recording.viewed": "of the gateway, before it answers; emitted as audit.dead.settled is",
    "audit.recording.exported": "as audit.recording.viewed",
}
"""Facts of the pipeline that no table tells, and why."""


def kind_of(key: str) -> str:
    """What a key of the store names, without what differs from session to session."""
    parts = key.split("/")
    if parts[0] == "sessions":
        names = parts[2:]
        if names[-1].startswith("retention-"):
            return "proofs/retention"
        return "/".join(names[:2]) if names[0] in {"journal", "proofs"} else names[0]
    if parts[0] in ("copies", "copies-told"):
        return parts[0]
    if parts[0] == "audit":
        return "audit/proofs" if parts[1] == "proofs" else "audit/bundle"
    return "/".join(parts[:2])
