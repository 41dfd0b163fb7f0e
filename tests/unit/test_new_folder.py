"""A new folder appears whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder_worker.adapters import new_folder
from recorder_worker.adapters.new_folder import NewFolder
from recorder_worker.core.errors import ImmutableConflictError, StoreError


def fill(folder: Path, **files: bytes) -> None:
    with NewFolder(folder) as made:
        for name, data in files.items():
            made.write(name, [data[:2], data[2:]])


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("empty", [True, False])
def test_it_holds_what_was_written(tmp_path: Path, *, empty: bool) -> None:
    target = tmp_path / "deep" / "made"
    if empty:
        target.mkdir(parents=True)
    with NewFolder(target) as made:
        made.write("one", [b"1", b"", b"23"])
        made.write("a/b/two", [])
        assert not target.exists() or not entries(target)
    assert entries(target) == ["a", "a/b", "a/b/two", "one"]
    assert (target / "one").read_bytes() == b"123"
    assert (made.file_count, made.size_bytes) == (2, 3)
    assert stat.S_IMODE((target / "one").stat().st_mode) == 0o440
    assert entries(tmp_path / "deep") == ["made", *(f"made/{name}" for name in entries(target))]


@pytest.mark.parametrize("when", ["content", "between", "publish"])
def test_an_error_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ValueError(when)

    def refused(*_: object) -> None:
        raise OSError(5, "input/output error")

    def work(made: NewFolder) -> None:
        made.write("one", [b"1"])
        if when == "content":
            made.write("two", broken())
        if when == "between":
            raise ValueError(when)

    if when == "publish":
        monkeypatch.setattr(new_folder, "sync_folder", refused)
    with pytest.raises((ValueError, StoreError)), NewFolder(tmp_path / "made") as made:
        work(made)
    assert entries(tmp_path) == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    fill(folder, one=b"1")
    file.write_bytes(b"mine")
    for taken in (folder, file):
        with pytest.raises(ImmutableConflictError, match="nothing was written"):
            fill(taken, two=b"2")
    assert entries(tmp_path) == ["file", "folder", "folder/one"]
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_appears_meanwhile_is_not_replaced_either(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "made"

    def interfere() -> Iterator[bytes]:
        if kind == "folder":
            target.mkdir()
            (target / "other").write_bytes(b"2")
        else:
            target.write_bytes(b"2")
        yield b"1"

    with pytest.raises(ImmutableConflictError), NewFolder(target) as made:
        made.write("one", interfere())
    left = ["made", "made/other"] if kind == "folder" else ["made"]
    assert entries(tmp_path) == left


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="inside of the folder"), NewFolder(tmp_path / "m") as made:
        made.write(name, [b"1"])
    assert entries(tmp_path) == []


def test_a_name_is_written_once(tmp_path: Path) -> None:
    with NewFolder(tmp_path / "m") as made:
        made.write("one", [b"1"])
        with pytest.raises(StoreError, match="cannot be written"):
            made.write("one", [b"2"])
    assert (tmp_path / "m" / "one").read_bytes() == b"1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be made"), NewFolder(tmp_path / "m"):
        pass
