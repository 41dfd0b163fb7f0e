"""The command `recorder`, for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from called_recorder import Run, calling


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return calling(capfd, monkeypatch, tmp_path)
