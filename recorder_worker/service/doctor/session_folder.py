"""One session's folder, as a look finds it: what is there, and how old the newest of it is."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import msgspec

from recorder_worker.core import keys


class SessionFolder(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds.

    Attributes:
        session_id: whose it is.
        path: where.
        manifest, sealed: whether session.json and the seal are there.
        sealed_age_s: how old the seal is; 0 where there is none.
        segments: the names of its segments, with the age of each in seconds.
        journal: how many single records and checkpoints are left.
    """

    session_id: str
    path: Path
    manifest: bool
    sealed: bool
    sealed_age_s: float
    segments: dict[str, float]
    journal: int


def look_at_folder(path: Path) -> SessionFolder:
    """Look; blocking. What goes meanwhile is not there. Raises OSError."""
    now_s = time.time()
    seal = path / keys.SEAL
    sealed_s = 0.0
    with suppress(FileNotFoundError):
        sealed_s = seal.stat().st_mtime
    segments: dict[str, float] = {}
    folder = path / keys.SEGMENTS
    for file in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            segments[f"{keys.SEGMENTS}/{file.name}"] = now_s - file.stat().st_mtime
    journal = path / keys.JOURNAL
    return SessionFolder(
        session_id=path.name,
        path=path,
        manifest=(path / keys.MANIFEST).exists(),
        sealed=bool(sealed_s),
        sealed_age_s=now_s - sealed_s if sealed_s else 0.0,
        segments=segments,
        journal=sum(file.is_file() for file in journal.rglob("*")) if journal.is_dir() else 0,
    )
