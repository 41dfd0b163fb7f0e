"""A file for its owner alone (0600), which replaces an older one whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def write_private(path: Path, data: bytes) -> None:
    """Write a file; its folder is made where it is missing. Raises OSError.

    A crash before the rename leaves the older file, and a stray one with `.new` behind.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    spare = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    # Made with its mode: there is no moment in which others could open it.
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        spare.replace(path)
    finally:
        spare.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
