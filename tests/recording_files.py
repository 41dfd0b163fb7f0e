"""The files of a recording, in memory or as a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recorder_worker.core.errors import BlobMissingError


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write the files of a recording as a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


class FilesReader:
    """A RecordingReader over files in memory. Pieces are small, so that seams are hit."""

    def __init__(self, files: dict[str, bytes], piece_size: int = 97) -> None:
        self.files = files
        self.piece_size = piece_size

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise BlobMissingError(f"{name}: no such file")
        return self.files[name]

    def stream(self, name: str) -> Iterator[bytes]:
        data = self.read(name)
        for at in range(0, len(data), self.piece_size):
            yield data[at : at + self.piece_size]

    def size(self, name: str) -> int:
        return len(self.read(name))
