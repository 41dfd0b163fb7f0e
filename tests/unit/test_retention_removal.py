"""Removing bytes: the key first, everywhere, and no tombstone before all is gone."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from mortal import Axe, Killed, Mortal
from recording_files import write
from recordings import Recording
from statements import deletion as order_of
from statements import signed

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.errors import IncidentError, StoreError
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.model import SCHEMA_VERSION, EndReason
from recorder_worker.core.retention.sayings import Deletion, Rule
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.storage import StorageReports, StoredSessions
from recorder_worker.stages.retention.removal import bytes_left, deletion_of, remove_bytes
from recorder_worker.stages.retention.sealed_session import SealedSession, owner_of, read_sealed

ID = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
NAMES = (
    keys.MANIFEST,
    keys.RECORDS,
    keys.SEAL,
    keys.mark(3),
    keys.chunk(1, compressed=True, encrypted=True),
    keys.chunk(2, compressed=True, encrypted=True),
    keys.thumbnail(0, encrypted=True),
    keys.segment(0, "ab" * 32),
)
KEPT = {keys.RECORDS, keys.SEAL, keys.mark(3)}


def deletion(*, key_removed: bool) -> Deletion:
    sealed = SealedSession(
        session_id=ID,
        sealed_ns=1,
        tree_size=4,
        root_hash="ab" * 32,
        chunk_count=2,
        chunk_bytes=20,
        encrypted=key_removed,
        retain_s=None,
        owner="",
    )
    return deletion_of(sealed, by="kim", reason="r", rule=Rule.COMMAND, now_ns=5)


def stores_in(folder: Path) -> list[DirectoryStore]:
    stores = [DirectoryStore(folder / name) for name in ("first", "second")]
    for store in stores:
        for name in NAMES:
            store.put(keys.blob_key(ID, name), name.encode())
    return stores


def names_in(store: DirectoryStore) -> set[str]:
    prefix = keys.session_prefix(ID)
    return {key.removeprefix(f"{prefix}/") for key in store.keys(prefix)}


def test_what_proves_the_session_stays_and_all_else_goes_from_every_store(tmp_path: Path) -> None:
    stores = stores_in(tmp_path)
    gone = deletion(key_removed=True)
    assert len(bytes_left(stores, ID, gone)) == 2 * 5
    for _ in range(2):
        remove_bytes(stores, ID, gone)
        assert [names_in(store) for store in stores] == [KEPT, KEPT]
        assert bytes_left(stores, ID, gone) == []


def test_the_manifest_of_a_session_that_is_not_encrypted_stays(tmp_path: Path) -> None:
    stores = stores_in(tmp_path)
    remove_bytes(stores, ID, deletion(key_removed=False))
    assert [names_in(store) for store in stores] == [KEPT | {keys.MANIFEST}] * 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_effect_no_chunk_is_gone_while_its_key_is_there(
    tmp_path: Path, *, after: bool
) -> None:
    whole, axe = stores_in(tmp_path / "whole"), Axe()
    gone = deletion(key_removed=True)
    remove_bytes([Mortal(store, axe, "delete", "delete_below") for store in whole], ID, gone)
    assert axe.effects[:2] == ["delete", "delete"]
    for at in range(1, len(axe.effects) + 1):
        stores = stores_in(tmp_path / f"{at}")
        struck = Axe(at, after=after)
        with pytest.raises(Killed):
            remove_bytes(
                [Mortal(store, struck, "delete", "delete_below") for store in stores], ID, gone
            )
        chunks = sum(len(store.keys(keys.blob_key(ID, keys.CHUNKS))) for store in stores)
        key = any(keys.MANIFEST in names_in(store) for store in stores)
        assert chunks == 4 or not key
        remove_bytes(stores, ID, gone)
        assert [names_in(store) for store in stores] == [KEPT, KEPT]


def test_a_store_that_keeps_something_is_an_error_and_names_it(tmp_path: Path) -> None:
    stores = stores_in(tmp_path)

    class Stubborn:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            if name == "delete_below":
                return lambda _prefix: None
            return getattr(stores[1], name)

    with pytest.raises(StoreError, match=r"4 files in .*second.* such as .*chunks"):
        remove_bytes([stores[0], Stubborn()], ID, deletion(key_removed=True))


# --- what is read of a sealed session -------------------------------------------------------------


def logged(seal: bytes = b"") -> LogEntry:
    return LogEntry(
        kind=EntryKind.SEAL, session_id=ID, counter=1, note_sha256=sha256(seal).digest()
    )


def test_a_manifest_of_a_build_long_ago_says_enough_and_garbage_is_an_incident(
    tmp_path: Path,
) -> None:
    store = DirectoryStore(tmp_path)
    assert owner_of(store, ID) == ""
    assert read_sealed(store, ID, logged()) is None
    store.put(keys.blob_key(ID, keys.MANIFEST), b'{"command": {"owner": "kim"}, "more": 1}')
    assert owner_of(store, ID) == "kim"
    assert read_sealed(store, ID, logged()) is None
    store.replace(keys.blob_key(ID, keys.MANIFEST), b"{garbage")
    with pytest.raises(IncidentError, match="cannot be read"):
        owner_of(store, ID)


def test_nothing_is_removed_on_half_of_what_a_newer_recorder_said(tmp_path: Path) -> None:
    """It may say elsewhere how long it is to be kept, or that it is encrypted."""
    store = DirectoryStore(tmp_path)
    newer = Recording(ID).open(v=SCHEMA_VERSION + 1, kept_for_days=90).chunk(1).seal().sealed()
    write(tmp_path / "sessions" / ID, newer)
    told = r"a newer recorder wrote it.*nothing.*is removed"
    with pytest.raises(IncidentError, match=told):
        read_sealed(store, ID, logged(newer[keys.SEAL]))
    with pytest.raises(IncidentError, match=told):
        owner_of(store, ID)


@pytest.mark.parametrize("name", [keys.SEAL, keys.RECORDS])
def test_what_is_no_sealed_recording_is_an_incident(tmp_path: Path, name: str) -> None:
    store = DirectoryStore(tmp_path)
    store.put(keys.blob_key(ID, keys.MANIFEST), b"{}")
    for one in (keys.SEAL, keys.RECORDS):
        store.put(keys.blob_key(ID, one), b"garbage" if one == name else b"")
    with pytest.raises(IncidentError, match="run recorder verify on it"):
        read_sealed(store, ID, logged())


def test_a_sealed_session_is_what_its_folder_and_the_log_say_together(tmp_path: Path) -> None:
    store, files = DirectoryStore(tmp_path), Recording(ID).open().chunk(1).seal().sealed()
    for name, data in files.items():
        store.put(keys.blob_key(ID, name), data)
    found = read_sealed(store, ID, logged(files[keys.SEAL]))
    assert found is not None
    assert found.chunk_count == 1
    with pytest.raises(IncidentError, match=f"{keys.SEAL} has the digest"):
        read_sealed(store, ID, logged(b"another one"))
    store.replace(keys.blob_key(ID, keys.MANIFEST), files[keys.MANIFEST] + b" ")
    with pytest.raises(IncidentError, match=f"{keys.MANIFEST} has the digest"):
        read_sealed(store, ID, logged(files[keys.SEAL]))


# --- the stage `storage`, told again --------------------------------------------------------------


async def test_a_seal_that_is_told_again_behind_a_deletion_is_no_loss(tmp_path: Path) -> None:
    store = stores_in(tmp_path)[0]
    (order,) = signed(order_of(), session_id=ID)
    store.put(keys.blob_key(ID, keys.statement(1)), order.raw)
    remove_bytes([store], ID, deletion(key_removed=False))
    told: list[tuple[object, ...]] = []

    class Events:
        async def emit(self, *event: object, **_: object) -> None:
            told.append(event)

    events: Any = Events()
    reports = StorageReports(events, SystemClock(), "node")
    sealed = SessionSealed(
        session_id=ID,
        reason=EndReason.STOPPED,
        tree_size=4,
        root_hash="ab" * 32,
        chunk_count=2,
        gap_count=0,
        mark_count=1,
        frame_count=2,
        lost_units=0,
        raw_bytes=1,
        plain_bytes=1,
        stored_bytes=20,
        location="here",
        wall_ns=1,
    )
    await StoredSessions(events, store, reports, lambda _id: True).handle(sealed)
    assert told == []
    # A statement that this device has not signed excuses nothing.
    await StoredSessions(events, store, reports, lambda _id: False).handle(sealed)
    assert [event[0] for event in told] == [Fact.INTEGRITY_FAILED]
