"""The command `recorder` as a person calls it, in this process: its exit code and what it said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recorder_worker.cli.main import main

Ended = tuple[int, str, str]
Run = Callable[..., Ended]


def calling(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Run:
    """Calls it with some words, in a folder, on a wide terminal."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def called(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["recorder", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
        said = capfd.readouterr()
        return (code if isinstance(code, int) else int(code is not None), said.out, said.err)

    return called


def text(ended: Ended) -> str:
    """All that it said, without frames and line ends."""
    return " ".join((ended[1] + ended[2]).replace("│", " ").split())


def there(folder: Path) -> set[str]:
    """What is in a folder beside the recording, which is called `session`."""
    return {path.name for path in folder.iterdir() if path.name != "session"}


def pixels(path: Path) -> NDArray[np.uint8]:
    """A picture that it wrote."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return np.asarray(found, np.uint8)
