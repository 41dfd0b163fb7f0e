"""Puts back, from the second store, chunks here that are damaged or gone; as the patrol does.

What is signed in the records decides, and neither of the two stores: bytes that do not have the
digest of their record are put nowhere. A whole chunk here is never touched. Blocking.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError
from recorder_worker.ports import BlobStore
from recorder_worker.stages.patrol.chunk_check import StoredChunk, check, chunks_behind, put_back


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one chunk that was not whole here. `lost`: it is whole nowhere."""

    name: str
    found: str
    lost: str = ""


class Repairs:
    """Repairs recordings in one store from another.

    `is_deleted` says whether a session's recorder has signed that its bytes go: what somebody else
    has put there says nothing.
    """

    def __init__(
        self, local: BlobStore, second: BlobStore, is_deleted: Callable[[str], bool]
    ) -> None:
        self._local = local
        self._second = second
        self._is_deleted = is_deleted

    def session(self, session_id: str) -> list[Repair]:
        """Look at every chunk of a sealed session, and put back what is not whole.

        Raises:
            RefusedError: it was deleted.
            BlobMissingError, FormatError: there are no records to go by.
            StoreError: a store failed; what was put back stays.
        """
        self._refuse_deleted(session_id)
        done = []
        for chunk in chunks_behind(self._local, session_id, -1):
            repair = self.chunk(session_id, chunk)
            if repair is not None:
                done.append(repair)
        return done

    def chunk(self, session_id: str, chunk: StoredChunk) -> Repair | None:
        """Look at one chunk, and put it back; None where it is whole.

        Raises:
            RefusedError: its session is deleted meanwhile; nothing was put back.
            StoreError: a store failed.
        """
        fault = check(self._local, chunk)
        if fault is None:
            return None
        lost = put_back(self._local, self._second, session_id, chunk, self._is_deleted)
        if lost:
            self._refuse_deleted(session_id)
        name = chunk.key.removeprefix(f"{keys.session_prefix(session_id)}/")
        found = fault.problem if fault.problem == "missing" else f"{fault.problem}: {fault.found}"
        return Repair(name=name, found=found, lost=lost)

    def _refuse_deleted(self, session_id: str) -> None:
        if self._is_deleted(session_id):
            raise RefusedError(
                field="SESSION",
                expected="a session whose bytes are kept",
                got=f"{session_id}, which was deleted",
                hint="there is nothing to repair; recorder verify says who deleted it, and why",
            )
