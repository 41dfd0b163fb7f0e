"""Whether the seal in a session's folder is its own: what it makes superfluous may go then.

A name proves nothing: whoever can write in the folder can put a file `seal` there, and so can a
restore into the wrong one. What stands behind a seal is removed only where it is, byte for byte,
the last checkpoint of the session that its own recorder has signed and published.
"""

from __future__ import annotations

import asyncio

import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.events import Checkpoint
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog

log = structlog.get_logger(__name__)


async def is_sealed(event_log: EventLog, store: BlobStore, session_id: str) -> bool:
    """Whether a session is sealed, by its stream and by its folder.

    The checkpoint is in the stream before the seal is in the folder. Where only one of the two is
    there, or they differ, nothing is known to be superfluous: a wrong "no" leaves something over,
    a wrong "yes" removes the only copy.

    Raises:
        BusUnavailableError, StoreError: nothing is known.
    """
    try:
        held = await asyncio.to_thread(store.get, keys.blob_key(session_id, keys.SEAL))
    except BlobMissingError:
        return False
    logged = await event_log.last(Fact.CHECKPOINT, session_id)
    signed = logged.event if logged else None
    last = signed if isinstance(signed, Checkpoint) else None
    if last is not None and last.sealed and last.note.encode() == held:
        return True
    log.warning(
        "SealNotOurs",
        session_id=session_id,
        location=store.location(keys.blob_key(session_id, keys.SEAL)),
        found_bytes=len(held),
        tree_size=last.tree_size if last else 0,
    )
    return False
