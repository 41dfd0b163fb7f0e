"""The fault table of what comes behind a recording: kept, settled, time-stamped.

As `table.py`, and held against what really happens in the same way. In each scene stages do again
what the first two tables have of them: here stand their effects, too, and the faults are those of
what nobody else does.
"""

from __future__ import annotations

from collections.abc import Iterator

from faults.injector import Effect, Fault, kinds_for
from faults.table import EFFECTS, REMOVAL, SEEN_ENOUGH

Row = tuple[str, str, int]

HOLDING: tuple[Row, ...] = (
    ("retention", "Signer.sign_device", 2),
    ("retention", "BlobStore.put retention", 1),
    ("retention", "EventLog.append_to_all session.logged", 1),
    ("retention", "BlobStore.put log/tile", 2),
    ("retention", "BlobStore.replace log/checkpoint", 1),
    ("retention", "BlobStore.put proofs/retention", 1),
    ("retention", "EventLog.append integration.anchor.requested", 1),
    ("retention", "EventLog.append session.retention", 1),
    ("retention", "EventLog.emit audit.command.accepted", 1),
    ("retention", "Delivery.ack", 1),
    ("owners", "Copies.publish session.retention", 1),
    ("owners", "Delivery.ack", 1),
    ("receipts", "BlobStore.put log/receipts", 4),
    ("receipts", "Delivery.ack", 2),
    ("table", "EntryTable.put", 1),
    ("table", "Delivery.ack", 1),
    ("audit", "BlobStore.put audit/bundle", 1),
    ("audit", "EventLog.append_to_all session.logged", 1),
    ("audit", "BlobStore.put log/tile", 2),
    ("audit", "Signer.sign_device", 1),
    ("audit", "BlobStore.replace log/checkpoint", 1),
    ("audit", "BlobStore.put audit/proofs", 1),
    ("audit", "EventLog.append integration.anchor.requested", 1),
)
"""A hold, as in `REMOVAL`: what it says comes late to the second store."""

KEEPING: tuple[Row, ...] = (
    *HOLDING,
    ("sweep", "BlobStore.put second/recorder", 1),
    ("sweep", "BlobStore.replace second/audit/bundle", 2),
    ("sweep", "BlobStore.replace second/audit/proofs", 2),
    ("sweep", "BlobStore.replace second/log/receipts", 10),
    ("sweep", "BlobStore.replace second/log/tile", 10),
    ("sweep", "BlobStore.replace second/log/checkpoint", 2),
    ("sweep", "BlobWriter.commit second/chunks", 2),
    ("sweep", "BlobWriter.commit second/checkpoints", 1),
    ("sweep", "BlobWriter.commit second/marks", 1),
    ("sweep", "BlobWriter.commit second/proofs/open", 1),
    ("sweep", "BlobWriter.commit second/proofs/seal", 1),
    ("sweep", "BlobWriter.commit second/receipts", 2),
    ("sweep", "BlobWriter.commit second/records", 1),
    ("sweep", "BlobWriter.commit second/seal", 1),
    ("sweep", "BlobWriter.commit second/session.json", 1),
    ("sweep", "BlobWriter.commit second/thumbnails", 1),
    ("sweep", "BlobStore.delete_below second/journal", 1),
    ("sweep", "BlobStore.put copies", 1),
    ("sweep", "EventLog.emit integration.storage.archived", 1),
    ("sweep", "BlobStore.put copies-told", 1),
    ("sweep", "BlobStore.replace second/retention", 1),
    ("sweep", "BlobStore.replace second/proofs/retention", 1),
    ("sweep", "EventLog.emit integration.storage.integrity_failed", 1),
    ("sweep", "BlobStore.replace copies", 2),
    ("sweep", "BlobStore.delete chunks", 2),
    ("sweep", "EventLog.emit integration.storage.offloaded", 1),
    ("patrol", "BlobStore.replace patrol/place", 10),
    ("patrol", "BlobStore.put second/recorder", 1),
    ("patrol", "BlobStore.replace chunks", 1),
    ("patrol", "EventLog.emit integration.storage.integrity_failed", 2),
)
"""Sweep and patrol (`scenes.keep`)."""

SETTLING: tuple[Row, ...] = (
    ("desk", "DeadLetters.settle", 3),
    ("desk", "DeadLetters.send_again", 2),
    ("desk", "EventLog.emit audit.dead.settled", 3),
    ("chunk", "EventLog.append session.chunked", 1),
    ("chunk", "Delivery.ack", 1),
    ("storage", "Delivery.nak", 3),
    ("storage", "DeadLetter.publish", 1),
    ("storage", "Delivery.term", 1),
    ("storage", "EventLog.emit integration.storage.stored", 1),
    ("storage", "Delivery.ack", 1),
)
"""Dead letters (`scenes.settle`): the desk, and the stages that have theirs again. What others do
while the session is sealed at last is in `EFFECTS`."""

STAMPING: tuple[Row, ...] = (
    ("tsa", "EventLog.emit integration.anchor.receipt", 3),
    ("tsa", "EventLog.append integration.anchor.state", 3),
    ("tsa", "Delivery.ack", 3),
    ("receipts", "BlobStore.put log/receipts", 6),
    ("receipts", "BlobStore.put receipts", 2),
    ("receipts", "BlobStore.replace log/beacon", 3),
    ("receipts", "Delivery.ack", 3),
)
"""An authority stamps what was said of the log (`scenes.stamp`)."""

KNOWN = {(stage, name) for stage, name, _ in (*EFFECTS, *REMOVAL)}
AS_UPLOAD = {name for stage, name, _ in EFFECTS if stage == "upload"}


def keeping_faults() -> Iterator[Fault]:
    """Of sweep and patrol; once of what the sweep does as the stage `upload`."""
    yield from _faults(KEEPING)


def settling_faults() -> Iterator[Fault]:
    """Of the desk, and of the letters that its work brings about."""
    yield from _faults(SETTLING)


def stamping_faults() -> Iterator[Fault]:
    """Of the stage `tsa`, and of what is kept of its time-stamps alone."""
    yield from _faults(STAMPING)


def _faults(rows: tuple[Row, ...]) -> Iterator[Fault]:
    for stage, name, count in rows:
        if (stage, name) in KNOWN:
            continue
        numbers = list(range(1, count + 1))
        if stage == "sweep":
            numbers = [1] if name in AS_UPLOAD else sorted({1, count})
        if stage in ("tsa", "receipts") or name.startswith(SEEN_ENOUGH):
            numbers = sorted({1, count})
        if stage == "patrol":
            numbers = sorted({*numbers[:5], count})  # behind those it finds nothing new
        for number in numbers:
            for kind in kinds_for(name):
                yield Fault(Effect(stage, name, number), kind)
