"""Brings recordings back from the second store, and repairs what is damaged here out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recorder_worker.adapters.directory_store import DirectoryStore, of_record
from recorder_worker.adapters.new_folder import NewFolder
from recorder_worker.bus.connection.broker import Login
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.integrations.second_store.repair import Repair, Repairs
from recorder_worker.ports import BlobStore
from recorder_worker.service.second_store import close_store, open_second_store
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.signing import statements_here

Brought = Callable[[str, int], None]
"""Called for each piece that has come, with its file and its size in bytes."""


@contextmanager
def second_store(settings: Settings, login: Login) -> Iterator[BlobStore]:
    """The second store of the settings, and its end. Raises StoreError."""
    store = open_second_store(settings.storage, lambda: login)
    try:
        yield store
    finally:
        close_store(store)


def sessions_there(store: BlobStore) -> list[str]:
    """The sessions that the second store has anything of. Raises StoreError."""
    return list(store.children(keys.SESSIONS))


def fetch_session(store: BlobStore, session_id: str, target: Path, brought: Brought) -> NewFolder:
    """Bring all that there is of one session into a new folder, which appears whole or not at all.

    Raises:
        BlobMissingError: there is nothing of it.
        ImmutableConflictError: the folder is there and not empty.
        StoreError: a store failed; nothing is left.
    """
    prefix = keys.session_prefix(session_id)
    return _fetch(
        store,
        {key: key.removeprefix(f"{prefix}/") for key in store.keys(prefix)},
        store.location(prefix),
        target,
        brought,
    )


def fetch_log(store: BlobStore, target: Path, brought: Brought) -> NewFolder:
    """Bring the log of sessions and the audit trail; raises as `fetch_session`."""
    found = {key: key for folder in (keys.LOG, keys.AUDIT) for key in store.keys(folder)}
    return _fetch(store, found, store.location(keys.LOG), target, brought)


def repair_session(settings: Settings, store: BlobStore, session_id: str) -> list[Repair]:
    """Put back chunks of the data directory that are not whole; raises as `Repairs.session`."""
    local = DirectoryStore(
        settings.data_path, floor_bytes=settings.disk.floor_bytes, below_floor=of_record
    )
    return Repairs(local, store, statements_here(settings, local).is_deleted).session(session_id)


def _fetch(
    store: BlobStore, names: dict[str, str], where: str, target: Path, brought: Brought
) -> NewFolder:
    if not names:
        raise BlobMissingError(
            f"{where}: expected something there, found nothing; is the id right, and "
            "storage.prefix?"
        )

    def told(key: str) -> Iterator[bytes]:
        for piece in store.stream(key):
            brought(names[key], len(piece))
            yield piece

    with NewFolder(target) as made:
        for key, name in names.items():
            made.write(name, told(key))
    return made
