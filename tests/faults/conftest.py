"""What the fault table needs of its surroundings: no patience, and no noise of the dead."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from faults.injector import Killed
from recorder_worker.bus import event_log
from recorder_worker.stages.capture.reading import coverage
from recorder_worker.stages.capture.session import journal


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error reaches its stage at once: what is repeated below it has tests of its own."""
    monkeypatch.setattr(event_log, "GIVE_UP_AFTER_S", -1.0)
    monkeypatch.setattr(journal, "BUS_RETRY_WAIT_S", 0.001)
    monkeypatch.setattr(coverage, "STORE_RETRY_WAIT_S", 0.001)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Hundreds of sessions that go wrong as they should."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def the_dead_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of a killed process ends with `Killed`, which is no news."""
    said = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not Killed:
            said(args)

    monkeypatch.setattr(threading, "excepthook", hook)
