"""Looks at what was said of sealed sessions, and at what is known of their copies. Blocking.

What was deleted is no damage, nor are chunks that have left for the second store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from recorder_worker.core import keys
from recorder_worker.core.command_parsing import is_session_id
from recorder_worker.core.copy_marker import parse_marker
from recorder_worker.core.errors import FormatError
from recorder_worker.core.findings import Finding, Severity
from recorder_worker.core.retention.standing import Standing, standing_of
from recorder_worker.core.retention.statement import (
    MAX_STATEMENTS,
    SignedStatement,
    parse_statement,
)
from recorder_worker.service.doctor.case import YOUNG_S
from recorder_worker.service.settings.tree import Settings
from recorder_worker.stages.retention.removal import FOLDERS

SECOND_NS = 1_000_000_000


def look_at_kept(settings: Settings) -> Iterator[Finding]:
    """What is wrong with all of them. Raises OSError."""
    sessions = settings.data_path / keys.SESSIONS
    copies = settings.data_path / keys.COPIES
    names = sorted(path.name for path in sessions.glob("*") if is_session_id(path.name))
    for name in names:
        yield from _statements(sessions / name)
    for path in sorted(copies.glob("*")):
        yield from _marker(path, sessions / path.name)
    if settings.storage.kind != "none":
        patience_s = YOUNG_S + settings.storage.sweep_s
        yield from _not_copied([sessions / name for name in names], copies, patience_s)


def _statements(folder: Path) -> Iterator[Finding]:
    try:
        standing = _standing(folder)
    except FormatError as error:
        yield Finding(
            check="session.retention",
            severity=Severity.ERROR,
            where=str(folder / keys.RETENTION),
            what=str(error),
            advice="nothing is held, released or removed of this session: restore the statements "
            "from a copy; recorder log verify says what was entered",
        )
        return
    deletion = standing.deletion
    if deletion is None:
        return
    left = [name for name in FOLDERS if any((folder / name).glob("*"))]
    age_s = (time.time_ns() - deletion.begun_ns) / SECOND_NS
    if standing.tombstone is None and age_s >= YOUNG_S:
        here = f"{', '.join(left)} are still here" if left else "nothing is left here"
        yield Finding(
            check="session.deleting",
            severity=Severity.WARNING,
            where=str(folder),
            what=f"deleted by {deletion.by} {age_s:.0f} s ago, and not finished; {here}",
            advice="a worker of merkle goes on with it, and waits for a second store that is away: "
            "see the check retention in its /health",
        )
    elif standing.tombstone is not None and left:
        yield Finding(
            check="session.returned",
            severity=Severity.ERROR,
            where=str(folder),
            what=f"its tombstone says that nothing is left, and there is something in "
            f"{', '.join(left)}",
            advice="out of a backup, perhaps: the next start of a worker of merkle removes it; "
            "until then recorder verify says TAMPERED",
        )


def _standing(folder: Path) -> Standing:
    """By what is stored; whether it is ours, and entered, is for `recorder log verify`."""
    found: list[SignedStatement] = []
    for number in range(1, MAX_STATEMENTS + 1):
        try:
            data = (folder / keys.statement(number)).read_bytes()
        except FileNotFoundError:
            break
        found.append(parse_statement(data))
    return standing_of(found)


def _marker(path: Path, folder: Path) -> Iterator[Finding]:
    try:
        marker = parse_marker(path.read_bytes())
    except FileNotFoundError:
        return
    except FormatError as error:
        yield Finding(
            check="copies.unreadable",
            severity=Severity.WARNING,
            where=str(path),
            what=str(error),
            advice="remove the file: the copy is then looked at anew",
        )
        return
    if not folder.is_dir():
        yield Finding(
            check="copies.stray",
            severity=Severity.WARNING,
            where=str(path),
            what=f"a copy is in {marker.location}, and there is no folder of the session here",
            advice="bring it back with recorder fetch; or, where the folder was taken away on "
            "purpose, remove its copy by hand, and then this file",
        )


def _not_copied(folders: list[Path], copies: Path, patience_s: float) -> Iterator[Finding]:
    now_s = time.time()
    behind = [
        folder.name
        for folder in folders
        if not (copies / folder.name).exists() and _sealed_s(folder, now_s) >= patience_s
    ]
    if behind:
        yield Finding(
            check="copies.behind",
            severity=Severity.WARNING,
            where=str(copies),
            what=f"{len(behind)} sealed sessions are not all in the second store: "
            f"{', '.join(behind[:3])}{' …' if len(behind) > 3 else ''}",
            advice="see the check storage in /health of a worker of merkle, and recorder dead ls "
            "--stage upload",
        )


def _sealed_s(folder: Path, now_s: float) -> float:
    """For how many seconds it has been sealed; less than 0: it is not."""
    try:
        return now_s - (folder / keys.SEAL).stat().st_mtime
    except FileNotFoundError:
        return -1.0
