"""Sees what leaves the first store, and whether the second has it at that moment."""

from __future__ import annotations

from typing import Any, NamedTuple

from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.ports import BlobStore


class Leaving(NamedTuple):
    """A chunk that was deleted here: BLAKE3 of the second store's copy then; empty: it had none."""

    session_id: str
    name: str
    copy_blake3: str


class WitnessedStore:
    """The first store. All processes have the same one."""

    def __init__(self, store: BlobStore, second: BlobStore) -> None:
        self._store = store
        self._second = second
        self.left: list[Leaving] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
        return getattr(self._store, name)

    def delete(self, key: str) -> None:
        """As `BlobStore`."""
        self._see(key)
        self._store.delete(key)

    def delete_below(self, prefix: str) -> None:
        """As `BlobStore`."""
        for key in self._store.keys(prefix):
            self._see(key)
        self._store.delete_below(prefix)

    def _see(self, key: str) -> None:
        top, _, rest = key.partition("/")
        session_id, _, name = rest.partition("/")
        of_chunk = top == keys.SESSIONS and name.startswith(f"{keys.CHUNKS}/")
        if not of_chunk or self._store.size(key) is None:
            return
        try:
            copy = blake3(self._second.get(key)).hexdigest()
        except BlobMissingError:
            copy = ""
        self.left.append(Leaving(session_id, name, copy))
