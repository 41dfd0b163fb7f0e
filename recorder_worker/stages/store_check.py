"""Whether a store as a whole is there: what is missing in one that is away is not missing."""

from __future__ import annotations

from recorder_worker.core import keys
from recorder_worker.ports import BlobStore


def check_store(store: BlobStore) -> None:
    """Write something and take it away again.

    Whoever finds a blob missing or unreadable asks this before he says so in the record: a disk
    that is not mounted, has lost its device or may not be touched has no blob at all, and that
    passes. Of one that is well, the blob is really gone.

    Raises:
        StoreError: the store is not well; wait until it is.
    """
    store.replace(keys.PROBE, b"")
    store.delete(keys.PROBE)
