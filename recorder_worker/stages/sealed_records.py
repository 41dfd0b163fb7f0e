"""The records of a sealed session, held against the root that its seal signs. Blocking.

Whoever removes, copies or repairs goes by what records say. A file that somebody has changed, or
that a disk has, must not have the recorder do it.
"""

from __future__ import annotations

from collections.abc import Iterator

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.records.file import unframed
from recorder_worker.core.signing.note import parse_note
from recorder_worker.ports import BlobStore


def sealed_records(store: BlobStore, session_id: str) -> Iterator[bytes]:
    """Each record, in order. What they say counts once the last one has been given.

    The signature on the seal is for others to check.

    Raises:
        BlobMissingError: there are none, or no seal.
        FormatError: they are not those whose root is in the seal, which is told at their end.
    """
    head = parse_note(store.get(keys.blob_key(session_id, keys.SEAL))).head
    frontier = Frontier()
    for data in unframed(store.stream(keys.blob_key(session_id, keys.RECORDS))):
        frontier = frontier.append(BLAKE3.leaf(data))
        yield data
    found = (frontier.size, frontier.root())
    if found != (head.tree_size, head.root_hash):
        raise FormatError(
            f"session {session_id}: expected the {head.tree_size} records of root "
            f"{head.root_hash.hex()} that its seal signs, found {found[0]} of root "
            f"{found[1].hex()}; run recorder verify on it"
        )


def check_sealed_records(store: BlobStore, session_id: str) -> None:
    """Whether records and seal of a session fit each other; raises as `sealed_records`."""
    for _ in sealed_records(store, session_id):
        pass
