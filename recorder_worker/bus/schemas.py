"""JSON Schemas of every command and fact, and the AsyncAPI document: generated, never written.

FastStream can make an AsyncAPI document of its subscribers, but not of subjects that are
published with a session's id in them, which is most of what others want to know.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from recorder_worker import __version__
from recorder_worker.bus.codec import FACT_TYPES
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import Command, Fact

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_NAME = "asyncapi.json"


def documents() -> dict[str, bytes]:
    """File name to content, for the folder `schemas/`."""
    made: dict[str, Any] = {f"{subject}.json": schema for subject, schema in _schemas().items()}
    made[ASYNCAPI_NAME] = asyncapi()
    return {name: _text(document) for name, document in made.items()}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of the recorder."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Session recorder",
            "version": __version__,
            "description": "Commands that clients publish and facts that the recorder publishes, "
            "as JSON on NATS JetStream.",
        },
        "defaultContentType": "application/json",
        "channels": {
            **{command.value: _command_channel(command) for command in Command},
            **{fact.value: _fact_channel(fact) for fact in Fact},
        },
        "operations": {
            **{f"take {c.value}": _operation("receive", c.value, _taker(c)) for c in Command},
            **{f"tell {f.value}": _operation("send", f.value, _teller(f)) for f in Fact},
        },
        "components": {
            "messages": {name: _message(name) for name in _schemas()},
        },
    }


def _schemas() -> dict[str, dict[str, Any]]:
    types: dict[str, Any] = {command.value: kind for command, kind in COMMAND_TYPES.items()}
    types |= {fact.value: kind for fact, kind in FACT_TYPES.items()}
    return {
        subject: _dedented({"$schema": DIALECT, "title": subject, **msgspec.json.schema(kind)})
        for subject, kind in types.items()
    }


def _dedented(node: Any) -> Any:  # noqa: ANN401  (any part of a JSON document)
    """Docstrings as Python has them from 3.13 on, so that every version makes the same document."""
    if isinstance(node, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _dedented(value)
            for key, value in node.items()
        }
    return [_dedented(each) for each in node] if isinstance(node, list) else node


def _message(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./{name}.json"},
        },
    }


def _command_channel(command: Command) -> dict[str, Any]:
    return {
        "address": command.value,
        "description": inspect.cleandoc(COMMAND_TYPES[command].__doc__ or ""),
        "messages": {command.value: {"$ref": f"#/components/messages/{command.value}"}},
    }


def _fact_channel(fact: Fact) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": fact.of("{session_id}")}
    if fact.per_session:
        channel["parameters"] = {"session_id": {"description": "The session's id, or `unknown`."}}
    return channel | {
        "messages": {fact.value: {"$ref": f"#/components/messages/{fact.value}"}},
    }


def _operation(action: str, channel: str, stages: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"by: {stages}",
    }


def _taker(command: Command) -> str:
    return ", ".join(stage.name for stage in CONSUMERS if command in stage.consumes)


def _teller(fact: Fact) -> str:
    return ", ".join(stage.name for stage in CONSUMERS if fact in stage.emits)


def _text(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
