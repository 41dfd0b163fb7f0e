"""What a line of the log is, as JSON Schema: for those who collect and search logs.

A line says one event, named `NounVerbed`, and at which level:

* `info`: it went as it should,
* `warning`: it did not, and nothing was lost by it: it is waited for, or was worked around,
* `error`: something was lost, or will be unless somebody acts.

Lines of libraries have their own words as the event; their loggers do not begin with
`recorder_worker`.
"""

from __future__ import annotations

from typing import Any

from recorder_worker.core.pipeline import CONSUMERS

LOG_NAME = "log.json"
EVENT_PATTERN = r"^[A-Z][a-z0-9]+([A-Z][a-z0-9]+)+$"
OURS = r"^(recorder_worker|nats-server)(\.|$)"
LEVELS = ("debug", "info", "warning", "error", "critical")


def log_schema() -> dict[str, Any]:
    """The schema of one line of `log.format: json`. Fields of single events are free."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "log line",
        "description": (__doc__ or "").strip(),
        "type": "object",
        "required": ["timestamp", "level", "logger", "event"],
        "properties": {
            "timestamp": {
                "description": "UTC, RFC 3339.",
                "type": "string",
                "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$",
            },
            "level": {"enum": list(LEVELS)},
            "logger": {"description": "The module that says it.", "type": "string"},
            "event": {"description": "What happened.", "type": "string", "minLength": 1},
            "stage": {
                "description": "The stage whose message is being handled.",
                "enum": [stage.name for stage in CONSUMERS],
            },
            "session_id": {"description": "The session it is about.", "type": "string"},
            "trace_id": _hex(32, "The session's trace, where traces are sent."),
            "span_id": _hex(16, "The span of the handler that says it."),
            "exception": {"description": "A traceback.", "type": "string"},
            "error": {"description": "What went wrong, in words.", "type": "string"},
            "reason": {"type": "string"},
            "deliveries": {"type": "integer", "minimum": 1},
        },
        "if": {"properties": {"logger": {"pattern": OURS}}},
        "then": {"properties": {"event": {"pattern": EVENT_PATTERN}}},
        "additionalProperties": True,
    }


def _hex(digits: int, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": "string",
        "pattern": f"^[0-9a-f]{{{digits}}}$",
    }
