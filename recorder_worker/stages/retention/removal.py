"""Removes the bytes of a session that is to be deleted: the key first, then chunks and pictures.

The key goes first: from then on no copy of a chunk can be read either, wherever it is. What was
removed before a crash is gone, and removing it again is harmless. Nothing else of the folder is
touched: records, checkpoints, seal, marks, proofs and receipts are what proves that it was.

Stores beside the recorder's own get the statements before anything goes there, so that a copy never
lacks a chunk without saying why. A store that is away keeps the others from nothing: its bytes go
when it is back, and only then is it said that they are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from recorder_worker.core import keys
from recorder_worker.core.errors import StoreError
from recorder_worker.core.retention.sayings import Deletion, Rule
from recorder_worker.ports import BlobStore
from recorder_worker.stages.retention.sealed_session import SealedSession

FOLDERS = (keys.CHUNKS, keys.THUMBNAILS, keys.SEGMENTS)
"""What goes. Of a sealed session there are no segments, unless a crash left some."""


def deletion_of(
    sealed: SealedSession,
    *,
    by: str,
    reason: str,
    rule: Rule,
    limit: int = 0,
    command_id: str = "",
    now_ns: int,
) -> Deletion:
    """What is said before the bytes of a session go; `limit` is what the rule says, or 0."""
    return Deletion(
        by=by,
        reason=reason,
        rule=rule,
        limit=limit,
        command_id=command_id,
        begun_ns=now_ns,
        tree_size=sealed.tree_size,
        root_hash=sealed.root_hash,
        chunk_count=sealed.chunk_count,
        chunk_bytes=sealed.chunk_bytes,
        key_removed=sealed.encrypted,
    )


def bytes_left(stores: Sequence[BlobStore], session_id: str, deletion: Deletion) -> list[str]:
    """Keys, in whichever store, that go by a deletion and are there. Blocking."""
    return [key for store in stores for key in _left(store, session_id, deletion)]


def remove_bytes(stores: Sequence[BlobStore], session_id: str, deletion: Deletion) -> None:
    """Remove them from every store, and look that they are gone. Blocking.

    Args:
        stores: that of the recorder first; the others have copies.
        session_id: whose bytes.
        deletion: by which they go.

    Raises:
        StoreError: some could not be removed, or are still there; in the other stores they went.
    """
    failed: dict[int, StoreError] = {}
    for step in (partial(_say, stores[0]), _remove_key, _remove_rest, _look):
        for number, store in enumerate(stores):
            if number in failed:
                continue
            try:
                step(store, session_id, deletion)
            except StoreError as error:
                failed[number] = error
    if failed:
        raise failed[min(failed)]


def _say(first: BlobStore, store: BlobStore, session_id: str, _deletion: Deletion) -> None:
    if store is first:
        return
    for key in first.keys(keys.blob_key(session_id, keys.RETENTION)):
        store.replace(key, first.get(key))


def _remove_key(store: BlobStore, session_id: str, deletion: Deletion) -> None:
    if deletion.key_removed:
        store.delete(keys.blob_key(session_id, keys.MANIFEST))


def _remove_rest(store: BlobStore, session_id: str, _deletion: Deletion) -> None:
    for folder in FOLDERS:
        store.delete_below(keys.blob_key(session_id, folder))


def _look(store: BlobStore, session_id: str, deletion: Deletion) -> None:
    left = _left(store, session_id, deletion)
    if left:
        raise StoreError(
            f"session {session_id}: expected that nothing is left to remove, found "
            f"{len(left)} files in {store.location(keys.session_prefix(session_id))}, such as "
            f"{left[0]}; it is tried again"
        )


def _left(store: BlobStore, session_id: str, deletion: Deletion) -> list[str]:
    found = [key for name in FOLDERS for key in store.keys(keys.blob_key(session_id, name))]
    manifest = keys.blob_key(session_id, keys.MANIFEST)
    if deletion.key_removed and store.size(manifest) is not None:
        found.append(manifest)
    return found
