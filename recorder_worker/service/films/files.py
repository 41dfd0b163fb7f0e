"""The files beside a film, its account and the clip that proves it, and the digests of the film."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blake3 import blake3

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_folder import NewFolder
from recorder_worker.core import keys
from recorder_worker.core.errors import StoreError
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_plan import ClipPlan, Window

PIECE_SIZE = 1 << 20


def plan_of_part(recording: FolderRecording, window: Window) -> ClipPlan | None:
    """The clip of a part, where one can be made; a clip is its own proof."""
    return None if keys.CLIP in recording.names() else plan_of(recording, window)


def write_proof(recording: FolderRecording, folder: Path, plan: ClipPlan) -> str:
    """Write the clip; the name of its folder."""
    with NewFolder(folder) as made:
        for name, pieces in clip_files(recording, plan):
            made.write(name, pieces)
    return folder.name


def write_account(path: Path, data: bytes) -> None:
    """Write an account under a spare name. Raises StoreError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error}") from error


def digests_of(path: Path) -> tuple[int, str, str]:
    """Length, BLAKE3 and SHA-256 of a file."""
    size, first, second = 0, blake3(), hashlib.sha256()
    with path.open("rb") as film:
        while piece := film.read(PIECE_SIZE):
            size += len(piece)
            first.update(piece)
            second.update(piece)
    return size, first.hexdigest(), second.hexdigest()
