"""Where a demo puts what it makes: a folder of its own, never over anything that is there."""

from __future__ import annotations

import itertools
from pathlib import Path

from recorder_worker.core.errors import RefusedError

LOG = "demo.log"
"""The worker's log. It comes first into the folder, and so says that the folder is a demo's."""


def new_folder(wanted: Path) -> Path:
    """Make the folder; where an earlier demo has it, the first free `<name>-<number>` beside it.

    Raises:
        RefusedError: something else is there, or it cannot be made.
    """
    try:
        for number in itertools.count(1):
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            if number == 1 and folder.exists() and not _may_be_used_or_passed(folder):
                raise _refusal(wanted, f"{_what(folder)} that no demo made")
            if _taken(folder):
                return folder
    except OSError as error:
        raise _refusal(wanted, str(error)) from error
    raise AssertionError("numbers never end")


def _may_be_used_or_passed(folder: Path) -> bool:
    return folder.is_dir() and ((folder / LOG).is_file() or not any(folder.iterdir()))


def _taken(folder: Path) -> bool:
    """Make it ours; False where another demo has it, one that starts at this moment included."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / LOG).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _what(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file"


def _refusal(wanted: Path, got: str) -> RefusedError:
    return RefusedError(
        field="--into",
        expected=f"{wanted} to be new, empty or an earlier demo's",
        got=got,
        hint="name another folder; the demo does not write among other things",
    )
