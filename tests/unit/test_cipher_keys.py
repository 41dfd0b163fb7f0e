"""Keys of running sessions in files: one for each, found by whoever asks, and gone at the seal."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.core.errors import SessionKeyMissingError, StoreError

SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000a1"


@pytest.fixture
def keys(tmp_path: Path) -> CipherKeyFiles:
    return CipherKeyFiles(tmp_path / "keys" / "ciphers")


def test_a_key_is_made_once_and_told_to_all(keys: CipherKeyFiles, tmp_path: Path) -> None:
    key = keys.make(SESSION)
    assert len(key) == 32
    assert keys.make(SESSION) == keys.get(SESSION) == key
    assert CipherKeyFiles(tmp_path / "keys" / "ciphers").get(SESSION) == key
    assert keys.make(SESSION.replace("a1", "a2")) != key


def test_those_who_race_for_a_key_get_the_same(keys: CipherKeyFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: keys.make(SESSION), range(32)))
    assert len(found) == 1


def test_a_key_is_for_its_owner_alone(keys: CipherKeyFiles, tmp_path: Path) -> None:
    keys.make(SESSION)
    folder = tmp_path / "keys" / "ciphers"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_erased_key_is_overwritten_and_gone(keys: CipherKeyFiles, tmp_path: Path) -> None:
    key = keys.make(SESSION)
    folder = tmp_path / "keys" / "ciphers"
    (file,) = folder.iterdir()
    held = tmp_path / "another name of its blocks"
    held.hardlink_to(file)
    keys.erase(SESSION)
    assert held.read_bytes() == bytes(32)
    assert list(folder.iterdir()) == []
    keys.erase(SESSION)
    with pytest.raises(SessionKeyMissingError, match=f"session {SESSION} is encrypted"):
        keys.get(SESSION)
    assert key != bytes(32)


def test_erasing_where_there_never_was_a_key_makes_nothing(
    keys: CipherKeyFiles, tmp_path: Path
) -> None:
    keys.erase(SESSION)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33), bytes(32)], ids=len)
def test_a_file_that_holds_no_key_is_said_and_not_used(
    keys: CipherKeyFiles, tmp_path: Path, data: bytes
) -> None:
    """Zeros are what an erasure leaves that was cut short: sealing with them hides nothing."""
    keys.make(SESSION)
    (file,) = (tmp_path / "keys" / "ciphers").iterdir()
    file.write_bytes(data)
    with pytest.raises(StoreError, match="expected 32 secret bytes"):
        keys.get(SESSION)
    with pytest.raises(StoreError, match="expected 32 secret bytes"):
        keys.make(SESSION)


def test_an_id_that_leads_elsewhere_is_refused(keys: CipherKeyFiles) -> None:
    for session_id in ("../device", "", "a/b", ".."):
        with pytest.raises(ValueError, match="expected the id of a session"):
            keys.make(session_id)
