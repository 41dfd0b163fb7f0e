"""Files below a root, to which no symbolic link leads.

Whoever can only make a link below it would else have this process copy a private key into a
bucket, or have the deletion of one session take the chunks of another.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from recorder_worker.core.errors import StoreError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def link_on_the_way(root: Path, path: Path) -> Path | None:
    """The first of the names below the root, that of the path itself with them, that is a link."""
    way = [path, *path.parents]
    below = way[: way.index(root)]
    return next((step for step in reversed(below) if step.is_symlink()), None)


def refuse_links(root: Path, folder: Path) -> None:
    """Raises StoreError where a link leads to a folder, or is there in its place."""
    link = link_on_the_way(root, folder)
    if link is not None:
        raise StoreError(
            f"{link}: expected a folder, found a symbolic link; nothing is written or deleted "
            "through it: find out who made it, and put the folder back"
        )


def open_inside(root: Path, path: Path) -> BinaryIO:
    """Open a file for reading, step by step: so no link is followed, whenever it was made.

    Raises:
        OSError: as the system does; NotADirectoryError or ELOOP where there is a link.
    """
    *folders, last = path.relative_to(root).parts
    above = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in folders:
            inner = os.open(name, _FOLDER, dir_fd=above)
            os.close(above)
            above = inner
        return os.fdopen(os.open(last, _FILE, dir_fd=above), "rb")
    finally:
        os.close(above)
