"""The folder `schemas/`: JSON Schemas of every command and fact, and the AsyncAPI document."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from recorder_worker.bus.codec import FACT_TYPES
from recorder_worker.bus.schemas import frame_schemas, service_schemas
from recorder_worker.bus.schemas.asyncapi import asyncapi
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.log_schema import LOG_NAME, log_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_NAME = "asyncapi.json"


def documents() -> dict[str, bytes]:
    """File name to content, for the folder `schemas/`."""
    made: dict[str, Any] = {f"{subject}.json": schema for subject, schema in _schemas().items()}
    made[ASYNCAPI_NAME] = asyncapi()
    made[LOG_NAME] = log_schema()
    return {name: _text(_dedented(document)) for name, document in made.items()}


def _schemas() -> dict[str, dict[str, Any]]:
    types: dict[str, Any] = {command.value: kind for command, kind in COMMAND_TYPES.items()}
    types |= {fact.value: kind for fact, kind in FACT_TYPES.items()}
    types |= service_schemas.types() | frame_schemas.types()
    return {
        subject: {"$schema": DIALECT, "title": subject, **msgspec.json.schema(kind)}
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


def _text(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
