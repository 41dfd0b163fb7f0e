"""Takes a session that was deleted here out of the second store as well.

For whoever deletes sessions, to be called once the folder here is gone: from then on nothing is
copied of it (`is_removed`), so nothing comes back behind this. May be repeated.
"""

from __future__ import annotations

import structlog

from recorder_worker.core import keys
from recorder_worker.integrations.second_store.copier import Copier, of_second
from recorder_worker.integrations.second_store.patience import Patience

log = structlog.get_logger(__name__)


class CopyRemoval:
    """Removes copies, however long the second store is away."""

    def __init__(self, copier: Copier, patience: Patience) -> None:
        self._copier = copier
        self._patience = patience

    async def remove(self, session_id: str) -> None:
        """Remove all that the second store has of a session, and what is known here of it.

        Raises:
            SecondStoreError: it failed, and this worker stops.
            StoreError: what is known here cannot be removed.
        """
        await self._patience.until_done(session_id, lambda: self._remove(session_id))
        log.info("CopyRemoved", session_id=session_id)

    def _remove(self, session_id: str) -> None:
        with of_second():
            self._copier.second.delete_below(keys.session_prefix(session_id))
        self._copier.forget(keys.session_prefix(session_id))
        self._copier.local.delete(keys.copies(session_id))
