"""What of a deleted session is in the second store: its record, and no bytes of what was shown.

Whoever deletes takes them out of every store (`stages/retention/removal.py`), behind a statement
that is durable here before the first byte goes. So who copies asks for one before he sends, and
again behind it: either he finds it, and takes out what he has sent, or whoever deletes finds that.
Killed in between, he is asked to copy the same again, and finds the statement.
"""

from __future__ import annotations

from recorder_worker.core import keys
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.integrations.second_store.copier import Copier, of_second
from recorder_worker.ports import BlobStore
from recorder_worker.stages.retention.removal import FOLDERS, remove_bytes


def stays(name: str, deletion: Deletion | None) -> bool:
    """Whether a file of a session's folder is there behind its deletion."""
    if deletion is None:
        return True
    if name == keys.MANIFEST:
        return not deletion.key_removed
    return name.split("/", 1)[0] not in FOLDERS


def take_out(copier: Copier, session_id: str, deletion: Deletion) -> None:
    """Remove there what goes by a deletion. Raises SecondStoreError."""
    with of_second():
        remove_bytes((copier.second,), session_id, deletion)
    copier.forget(keys.session_prefix(session_id))


def is_gone(store: BlobStore, session_id: str) -> bool:
    """Whether somebody has taken a session's folder away here: no order to remove its copy."""
    return store.size(keys.blob_key(session_id, keys.MANIFEST)) is None
