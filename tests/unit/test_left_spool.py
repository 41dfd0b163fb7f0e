"""What one who lost his lease leaves in the spool: all of it, or nothing where a seal stands."""

from __future__ import annotations

from memory_store import MemoryStore

from recorder_worker.core import keys
from recorder_worker.stages.capture.session.aftermath import leave_spool

SESSION = "0df675d3-8151-409e-b9e2-9621ce078518"
SEGMENT = keys.blob_key(SESSION, keys.segment(7, "ab" * 32))
CHUNK = keys.blob_key(SESSION, keys.chunk(1, compressed=True))


def test_before_the_seal_nothing_is_touched_for_the_new_holder_writes_there_too() -> None:
    store = MemoryStore()
    store.put(SEGMENT, b"of whoever holds it now")
    leave_spool(store, SESSION)
    assert store.get(SEGMENT)


def test_behind_the_seal_nobody_else_would_remove_it() -> None:
    store = MemoryStore()
    for key in (SEGMENT, CHUNK, keys.blob_key(SESSION, keys.SEAL)):
        store.put(key, b"something")
    leave_spool(store, SESSION)
    assert list(store.keys(keys.blob_key(SESSION, "segments"))) == []
    assert store.get(CHUNK)
