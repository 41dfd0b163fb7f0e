"""Puts back, from the second store, chunks here that are damaged or gone.

What is signed in the records decides, and neither of the two stores: bytes that do not have the
digest of their record are put nowhere. A whole chunk here is never touched. Blocking.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import Expected
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobUnreadableError,
    StoreError,
)
from recorder_worker.integrations.second_store.archiver import signed_chunks
from recorder_worker.integrations.second_store.copier import of_second
from recorder_worker.ports import BlobStore


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one chunk that was not whole here. `lost`: it is whole nowhere."""

    name: str
    found: str
    lost: str = ""


class Repairs:
    """Repairs recordings in one store from another."""

    def __init__(self, local: BlobStore, second: BlobStore) -> None:
        self._local = local
        self._second = second

    def session(self, session_id: str) -> list[Repair]:
        """Look at every chunk of a sealed session, and put back what is not whole.

        Raises:
            BlobMissingError, FormatError: there are no records to go by.
            StoreError: a store failed; what was put back stays.
        """
        done = []
        for name, expected in signed_chunks(self._local, session_id).items():
            repair = self.chunk(session_id, name, expected)
            if repair is not None:
                done.append(repair)
        return done

    def chunk(self, session_id: str, name: str, expected: Expected) -> Repair | None:
        """Look at one chunk, and put it back; None where it is whole. Raises StoreError."""
        key = keys.blob_key(session_id, name)
        found = self._wrong_here(key, expected)
        if not found:
            return None
        try:
            with of_second():
                held = self._second.digest(key, read_back=True)
        except BlobMissingError:
            return Repair(name=name, found=found, lost="the second store has no such blob")
        except BlobDamagedError as error:
            return Repair(name=name, found=found, lost=f"nor is it whole there: {error}")
        if (held.size, held.sha256) != (expected.size, expected.sha256):
            lost = f"nor is it whole there: {held.size} bytes of SHA-256 {held.sha256}"
            return Repair(name=name, found=found, lost=lost)
        with of_second():
            data = self._second.get(key)
        # The name never stands for half a file, nor for none: it is replaced as a whole.
        self._local.replace(key, data)
        again = self._wrong_here(key, expected)
        if again:
            raise StoreError(f"{key}: was put back, and is not whole: {again}; look at the disk")
        return Repair(name=name, found=found)

    def _wrong_here(self, key: str, expected: Expected) -> str:
        try:
            found = self._local.digest(key, read_back=True)
        except BlobMissingError:
            return "missing"
        except (BlobUnreadableError, BlobDamagedError) as error:
            return f"unreadable: {error}"
        except StoreError as error:
            if self._local.size(key) is None:
                raise
            return f"unreadable: {error}"
        if (found.size, found.sha256) == (expected.size, expected.sha256):
            return ""
        return f"damaged: {found.size} bytes of SHA-256 {found.sha256}"
