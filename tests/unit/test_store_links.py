"""Links that somebody makes in a data directory lead the recorder nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from statements import deletion

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, StoreError
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.retention.removal import bytes_left, remove_bytes

ID = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
HELD = "0192f0c1-2b3c-7d4e-8f50-aaaaaaaaaaaa"
SECRET = b"a private key"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "data")
    store.put(keys.blob_key(ID, keys.SEAL), b"a seal")
    store.put(keys.blob_key(ID, keys.chunk(1, compressed=True)), b"deleted")
    store.put(keys.blob_key(HELD, keys.chunk(1, compressed=True)), b"under hold")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "device.pem").write_bytes(SECRET)
    return store


def path_of(store: DirectoryStore, session_id: str, name: str) -> Path:
    return Path(store.location(keys.blob_key(session_id, name)))


def link_to_file(store: DirectoryStore, secret: Path) -> str:
    path_of(store, ID, "note").symlink_to(secret / "device.pem")
    return keys.blob_key(ID, "note")


def link_to_folder(store: DirectoryStore, secret: Path) -> str:
    path_of(store, ID, keys.PROOFS).symlink_to(secret)
    return keys.blob_key(ID, f"{keys.PROOFS}/device.pem")


@pytest.mark.parametrize("link", [link_to_file, link_to_folder])
def test_what_a_link_leads_to_is_no_blob_and_is_not_copied(
    store: DirectoryStore, tmp_path: Path, link: Callable[[DirectoryStore, Path], str]
) -> None:
    key = link(store, tmp_path / "keys")
    assert store.size(key) is None
    with pytest.raises(BlobMissingError):
        store.get(key)
    assert key not in store.keys("")
    assert store.keys(keys.blob_key(ID, keys.PROOFS)) == []
    assert store.children(keys.blob_key(ID, keys.PROOFS)) == []
    second = DirectoryStore(tmp_path / "bucket")
    copier = Copier(store, lambda: second, Metrics(version="1", node="n").copies)
    with pytest.raises(BlobMissingError):
        copier.copy(key)
    assert second.keys("") == []
    with pytest.raises(StoreError):
        store.put(key, SECRET)


@pytest.mark.parametrize("name", [keys.CHUNKS, ""], ids=["chunks", "session"])
def test_the_deletion_of_one_session_takes_nothing_of_another(
    store: DirectoryStore, name: str
) -> None:
    folder = path_of(store, ID, keys.CHUNKS) if name else path_of(store, ID, "any").parent
    moved = folder.with_name("moved")
    folder.rename(moved)
    folder.symlink_to(path_of(store, HELD, "any").parent / name)
    with pytest.raises(StoreError, match="symbolic link"):
        remove_bytes([store], ID, deletion())
    assert store.get(keys.blob_key(HELD, keys.chunk(1, compressed=True))) == b"under hold"


def test_links_among_what_goes_go_themselves(store: DirectoryStore, tmp_path: Path) -> None:
    chunks = path_of(store, ID, keys.CHUNKS)
    (chunks / "file").symlink_to(tmp_path / "keys" / "device.pem")
    (chunks / "folder").symlink_to(tmp_path / "keys")
    remove_bytes([store], ID, deletion())
    assert bytes_left([store], ID, deletion()) == []
    assert not chunks.exists()
    assert (tmp_path / "keys" / "device.pem").read_bytes() == SECRET
