"""Whose statements are believed where there is a folder, and no key of the device."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_store import MemoryStore
from recordings import Recording, device_key
from rotations import rotated
from statements import HOLD, RELEASE, deletion, signed

from recorder_worker.core import keys
from recorder_worker.core.retention.statement import SignedStatement
from recorder_worker.service.settings.tree import Settings
from recorder_worker.service.signing import statements_here

ID = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
OTHER_ID = "0192f0c1-2b3c-7d4e-8f50-00000000ffff"


class Folder:
    """A sealed recording of device key 1 in a data directory that has no keys."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, MemoryStore()
        for name, data in Recording(ID).open().chunk(1).seal().sealed().items():
            self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        self.store.put(keys.blob_key(ID, name), data)

    def state(self, *statements: SignedStatement) -> None:
        for number, one in enumerate(statements, 1):
            self.put(keys.statement(number), one.raw)

    def rotate(self, old: int, new: int, *, good: bool = True) -> None:
        statement = rotated(old, new)
        at = statement.index(b"signed ed25519 ") + len(b"signed ed25519 ")
        flipped = b"B" if statement[at : at + 1] == b"A" else b"A"
        folder = self.path / "keys" / "rotations"
        folder.mkdir(parents=True, exist_ok=True)
        bad = statement[:at] + flipped + statement[at + 1 :]
        (folder / str(new)).write_bytes(statement if good else bad)

    def is_deleted(self) -> bool:
        settings = Settings(data_dir=str(self.path))
        found = statements_here(settings, self.store).is_deleted(ID)
        assert not (self.path / "keys" / "device.pem").exists(), "no key is made to look"
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_nothing_said_is_no_deletion_nor_is_a_hold(folder: Folder) -> None:
    assert not folder.is_deleted()
    folder.state(*signed(HOLD, RELEASE, session_id=ID))
    assert not folder.is_deleted()


def test_the_key_that_its_open_names_is_believed(folder: Folder) -> None:
    folder.state(*signed(HOLD, RELEASE, deletion(), session_id=ID))
    assert folder.is_deleted()


@pytest.mark.parametrize("key", [2, 3])
def test_a_later_key_is_believed_by_the_rotations_that_tie_it_to_that(
    folder: Folder, key: int
) -> None:
    folder.state(*signed(deletion(), session_id=ID, key=device_key(key)))
    assert not folder.is_deleted()
    folder.rotate(2, 3)
    assert not folder.is_deleted()
    folder.rotate(1, 2)
    assert folder.is_deleted()


def test_a_rotation_that_its_old_key_has_not_signed_ties_nothing(folder: Folder) -> None:
    folder.state(*signed(deletion(), session_id=ID, key=device_key(2)))
    folder.rotate(1, 2, good=False)
    assert not folder.is_deleted()


@pytest.mark.parametrize("name", [keys.SEAL, keys.RECORDS])
def test_a_folder_that_does_not_say_whose_it_is_says_no_deletion(folder: Folder, name: str) -> None:
    folder.state(*signed(deletion(), session_id=ID))
    held = folder.store.get(keys.blob_key(ID, name))
    folder.store.tamper(keys.blob_key(ID, name), held[:-1])
    assert not folder.is_deleted()
    folder.store.delete(keys.blob_key(ID, name))
    assert not folder.is_deleted()


def test_a_statement_of_another_session_or_behind_one_says_nothing(folder: Folder) -> None:
    folder.state(*signed(deletion(), session_id=OTHER_ID))
    assert not folder.is_deleted()
