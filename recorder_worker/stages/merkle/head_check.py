"""A head that another process stored, held against the stored records before anything is signed."""

from __future__ import annotations

from recorder_worker.core.errors import BlobMissingError, IncidentError
from recorder_worker.core.events import Head
from recorder_worker.core.records.ledger import replay_records
from recorder_worker.stages.merkle.archive import Archive


def check_head(archive: Archive, head: Head) -> None:
    """Read the records that a head is over. Blocking.

    Raises:
        IncidentError: the records do not give the root that was to be signed.
    """
    try:
        records = archive.records(head.tree_size)
    except BlobMissingError as error:
        raise IncidentError(f"session {head.session_id}: a leaf record is gone: {error}") from error
    stored = replay_records(records)
    root = stored.frontier.root().hex()
    if (stored.size, root) != (head.tree_size, head.root_hash):
        raise IncidentError(
            f"session {head.session_id}: the {stored.size} stored records give root {root}, "
            f"but {head.root_hash} over {head.tree_size} was signed; the store was changed"
        )
