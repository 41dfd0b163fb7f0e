"""A file that a person asked for is there whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recorder_worker.adapters.new_file import NewFile
from recorder_worker.core.errors import ImmutableConflictError, StoreError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_it_is_published(tmp_path: Path) -> None:
    with NewFile(tmp_path / "film", replace=False) as file:
        file.spare.write_bytes(b"whole")
        assert not (tmp_path / "film").exists()
        file.publish()
    assert names(tmp_path) == ["film"]
    assert (tmp_path / "film").read_bytes() == b"whole"


def test_what_is_not_published_goes(tmp_path: Path) -> None:
    with NewFile(tmp_path / "film", replace=False) as file:
        file.spare.write_bytes(b"part")
    assert names(tmp_path) == []


def test_a_name_that_is_taken_is_refused_before_and_at_the_end(tmp_path: Path) -> None:
    with NewFile(tmp_path / "film", replace=False) as file:
        file.spare.write_bytes(b"ours")
        (tmp_path / "film").write_bytes(b"theirs")
        with pytest.raises(ImmutableConflictError, match="expected no file"):
            file.publish()
    assert (tmp_path / "film").read_bytes() == b"theirs"
    with pytest.raises(ImmutableConflictError, match="--force"):
        NewFile(tmp_path / "film", replace=False)
    assert names(tmp_path) == ["film"]


def test_it_may_replace_a_file_but_no_folder(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"old")
    with NewFile(tmp_path / "film", replace=True) as file:
        file.spare.write_bytes(b"new")
        file.publish()
    assert (tmp_path / "film").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImmutableConflictError):
        NewFile(tmp_path / "folder", replace=True)


def test_a_file_system_without_links_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    with NewFile(tmp_path / "film", replace=False) as file:
        file.spare.write_bytes(b"whole")
        file.publish()
    assert names(tmp_path) == ["film"]


def test_what_was_never_written_cannot_be_published(tmp_path: Path) -> None:
    file = NewFile(tmp_path / "film", replace=False)
    with file, pytest.raises(StoreError, match="cannot be put in place"):
        file.publish()
