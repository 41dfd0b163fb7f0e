"""The command `recorder`, for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from called_recorder import Run, calling

from recorder_worker.stages.capture.reading import coverage


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return calling(capfd, monkeypatch, tmp_path)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a second or three makes no gap of it."""
    monkeypatch.setattr(coverage, "STALL_NS", 60 * 1_000_000_000)
