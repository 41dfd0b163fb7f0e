"""The fault table: each kind of effect of each stage, and how often the session has it.

It is held against what a session really does (`test_the_table_is_what_a_session_does`): an effect
that is new is not forgotten, and one that is gone is not believed in.
"""

from __future__ import annotations

from collections.abc import Iterator

from faults.injector import Effect, Fault, kinds_for

EFFECTS: tuple[tuple[str, str, int], ...] = (
    ("control", "EventLog.emit audit.command.denied", 1),
    ("control", "EventLog.emit session.rejected", 1),
    ("control", "Delivery.ack", 2),
    ("control", "EventLog.append session.control", 1),
    ("control", "EventLog.emit audit.command.accepted", 1),
    ("capture", "EventLog.append session.started", 1),
    ("capture", "CipherKeys.make", 1),
    ("capture", "BlobStore.put session.json", 1),
    ("capture", "EventLog.emit audit.command.accepted", 1),
    ("capture", "EventLog.append_to_all session.numbered", 1),
    ("capture", "EventLog.append session.captured", 9),
    ("capture", "BlobStore.put thumbnails", 1),
    ("capture", "BlobStore.put segments", 4),
    ("capture", "Delivery.ack", 1),
    ("chunk", "EventLog.append session.chunked", 7),
    ("chunk", "Delivery.ack", 9),
    ("compress", "DeadLetter.publish", 1),
    ("compress", "Delivery.term", 1),
    ("compress", "EventLog.emit session.compressed", 7),
    ("compress", "Delivery.ack", 7),
    ("compress", "BlobWriter.commit chunks", 2),
    ("merkle", "Delivery.nak", 6),
    ("merkle", "Signer.session_secret", 7),
    ("merkle", "Signer.open_epoch", 2),
    ("merkle", "Signer.sign_device", 1),
    ("merkle", "BlobStore.put journal/leaves", 7),
    ("merkle", "EventLog.append session.head", 7),
    ("merkle", "Signer.sign_epoch", 7),
    ("merkle", "BlobStore.put journal/checkpoints", 7),
    ("merkle", "EventLog.append session.checkpoint", 7),
    ("merkle", "Delivery.ack", 7),
    ("merkle", "BlobStore.put marks", 1),
    ("merkle", "BlobStore.delete segments", 4),
    ("merkle", "Signer.close_epoch", 2),
    ("merkle", "BlobStore.put records", 1),
    ("merkle", "BlobStore.put checkpoints", 1),
    ("merkle", "BlobStore.put seal", 1),
    ("merkle", "BlobStore.delete_below journal", 1),
    ("merkle", "BlobStore.delete_below segments", 1),
    ("merkle", "EventLog.append session.sealed", 1),
    ("merkle", "CipherKeys.erase", 1),
    ("merkle", "Signer.close_session", 1),
    ("owners", "Copies.publish session.started", 1),
    ("owners", "Delivery.ack", 10),
    ("owners", "Copies.publish session.rejected", 1),
    ("owners", "Copies.publish session.checkpoint", 7),
    ("owners", "Copies.publish session.sealed", 1),
    ("log", "EventLog.append_to_all session.logged", 2),
    ("log", "BlobStore.put log/tile", 4),
    ("log", "Signer.sign_device", 2),
    ("log", "BlobStore.replace log/checkpoint", 2),
    ("log", "BlobStore.put proofs/open", 1),
    ("log", "EventLog.append integration.anchor.requested", 2),
    ("log", "Delivery.ack", 7),
    ("log", "BlobStore.put proofs/seal", 1),
    ("receipts", "BlobStore.put log/receipts", 6),
    ("receipts", "BlobStore.put receipts", 2),
    ("receipts", "Delivery.ack", 3),
    ("storage", "EventLog.emit integration.storage.stored", 1),
    ("storage", "Delivery.ack", 1),
    ("table", "EntryTable.put", 9),
    ("table", "Delivery.ack", 9),
    ("audit", "BlobStore.put audit/bundle", 1),
    ("audit", "EventLog.append_to_all session.logged", 1),
    ("audit", "BlobStore.put log/tile", 2),
    ("audit", "Signer.sign_device", 1),
    ("audit", "BlobStore.replace log/checkpoint", 1),
    ("audit", "BlobStore.put audit/proofs", 1),
    ("audit", "EventLog.append integration.anchor.requested", 1),
)
"""Stage, effect, and its number in one session without a fault."""

SEEN_ENOUGH = ("Delivery.", "Signer.session_secret")
"""Effects of which one is like the other, whatever they are about."""


def faults() -> Iterator[Fault]:
    """Every effect with every kind of fault.

    Where a session has many of one kind: in capture and merkle, where each is about something else
    (an opening, a gap, the turn of an epoch, the end), all of them; else the first, the second and
    the last.
    """
    for stage, name, count in EFFECTS:
        for number in _numbers(stage, name, count):
            for kind in kinds_for(name):
                yield Fault(Effect(stage, name, number), kind)


def _numbers(stage: str, name: str, count: int) -> list[int]:
    if name.startswith(SEEN_ENOUGH):
        return sorted({1, count})
    if stage in ("capture", "merkle"):
        return list(range(1, count + 1))
    return sorted({1, min(2, count), count})
