"""The verifier on a real folder, whatever stands in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recording_files import write
from recordings import whole

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobDamagedError, BlobMissingError
from recorder_worker.core.verify import Report, Step, Verdict, verify

CHUNK = keys.chunk(1, compressed=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "recording", whole().sealed())


def report(folder: Path) -> Report:
    return verify(FolderRecording(folder))


def test_a_folder_is_verified_wherever_it_was_carried(folder: Path, tmp_path: Path) -> None:
    assert report(folder).verdict is Verdict.COMPLETE
    moved = folder.rename(tmp_path / "another name")
    assert report(moved).verdict is Verdict.COMPLETE


def test_verifying_changes_nothing(folder: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        facts = {p: p.stat() for p in folder.rglob("*")}
        return {str(p): (s.st_mtime_ns, s.st_size) for p, s in facts.items()}

    before = state()
    report(folder)
    assert state() == before


@pytest.mark.parametrize("name", [CHUNK, keys.RECORDS, keys.MANIFEST])
def test_a_pipe_in_the_place_of_a_file_does_not_stop_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert report(folder).verdict is Verdict.TAMPERED


def test_a_folder_or_an_endless_device_in_the_place_of_a_file(folder: Path) -> None:
    (folder / CHUNK).unlink()
    (folder / CHUNK).mkdir()
    found = report(folder)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.STORED)
    (folder / CHUNK).rmdir()
    (folder / CHUNK).symlink_to("/dev/zero")
    assert report(folder).failed_step == Step.STORED


def test_a_name_that_is_not_utf8_is_reported_safely(folder: Path) -> None:
    (folder / os.fsdecode(b"odd\xff\n")).write_bytes(b"")
    found = report(folder)
    assert found.verdict is Verdict.COMPLETE
    assert found.warnings == ("not part of the record: odd\\udcff\\n",)


def test_a_sparse_seal_of_a_terabyte_is_not_read(folder: Path) -> None:
    with (folder / keys.SEAL).open("r+b") as file:
        file.truncate(1 << 40)
    found = report(folder)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PARSE)


def test_what_is_no_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BlobMissingError, match=r"session\.json"):
        FolderRecording(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BlobMissingError, match="found a file"):
        FolderRecording(tmp_path / "file")


def test_an_empty_folder_is_a_recording_of_nothing(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert (found.verdict, found.tree_size) == (Verdict.TRUNCATED, 0)


def test_reading_is_as_the_port_says(folder: Path) -> None:
    reader = FolderRecording(folder)
    data = whole().sealed()
    assert reader.names() == sorted(data)
    assert {name: reader.read(name) for name in data} == data
    assert reader.size(CHUNK) == len(data[CHUNK])
    with pytest.raises(BlobMissingError, match=r"nothing\.zst"):
        reader.read("nothing.zst")
    with pytest.raises(BlobMissingError):
        reader.size(f"{CHUNK}/below")
    with pytest.raises(BlobDamagedError, match="regular"):
        reader.read("chunks")


def test_checkpoints_of_a_journal_are_listed_before_its_leaves(tmp_path: Path) -> None:
    """So that a recording that goes on meanwhile never seems to lack a signed record."""
    folder = write(tmp_path, whole().journal())
    seen: list[str] = []

    class Watching(FolderRecording):
        def _list(self, prefix: str, found: list[str]) -> None:
            seen.append(prefix)
            super()._list(prefix, found)

    Watching(folder).names()
    assert seen.index("journal/checkpoints/") < seen.index("journal/leaves/")
