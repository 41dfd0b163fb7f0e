"""The logs of sessions in `tests/vectors/logs`, with the recordings they are about."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from reference_format import ED25519, root
from reference_good import vector
from reference_log import sha256, tile_name
from reference_signing import Key, SignatureStore, log_signed
from reference_writer import RECORDER, Files, Writer

FULL = 256


def sessions(store: SignatureStore, counters: Sequence[int] = (1, 2, 3)) -> list[Writer]:
    """Sessions one after the other; each has the seal of the one before it in OPEN."""
    made: list[Writer] = []
    for counter in counters:
        previous = made[-1].entries()[1][-32:] if made else bytes(32)
        session = str(uuid.UUID(int=0x0192F0C12B3C7D4E8F500000000000F0 + counter))
        writer = Writer(store, session, counter=counter)
        made.append(writer.open(previous_seal=previous).seal())
    return made


def entries_of(writers: Sequence[Writer]) -> list[bytes]:
    return [entry for writer in writers for entry in writer.entries()]


def tiles(entries: Sequence[bytes]) -> Files:
    """c2sp.org/tlog-tiles: the entry bundles, and the hashes of each level."""
    files: Files = {}
    framed = [len(entry).to_bytes(2, "big") + entry for entry in entries]
    hashes = [sha256(b"\x00" + entry) for entry in entries]
    level, rows = 0, {"entries": framed, "0": hashes}
    while hashes:
        for name, row in rows.items():
            for at in range(0, len(row), FULL):
                part = row[at : at + FULL]
                width = "" if len(part) == FULL else f".p/{len(part)}"
                files[f"log/tile/{name}/{tile_name(at // FULL)}{width}"] = b"".join(part)
        span = FULL ** (level := level + 1)
        count = len(entries) // span
        hashes = [root(entries[n * span : (n + 1) * span], sha256) for n in range(count)]
        rows = {str(level): hashes}
    return files


def files_of(
    store: SignatureStore,
    writers: Sequence[Writer],
    entries: Sequence[bytes] | None = None,
    device: str = "device",
) -> Files:
    entries = entries_of(writers) if entries is None else entries
    files = {f"sessions/{w.session}/{n}": d for w in writers for n, d in w.sealed().items()}
    signed = log_signed(entries, RECORDER, Key(device, ED25519, store))
    return {**files, **tiles(entries), "log/checkpoint": signed}


# --- logs ----------------------------------------------------------------------------------------


@vector("logs/good", "COMPLETE")
def three_sessions(store: SignatureStore) -> Files:
    """Three sessions, each with an entry for its begin and one for its seal."""
    return files_of(store, sessions(store))


@vector("logs/good", "COMPLETE")
def one_being_recorded(store: SignatureStore) -> Files:
    """The last session has no seal yet."""
    first, last = sessions(store, (1, 2))
    last.records.pop()
    last.beat()
    opened = [*first.entries(), last.entries()[0]]
    files = files_of(store, [first], opened)
    return files | {f"sessions/{last.session}/{n}": d for n, d in last.journal().items()}


@vector("logs/tampered", "TAMPERED")
def session_taken_away(store: SignatureStore) -> Files:
    """The folder of the second session was deleted."""
    writers = sessions(store)
    return files_of(store, [writers[0], writers[2]], entries_of(writers))


@vector("logs/tampered", "TAMPERED")
def counter_with_hole(store: SignatureStore) -> Files:
    """The second session is in no entry, and its number is missing."""
    return files_of(store, sessions(store, (1, 3)))


@vector("logs/tampered", "TAMPERED")
def session_not_in_the_log(store: SignatureStore) -> Files:
    """A recording that was put beside the others."""
    writers = sessions(store)
    return files_of(store, writers, entries_of(writers[:2]))


@vector("logs/tampered", "TAMPERED")
def one_counter_for_two(store: SignatureStore) -> Files:
    """Two takes with one number."""
    first, second = sessions(store, (1, 2))
    second.counter = 1
    second.edit(0, session_counter=1)
    return files_of(store, [first, second])


@vector("logs/tampered", "TAMPERED")
def recording_replaced(store: SignatureStore) -> Files:
    """A session was recorded again under its id: its checkpoints are not those in the log."""
    writers = sessions(store)
    entries = entries_of(writers)
    writers[1].edit(1, detail="again")
    return files_of(store, writers, entries)


@vector("logs/tampered", "TAMPERED")
def seal_of_another_log(store: SignatureStore) -> Files:
    """OPEN names a seal that is not in the log."""
    writers = sessions(store)
    writers[1].edit(0, previous_seal=sha256(b"another"))
    writers[2].edit(0, previous_seal=writers[1].entries()[1][-32:])
    return files_of(store, writers)


@vector("logs/tampered", "TAMPERED")
def entry_changed(store: SignatureStore) -> Files:
    """A bit of an entry is another."""
    files = files_of(store, sessions(store))
    name = "log/tile/entries/000.p/6"
    data = files[name]
    return {**files, name: data[:40] + bytes([data[40] ^ 1]) + data[41:]}


@vector("logs/tampered", "TAMPERED")
def tile_changed(store: SignatureStore) -> Files:
    """A bit of a hash in a tile is another, and the entries are right."""
    files = files_of(store, sessions(store))
    name = "log/tile/0/000.p/6"
    return {**files, name: bytes([files[name][0] ^ 1]) + files[name][1:]}


@vector("logs/tampered", "TAMPERED")
def log_signed_by_another(store: SignatureStore) -> Files:
    """The log's checkpoint is signed by a key that no OPEN names."""
    return files_of(store, sessions(store), device="attacker")
