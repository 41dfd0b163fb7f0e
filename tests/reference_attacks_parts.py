"""Attacks on clips, and on what a recording has of the log of sessions."""

from __future__ import annotations

from collections.abc import Callable

from reference_attacks import flip, tampered, without
from reference_format import ED25519
from reference_good import (
    OTHER_SESSION,
    log_checkpoint,
    logged,
    long,
    open_timestamp,
    proofs,
)
from reference_signing import Key, SignatureStore, log_signed
from reference_writer import (
    RECORDER,
    Files,
    Writer,
    clip_file,
    ranges_of,
)

# --- clips ---------------------------------------------------------------------------------------


def shown_of(begin: int, end: int) -> set[int]:
    """What a clip of `long` shows."""
    return {0, 5, 10, 16, *range(begin, end)}


@tampered()
def clip_with_hidden_epoch(store: SignatureStore) -> Files:
    """EPOCH 1 is hidden."""
    return long(store).clip_of(shown_of(7, 9) - {5})


@tampered()
def clip_with_hidden_last_epoch(store: SignatureStore) -> Files:
    """The newest EPOCH is hidden, so the last checkpoint is by nobody that is known."""
    return long(store).clip_of(shown_of(7, 9) - {10})


@tampered()
def clip_with_hidden_end(store: SignatureStore) -> Files:
    """The SEAL is hidden."""
    return long(store).clip_of(shown_of(7, 9) - {16})


@tampered()
def clip_with_hole(store: SignatureStore) -> Files:
    """Two chunks are shown, the one between them is not."""
    return long(store).clip_of(shown_of(7, 10) - {8})


@tampered()
def clip_epoch_not_closed(store: SignatureStore) -> Files:
    """The checkpoint that closes epoch 0 was taken out."""
    writer = long(store)
    files, shown = writer.clip(7, 9), sorted(shown_of(7, 9))
    notes = [writer.note(index + 1) for index in shown if index != 5]
    return {**files, "checkpoints": b"".join(notes)}


@tampered()
def clip_with_wrong_size(store: SignatureStore) -> Files:
    """The file `clip` says that there is one record more."""
    writer = long(store)
    ranges = ranges_of(shown_of(7, 9))
    return {**writer.clip(7, 9), "clip": clip_file(writer.raw(), ranges, size=18)}


@tampered()
def clip_with_smaller_size(store: SignatureStore) -> Files:
    """The tree is said to end at the last record of the range; a checkpoint of it is signed."""
    writer = long(store)
    writer.records = writer.records[:9]
    files = writer.clip_of({0, 5, 7, 8})
    return {**files, "checkpoints": long(store).clip(7, 9)["checkpoints"]}


def with_hashes(store: SignatureStore, change: Callable[[list[bytes]], list[bytes]]) -> Files:
    writer, ranges = long(store), ranges_of(shown_of(7, 9))
    return {**writer.clip(7, 9), "clip": clip_file(writer.raw(), ranges, change)}


@tampered()
def clip_hash_missing(store: SignatureStore) -> Files:
    """The last hash is not there."""
    return with_hashes(store, lambda hashes: hashes[:-1])


@tampered()
def clip_hash_too_many(store: SignatureStore) -> Files:
    """One hash more than hidden subtrees."""
    return with_hashes(store, lambda hashes: [*hashes, bytes(32)])


@tampered()
def clip_hashes_swapped(store: SignatureStore) -> Files:
    """Two hashes were exchanged."""
    return with_hashes(store, lambda hashes: [hashes[1], hashes[0], *hashes[2:]])


@tampered()
def clip_ranges_touch(store: SignatureStore) -> Files:
    """Two ranges that are one: the same clip in a second form."""
    writer = long(store)
    ranges = [(0, 1), (5, 6), (7, 8), (8, 9), (10, 11), (16, 17)]
    return {**writer.clip(7, 9), "clip": clip_file(writer.raw(), ranges)}


@tampered()
def clip_checkpoint_of_hidden(store: SignatureStore) -> Files:
    """A checkpoint whose last record is hidden."""
    writer = long(store)
    sizes = [1, 4, 6, 8, 9, 11, 17]
    return {**writer.clip(7, 9), "checkpoints": b"".join(writer.note(size) for size in sizes)}


@tampered()
def clip_chunk_byte_flipped(store: SignatureStore) -> Files:
    """One bit of a shown chunk is another."""
    files = long(store).clip(7, 9)
    return {**files, "chunks/0000000007.raw": flip(files["chunks/0000000007.raw"], 20)}


@tampered()
def clip_bytes_behind_records(store: SignatureStore) -> Files:
    """The file `records` of a clip goes on behind the last record."""
    files = long(store).clip(7, 9)
    return {**files, "records": files["records"] + b"\n"}


@tampered()
def clip_record_too_many(store: SignatureStore) -> Files:
    """The file `records` of a clip has one record more than its ranges."""
    writer = long(store)
    files, more = writer.clip(7, 9), writer.raw()[3]
    return {**files, "records": files["records"] + len(more).to_bytes(4, "big") + more}


@tampered()
def clip_seal_missing(store: SignatureStore) -> Files:
    """A clip of a sealed session without its seal."""
    return without(long(store).clip(7, 9), "seal")


@tampered()
def clip_record_moved(store: SignatureStore) -> Files:
    """The range is said to be one further on than it is."""
    writer = long(store)
    ranges = [(0, 1), (5, 6), (8, 11), (16, 17)]
    return {**writer.clip(7, 9), "clip": clip_file(writer.raw(), ranges)}


# --- the log of sessions -------------------------------------------------------------------------


@tampered()
def log_proof_of_another_session(store: SignatureStore) -> Files:
    """`proofs/seal` shows that another session was sealed."""
    writer, entries = logged(store)
    return {**writer.sealed(), **proofs(store, entries, last=1)}


@tampered()
def log_proof_with_another_index(store: SignatureStore) -> Files:
    """A proof with an index that is not the entry's."""
    writer, entries = logged(store)
    found = proofs(store, entries)
    changed = found["proofs/open"].replace(b"index 2", b"index 1")
    return {**writer.sealed(), **found, "proofs/open": changed}


@tampered()
def log_proof_hash_missing(store: SignatureStore) -> Files:
    """A proof with one hash less."""
    writer, entries = logged(store)
    found = proofs(store, entries)
    lines = found["proofs/seal"].split(b"\n")
    return {**writer.sealed(), **found, "proofs/seal": b"\n".join(lines[:3] + lines[4:])}


@tampered()
def log_proof_extra(store: SignatureStore) -> Files:
    """A proof with a line `extra`, which nobody signed."""
    writer, entries = logged(store)
    found = proofs(store, entries)
    changed = found["proofs/open"].replace(b"index", b"extra aGVsbG8=\nindex")
    return {**writer.sealed(), **found, "proofs/open": changed}


@tampered()
def log_of_another_device(store: SignatureStore) -> Files:
    """The log's checkpoint is signed by a key that is not the device's."""
    writer, entries = logged(store)
    found = proofs(store, entries)
    other = log_signed(entries, RECORDER, Key("attacker", ED25519, store))
    changed = found["proofs/seal"].split(b"\n\n")[0] + b"\n\n" + other
    return {**writer.sealed(), **found, "proofs/seal": changed}


@tampered()
def log_entry_before_its_beacon(store: SignatureStore) -> Files:
    """OPEN names a checkpoint of the log that has the session's own entry in it already."""
    writer, entries = logged(store)
    writer, entries = logged(store, beacon=log_checkpoint(store, entries))
    return {**writer.sealed(), **proofs(store, entries)}


@tampered()
def beacon_of_another_log(store: SignatureStore) -> Files:
    """The beacon in OPEN is a checkpoint of another recorder's log."""
    _, entries = logged(store)
    other = log_signed(entries[:2], "another-recorder", Key("device", ED25519, store))
    return logged(store, beacon=other)[0].sealed()


@tampered()
def beacon_that_is_no_note(store: SignatureStore) -> Files:
    """The beacon in OPEN is not a note."""
    return logged(store, beacon=b"2026-11-23")[0].sealed()


@tampered()
def time_stamped_of_another_log(store: SignatureStore) -> Files:
    """What the time-stamp in OPEN is over is a checkpoint of another recorder's log."""
    _, entries = logged(store)
    other = log_signed(entries[:2], "another-recorder", Key("device", ED25519, store))
    stamp = store.timestamp(other)
    return logged(store, timestamped=other, timestamp=stamp)[0].sealed()


@tampered()
def time_stamp_of_nothing(store: SignatureStore) -> Files:
    """OPEN has a checkpoint that had a time-stamp, and no time-stamp."""
    _, entries = logged(store)
    return logged(store, timestamped=log_checkpoint(store, entries[:2]))[0].sealed()


@tampered()
def receipt_for_another_checkpoint(store: SignatureStore) -> Files:
    """A receipt is over another checkpoint of the log than its name says."""
    writer, entries = logged(store)
    receipt = open_timestamp(log_checkpoint(store, entries[:3]))
    return {**writer.sealed(), **proofs(store, entries), f"receipts/{4:020d}.ots": receipt}


@tampered()
def time_stamp_of_another_checkpoint(store: SignatureStore) -> Files:
    """The time-stamp in OPEN is over something else than what stands beside it."""
    before = Writer(store, OTHER_SESSION).open().seal().entries()
    stamp = store.timestamp(log_checkpoint(store, before))
    writer, _ = logged(store, timestamped=log_checkpoint(store, before[:1]), timestamp=stamp)
    return writer.sealed()
