"""The fault table: each kind of effect of each stage, and how often the session has it.

It is held against what a session really does (`test_the_table_is_what_a_session_does`): an effect
that is new is not forgotten, and one that is gone is not believed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    ("upload", "Delivery.ack", 15),
    ("upload", "BlobStore.put second/recorder", 1),
    ("upload", "BlobWriter.commit second/session.json", 1),
    ("upload", "BlobWriter.commit second/chunks", 2),
    ("upload", "EventLog.emit integration.storage.copied", 2),
    ("upload", "BlobWriter.commit second/journal/leaves", 6),
    ("upload", "BlobWriter.commit second/journal/checkpoints", 6),
    ("upload", "BlobWriter.commit second/marks", 1),
    ("upload", "BlobWriter.commit second/checkpoints", 1),
    ("upload", "BlobWriter.commit second/proofs/open", 1),
    ("upload", "BlobWriter.commit second/receipts", 1),
    ("upload", "BlobWriter.commit second/records", 1),
    ("upload", "BlobWriter.commit second/seal", 1),
    ("upload", "BlobWriter.commit second/thumbnails", 1),
    ("upload", "BlobStore.delete_below second/journal", 1),
    ("upload", "BlobStore.put copies", 1),
    ("upload", "EventLog.emit integration.storage.archived", 1),
    ("upload", "BlobStore.put copies-told", 1),
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
    ("merkle", "Signer.close_epoch", 1),
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

REMOVAL: tuple[tuple[str, str, int], ...] = (
    ("owners", "Copies.publish session.retention", 4),
    ("owners", "Delivery.ack", 5),
    ("owners", "Copies.publish session.rejected", 1),
    ("receipts", "BlobStore.put log/receipts", 14),
    ("receipts", "Delivery.ack", 7),
    ("table", "EntryTable.put", 4),
    ("table", "Delivery.ack", 4),
    ("audit", "BlobStore.put audit/bundle", 3),
    ("audit", "EventLog.append_to_all session.logged", 3),
    ("audit", "BlobStore.put log/tile", 6),
    ("audit", "Signer.sign_device", 3),
    ("audit", "BlobStore.replace log/checkpoint", 3),
    ("audit", "BlobStore.put audit/proofs", 3),
    ("audit", "EventLog.append integration.anchor.requested", 3),
    ("retention", "Signer.sign_device", 6),
    ("retention", "BlobStore.put retention", 3),
    ("retention", "EventLog.append_to_all session.logged", 3),
    ("retention", "BlobStore.put log/tile", 6),
    ("retention", "BlobStore.replace log/checkpoint", 3),
    ("retention", "BlobStore.put proofs/retention", 3),
    ("retention", "EventLog.append integration.anchor.requested", 3),
    ("retention", "EventLog.append session.retention", 3),
    ("retention", "EventLog.emit audit.command.accepted", 3),
    ("retention", "Delivery.ack", 4),
    ("retention", "EventLog.emit audit.command.denied", 1),
    ("retention", "EventLog.emit session.rejected", 1),
    ("keeper", "BlobStore.replace retention/clock", 1),
    ("keeper", "BlobStore.replace second/retention", 3),
    ("keeper", "BlobStore.delete session.json", 1),
    ("keeper", "BlobStore.delete second/session.json", 1),
    ("keeper", "BlobStore.delete_below chunks", 1),
    ("keeper", "BlobStore.delete_below thumbnails", 1),
    ("keeper", "BlobStore.delete_below segments", 1),
    ("keeper", "BlobStore.delete_below second/chunks", 1),
    ("keeper", "BlobStore.delete_below second/thumbnails", 1),
    ("keeper", "BlobStore.delete_below second/segments", 1),
    ("keeper", "Signer.sign_device", 2),
    ("keeper", "BlobStore.put retention", 1),
    ("keeper", "EventLog.append_to_all session.logged", 1),
    ("keeper", "BlobStore.put log/tile", 2),
    ("keeper", "BlobStore.replace log/checkpoint", 1),
    ("keeper", "BlobStore.put proofs/retention", 1),
    ("keeper", "EventLog.append integration.anchor.requested", 1),
    ("keeper", "EventLog.append session.retention", 1),
)
"""The same of what comes behind: a hold, a deletion that it refuses, a release, and the deletion.
`keeper` is that of retention."""

SEEN_ENOUGH = ("Delivery.", "Signer.session_secret")
"""Effects of which one is like the other, whatever they are about."""


def faults() -> Iterator[Fault]:
    """Every effect with every kind of fault.

    Where a session has many of one kind: in capture and merkle, where each is about something else
    (an opening, a gap, the turn of an epoch, the end), all of them; else the first, the second and
    the last.
    """
    yield from _faults(EFFECTS)


def removal_faults() -> Iterator[Fault]:
    """The same of a removal: what its own stages do, and what no recording has others do."""
    known = {(stage, name) for stage, name, _ in EFFECTS}
    yield from _faults(row for row in REMOVAL if row[:2] not in known)


def _faults(rows: Iterable[tuple[str, str, int]]) -> Iterator[Fault]:
    for stage, name, count in rows:
        for number in _numbers(stage, name, count):
            for kind in kinds_for(name):
                yield Fault(Effect(stage, name, number), kind)


def _numbers(stage: str, name: str, count: int) -> list[int]:
    if name.startswith(SEEN_ENOUGH):
        return sorted({1, count})
    if stage in ("capture", "merkle"):
        return list(range(1, count + 1))
    return sorted({1, min(2, count), count})
