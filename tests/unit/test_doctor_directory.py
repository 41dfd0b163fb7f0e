"""The doctor looks at keys while workers make and erase them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recorder_worker.service.doctor.directory import look_at_directory
from recorder_worker.service.settings.tree import Settings


def findings(root: Path) -> list[tuple[str, str]]:
    cases = look_at_directory(Settings(data_dir=str(root)))
    found = [case.finding for case in cases]
    return [(one.check, Path(one.where).name) for one in found if one.check.startswith("keys")]


def secret(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(b"secret")
    path.chmod(mode)
    return path


def test_keys_that_go_away_while_they_are_looked_at_are_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    secret(keys / "epochs" / "a" / "0.key", 0o644)
    erased = secret(keys / "epochs" / "a" / ".0.erased.82016688d2264bac.new", 0o600)
    folder = secret(keys / "epochs" / "b" / "0.key", 0o600).parent
    keys.chmod(0o700)
    lstat = Path.lstat

    def late(path: Path) -> os.stat_result:
        """A worker is quicker, by a file and by a folder with one."""
        if path == erased:
            erased.unlink(missing_ok=True)
        found = lstat(path)
        if path == folder:
            (folder / "0.key").unlink(missing_ok=True)
            folder.rmdir()
        return found

    monkeypatch.setattr(Path, "lstat", late)
    assert findings(tmp_path) == [("keys.open", "0.key")]


def test_a_secret_that_nobody_finished_is_told_and_a_young_one_is_not(tmp_path: Path) -> None:
    old = secret(tmp_path / "keys" / ".device.pem.0123.new", 0o600)
    secret(tmp_path / "keys" / ".device.pem.4567.new", 0o600)
    (tmp_path / "keys").chmod(0o700)
    os.utime(old, (0, 0))
    assert findings(tmp_path) == [("keys.stray", old.name)]
