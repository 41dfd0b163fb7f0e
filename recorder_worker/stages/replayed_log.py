"""Takes the log of sessions over into another store: it is checked, copied, and checked there.

With it goes the audit trail, whose digests stand in the log. Neither is made again: what stands in
the log is what was signed. All files are read once, and those bytes that were checked are those
that are stored.
"""

from __future__ import annotations

from contextlib import suppress

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.session_log.stored_log import check_log, read_checkpoint
from recorder_worker.ports import BlobStore


def take_over_log(store: BlobStore, target: BlobStore) -> int:
    """Copy the log, its receipts and the audit trail; gives how many entries the log has.

    A recorder that runs may write on meanwhile: what is taken is the log of one checkpoint.

    Raises:
        FormatError, ProofError, BlobMissingError: the log is not whole; nothing was copied.
        ImmutableConflictError: the target has another log.
        StoreError: one of the stores failed.
    """
    read: dict[str, bytes] = {}

    def reading(name: str) -> bytes:
        read[name] = store.get(keys.log_key(name))
        return read[name]

    checkpoint = read_checkpoint(reading)
    if checkpoint is None:
        return 0
    entries = check_log(reading, checkpoint).entries
    signed = read.pop(keys.LOG_CHECKPOINT)
    for name, data in read.items():
        target.put(keys.log_key(name), data)
    for key in store.keys(keys.log_key(keys.LOG_RECEIPTS)):
        target.replace(key, store.get(key))
    with suppress(BlobMissingError):  # no receipt has come yet
        target.replace(keys.log_key(keys.LOG_BEACON), store.get(keys.log_key(keys.LOG_BEACON)))
    for key in store.keys(keys.AUDIT):
        with suppress(BlobMissingError):  # it grew too old meanwhile
            target.put(key, store.get(key))
    target.replace(keys.log_key(keys.LOG_CHECKPOINT), signed)
    check_log(lambda name: target.get(keys.log_key(name)), checkpoint)
    return len(entries)
