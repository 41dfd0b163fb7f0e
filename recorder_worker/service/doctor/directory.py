"""Looks at the data directory as such: whether it can be written, room, modes, leftovers, keys."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from recorder_worker.adapters.attempt_files import FOLDER as ATTEMPTS
from recorder_worker.adapters.attempt_files import suspects
from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.durable_file import SPARES, DurableFolder, left_spares
from recorder_worker.bus.attempts.attempts import SUSPECT_AT
from recorder_worker.core.findings import Finding, Severity
from recorder_worker.service.doctor.case import YOUNG_S, Case
from recorder_worker.service.settings.tree import Settings

OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
MANY_SPARES_SHOWN = 3


def look_at_directory(settings: Settings) -> list[Case]:
    """What is wrong with the directory, blocking."""
    root = settings.data_path
    if not root.is_dir():
        return [_absent(root)]
    return [
        *_access(root),
        *_room(settings),
        *_spares(root),
        *_suspects(settings),
        *_keys(settings.keys_path),
    ]


def _absent(root: Path) -> Case:
    return Case(
        finding=Finding(
            check="data_dir",
            severity=Severity.ERROR,
            where=str(root),
            what="expected the data directory, found none",
            advice="set data_dir as the workers have it, or mount it; a worker makes a new one",
        )
    )


def _access(root: Path) -> Iterator[Case]:
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield Case(
            finding=Finding(
                check="data_dir",
                severity=Severity.ERROR,
                where=str(root),
                what="expected to read and write there, may not",
                advice="run as the user of the workers, or give that user the directory",
            )
        )


def _room(settings: Settings) -> Iterator[Case]:
    found = os.statvfs(settings.data_path)
    free, floor = found.f_bavail * found.f_frsize, settings.disk.floor_bytes
    if free >= 2 * floor and found.f_favail != 0:
        return
    below = free < floor or found.f_favail == 0
    yield Case(
        finding=Finding(
            check="disk",
            severity=Severity.ERROR if below else Severity.WARNING,
            where=str(settings.data_path),
            what=f"{free} bytes and {found.f_favail} files free; below {floor} bytes nothing new "
            "is recorded",
            advice="make room, or lower disk.floor_bytes",
        )
    )


def _spares(root: Path) -> Iterator[Case]:
    try:
        left = left_spares(root / SPARES, YOUNG_S)
    except OSError:
        return  # `data_dir` says what is wrong
    if not left:
        return
    size = sum(path.stat().st_size for path in left if path.exists())
    names = ", ".join(path.name for path in left[:MANY_SPARES_SHOWN])
    yield Case(
        finding=Finding(
            check="temporary_files",
            severity=Severity.WARNING,
            where=str(root / SPARES),
            what=f"{len(left)} files of {size} bytes whose writers are dead: {names}"
            f"{' …' if len(left) > MANY_SPARES_SHOWN else ''}",
            advice="nothing was ever told of them: the next start of a worker removes them too",
            repair="removes them",
        ),
        repair=partial(_in_thread, partial(_clear, root)),
    )


def _suspects(settings: Settings) -> Iterator[Case]:
    """Messages at which workers die: nothing else tells of one before it is a dead letter."""
    try:
        found = suspects(settings.data_path / ATTEMPTS, SUSPECT_AT)
    except OSError:
        return  # `data_dir` says what is wrong
    for stage, sequence, tally in found:
        yield Case(
            finding=Finding(
                check="consumer.deadly",
                severity=Severity.WARNING,
                where=f"{stage}: message {sequence}",
                what=f"{tally.begun} workers died with it in their hands, or were not heard of "
                f"again; after {settings.retry.max_crashes} it becomes a dead letter",
                advice="see why they died: the core file, the kernel's log (out of memory), or the "
                "supervisor's; the log of the stage has MessageSuspected",
            )
        )


def _clear(root: Path) -> str:
    return f"removed {DurableFolder(root).clear_spares()} files"


def _keys(folder: Path) -> Iterator[Case]:
    if not folder.is_dir():
        return
    try:
        yield from _open_keys(folder)
        yield from _stray_keys(folder)
    except PermissionError as error:
        yield Case(
            finding=Finding(
                check="keys",
                severity=Severity.INFO,
                where=str(folder),
                what=f"cannot be looked at: {error.strerror}",
                advice="run recorder doctor as the user of the workers to have it looked at",
            )
        )


def _open_keys(folder: Path) -> Iterator[Case]:
    """Only what is secret: statements of rotation and the recorder's id are for everybody."""
    below = ((path, found) for path, found in _below(folder) if _is_secret(path))
    for path, found in [(folder, folder.lstat()), *below]:
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode) or not mode & OPEN_TO_OTHERS:
            continue
        yield Case(
            finding=Finding(
                check="keys.open",
                severity=Severity.ERROR,
                where=str(path),
                what=f"expected a mode for its owner alone, found {mode:04o}",
                advice="whoever is on this machine may have had what is in it: if anybody else is, "
                "rotate the device keys (recorder keys rotate)",
                repair="takes the rights of others away",
            ),
            repair=partial(_in_thread, partial(_close, path, mode)),
        )


def _below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All that is below a folder, but for what goes away meanwhile, as keys of epochs do.

    Raises:
        PermissionError: a part of it may not be looked at.
    """
    for parent, folders, files in os.walk(folder, onerror=_tell_but_absence):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            yield path, found


def _tell_but_absence(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_secret(path: Path) -> bool:
    return path.suffix in {".pem", ".key", ".new"} or path.name == "secret"


def _close(path: Path, mode: int) -> str:
    path.chmod(mode & ~OPEN_TO_OTHERS)
    return f"mode {mode & ~OPEN_TO_OTHERS:04o}"


def _stray_keys(folder: Path) -> Iterator[Case]:
    for path, found in _below(folder):
        stray = path.name.startswith(".") and path.suffix == ".new"
        if not stray or time.time() - found.st_mtime < YOUNG_S:
            continue
        yield Case(
            finding=Finding(
                check="keys.stray",
                severity=Severity.ERROR,
                where=str(path),
                what="a secret that was being made when its writer died, and that nobody uses",
                advice="erase it: a key that is gone can sign nothing",
                repair="erases it",
            ),
            repair=partial(_in_thread, partial(_erase, path)),
        )


def _erase(path: Path) -> str:
    with secret_file.store_errors(f"stray secret {path}"):
        secret_file.erase(path)
    return "overwritten and removed"


async def _in_thread(work: Callable[[], str]) -> str:
    return await asyncio.to_thread(work)
