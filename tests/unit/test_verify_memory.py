"""A verification streams: what it holds does not grow with the recording."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from long_recordings import write_long

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.verify import Report, Verdict, verify

FEW, MANY = 1_000, 12_000
ROOM = 3_500_000
"""Files are read in pieces of a MiB, of which a few are held at once. Records decoded and kept
would be more than twice that."""


def peak(folder: Path) -> tuple[int, Report]:
    reader = FolderRecording(folder)
    tracemalloc.start()
    try:
        found = verify(reader)
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_records_checkpoints_and_files(tmp_path: Path) -> None:
    """The first run also pays for what is imported and cached once."""
    write_long(tmp_path / "first", 10)
    peak(tmp_path / "first")
    few, short = peak(write_long(tmp_path / "few", FEW, strangers=FEW // 2))
    many, long = peak(write_long(tmp_path / "many", MANY, strangers=MANY // 2))
    for found, count in ((short, FEW), (long, MANY)):
        assert (found.verdict, found.tree_size) == (Verdict.COMPLETE, count + 2)
        assert any(f"{count // 2 - 20} more files" in text for text in found.warnings)
    assert many - few < ROOM


def test_findings_are_bounded_and_counted(tmp_path: Path) -> None:
    folder = write_long(tmp_path / "damaged", 500)
    data = bytearray((folder / "records").read_bytes())
    frame = data.index(b"SREC", data.index(b"SREC") + 1) - 4
    size = 4 + int.from_bytes(data[frame : frame + 4], "big")
    for place in range(400):
        data[frame + place * size + 4 + 6] ^= 1  # the session id
    (folder / "records").write_bytes(data)
    found = verify(FolderRecording(folder))
    assert found.verdict is Verdict.TAMPERED
    detail = found.steps[5].detail
    assert "and 397 more" in detail
    assert len(detail) < 1000
