#!/usr/bin/env python3
"""Every event that the program logs: read from its source, with what each means.

What it means stands in `log_events.yaml` beside this file; an event without a meaning is an error,
and so is a meaning without an event.

    .venv/bin/python scripts/log_catalogue.py       print them
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "recorder_worker"
MEANINGS = Path(__file__).with_name("log_events.yaml")
LOGGERS = {"log", "logger"}
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
NO_FIELDS = {"exc_info"}


@dataclass
class LogEvent:
    """One event: at which levels it is logged, with which fields, and where."""

    name: str
    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def log_events() -> dict[str, LogEvent]:
    """All of them, by name."""
    found: dict[str, LogEvent] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        for call, level in _calls(ast.parse(path.read_text(encoding="utf-8"))):
            text = _event_of(call, level)
            if text is None:
                raise ValueError(f"{module}:{call.lineno}: expected the name of an event as text")
            event = found.setdefault(text, LogEvent(text))
            event.levels.add(level or "by case")
            event.fields |= {k.arg for k in call.keywords if k.arg} - NO_FIELDS
            event.modules.add(module)
    return dict(sorted(found.items()))


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Calls of a logger, with the level; empty where it is an argument."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in LOGGERS
            and (node.func.attr in LEVELS or node.func.attr == "log")
        ):
            yield node, LEVELS.get(node.func.attr, "")


def _event_of(call: ast.Call, level: str) -> str | None:
    place = 0 if level else 1
    given = call.args[place] if len(call.args) > place else None
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        return given.value
    return None


def meanings() -> dict[str, str]:
    """What each event means. Raises ValueError where events and meanings do not match."""
    told: dict[str, str] = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    events = set(log_events())
    if events != set(told):
        raise ValueError(
            f"{MEANINGS.name}: expected a meaning for every event, and no other; missing: "
            f"{sorted(events - set(told))}, too many: {sorted(set(told) - events)}"
        )
    return told


def rows() -> Iterator[tuple[str, ...]]:
    """The rows of the table in docs/observability.md."""
    told = meanings()
    for event in log_events().values():
        yield (
            f"`{event.name}`",
            ", ".join(sorted(event.levels)),
            ", ".join(f"`{name}`" for name in sorted(event.fields)),
            told[event.name],
        )


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="\t")  # noqa: T201  (it is what this script is for)
