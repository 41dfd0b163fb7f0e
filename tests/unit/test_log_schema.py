"""Every line that is logged has a form, a name and a level that means something."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from recorder_worker.core.log_schema import EVENT_PATTERN, LOG_NAME
from recorder_worker.service.observing.logs import configure
from recorder_worker.service.settings.tree import LogSettings

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas" / LOG_NAME).read_bytes()))


def catalogue() -> ModuleType:
    path = ROOT / "scripts" / "log_catalogue.py"
    spec = importlib.util.spec_from_file_location("log_catalogue", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CATALOGUE = catalogue()
EVENTS = CATALOGUE.log_events()


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_a_noun_and_what_became_of_it(name: str) -> None:
    assert re.fullmatch(EVENT_PATTERN, name)


def test_every_event_has_a_meaning_and_every_meaning_an_event() -> None:
    assert set(CATALOGUE.meanings()) == set(EVENTS)
    assert all(text.endswith(".") for text in CATALOGUE.meanings().values())


def test_no_logger_escapes_the_catalogue() -> None:
    """What logs is named `log` or `logger`: the catalogue is read from the source."""
    for path in (ROOT / "recorder_worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and "structlog.get_logger" in ast.unparse(node.value):
                assert {ast.unparse(one) for one in node.targets} <= CATALOGUE.LOGGERS, path


ALARMS = {
    "AuditEventsMissing",
    "AuditTrailFailed",
    "AuditTrailStopped",
    "BeaconUnreadable",
    "BusClosed",
    "BusPermissionDenied",
    "LogRolledBack",
    "MessageDeadLettered",
    "NatsServerCannotWrite",
    "NatsServerNotRestarted",
    "PatrolFailed",
    "ProofNotStored",
    "ReaderCrashed",
    "RequestFailed",
    "RetentionFailed",
    "RetentionStopped",
    "SegmentNotStored",
    "SegmentStuck",
    "SessionLogStopped",
    "SessionLogUnreadable",
    "SigningStopped",
    "StreamFull",
}


def test_an_error_is_what_was_lost_or_will_be_unless_somebody_acts() -> None:
    """To add an event here is to say that something is lost by it; else it is a warning."""
    errors = {event.name for event in EVENTS.values() if event.levels & {"error", "critical"}}
    assert errors - ALARMS == set(), "is something lost by it? then add it above, else warn"
    assert errors == ALARMS


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_schema_takes_a_line_and_refuses_what_is_none() -> None:
    stream = io.StringIO()
    configure(LogSettings(format="json"), stream)
    structlog.get_logger("recorder_worker.x").warning("MessagePostponed", stage="chunk")
    [line] = lines_of(stream)
    SCHEMA.validate(line)
    for change in (
        {"event": "message postponed"},
        {"event": "Postponed"},
        {"level": "notice"},
        {"timestamp": "yesterday"},
        {"stage": "chunks"},
        {"trace_id": "1"},
        {"session_id": 7},
    ):
        assert not SCHEMA.is_valid(line | change), change
    for name in ("timestamp", "level", "logger", "event"):
        assert not SCHEMA.is_valid({k: v for k, v in line.items() if k != name}), name
    assert SCHEMA.is_valid(line | {"logger": "aiohttp.server", "event": "Error handling request"})
