"""The verifier on a real folder, whatever stands in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from recording_files import write
from recordings import whole

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobDamagedError, BlobMissingError
from recorder_worker.core.verify import Report, Status, Step, Verdict, verify

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
    assert sorted(reader.names()) == sorted(data)
    assert {name: reader.read(name) for name in data} == data
    assert reader.size(CHUNK) == len(data[CHUNK])
    with pytest.raises(BlobMissingError, match=r"nothing\.zst"):
        reader.read("nothing.zst")
    with pytest.raises(BlobMissingError):
        reader.size(f"{CHUNK}/below")
    with pytest.raises(BlobDamagedError, match="regular"):
        reader.read("chunks")


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [
        (CHUNK, Step.STORED),
        (keys.MANIFEST, Step.ATTACHED),
        (keys.mark(3), Step.ATTACHED),
        (keys.RECORDS, Step.PARSE),
        (keys.CHECKPOINTS, Step.PARSE),
        (keys.SEAL, Step.PARSE),
    ],
)
def test_a_link_in_the_place_of_a_file_is_not_followed(
    folder: Path, tmp_path: Path, name: str, step: Step
) -> None:
    """Even where it leads to the very bytes: what is linked is not carried along."""
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    found = report(folder)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, step)
    detail = next(s for s in found.steps if s.number == step).detail
    assert "expected a regular file inside the folder, found a symbolic link" in detail
    assert detail.count(f"{name}:") == 1


def test_a_link_in_the_place_of_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / keys.CHUNKS).rename(tmp_path / "elsewhere")
    (folder / keys.CHUNKS).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    found = report(folder)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.STORED)
    assert "symbolic link" in next(s for s in found.steps if s.number == Step.STORED).detail
    with pytest.raises(BlobDamagedError, match="symbolic link"):
        FolderRecording(folder).size(CHUNK)


def test_the_folder_itself_may_be_named_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert report(tmp_path / "link").verdict is Verdict.COMPLETE


def test_a_link_that_is_a_loop_or_leads_nowhere(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "nowhere").symlink_to("gone")
    found = report(folder)
    assert found.verdict is Verdict.COMPLETE
    assert found.warnings == ("not part of the record: loop", "not part of the record: nowhere")


def test_no_descriptor_is_left_open(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    report(folder)
    (folder / keys.MANIFEST).unlink()
    report(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- sealed while it is verified -----------------------------------------------------------------


def test_a_recording_that_is_sealed_meanwhile_is_read_again(tmp_path: Path) -> None:
    recording = whole()
    folder = write(tmp_path, recording.journal())

    class Sealing(FolderRecording):
        reads = 0

        def stream(self, name: str) -> Iterator[bytes]:
            self.reads += 1
            if self.reads == 10:
                shutil.rmtree(folder / keys.JOURNAL)
                write(folder, recording.sealed())
            return super().stream(name)

    assert verify(Sealing(folder)).verdict is Verdict.COMPLETE


def test_a_recording_that_loses_its_journal_is_not_excused(tmp_path: Path) -> None:
    folder = write(tmp_path, whole().journal())

    class Losing(FolderRecording):
        def stream(self, name: str) -> Iterator[bytes]:
            if name == keys.leaf(8):
                (folder / name).unlink(missing_ok=True)
            return super().stream(name)

    assert verify(Losing(folder)).verdict is Verdict.TAMPERED


def test_steps_that_need_records_are_not_reached_without_any(folder: Path) -> None:
    """One thing is wrong, and it is said once."""
    (folder / keys.RECORDS).unlink()
    found = report(folder)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PARSE)
    status = {s.number: s.status for s in found.steps}
    assert {n for n, s in status.items() if s is Status.FAILED} == {Step.PARSE, Step.ROOT}
    assert status[Step.WHOLE] is status[Step.CHECKPOINTS] is Status.NOT_REACHED
