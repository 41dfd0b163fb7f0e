"""The messages of the AsyncAPI document: headers, payloads, and examples of a real recorder."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from recorder_worker.bus.codec import FACT_TYPES
from recorder_worker.bus.rights.bearer import AUTHORIZATION
from recorder_worker.bus.schemas import frame_schemas, service_schemas
from recorder_worker.bus.schemas.message_examples import examples
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.model import SCHEMA_VERSION
from recorder_worker.core.subjects import DEAD, Command, Fact

Document = dict[str, Any]

COMMAND_HEADERS = "CommandHeaders"
FACT_HEADERS = "FactHeaders"
DEAD_LETTER_HEADERS = "DeadLetterHeaders"
ERROR_HEADERS = "ServiceErrorHeaders"
SESSION = "session"


def components() -> Document:
    """Messages and schemas."""
    return {
        "messages": {
            **{command.value: _command_message(command) for command in Command},
            **{fact.value: _fact_message(fact) for fact in Fact},
            **{name: _service_message(name, kind) for name, kind in _services().items()},
            **frame_schemas.messages(),
            dead_letter_name(): _dead_letter_message(),
        },
        "schemas": _payloads() | _headers() | frame_schemas.headers(),
    }


def correlation_ids() -> Document:
    """What ties messages together."""
    return {
        SESSION: {
            "description": "The session that a message is about.",
            "location": "$message.payload#/session_id",
        }
    }


def dead_letter_name() -> str:
    """The name of the one message that is no command and no fact."""
    return DEAD


# --- messages -------------------------------------------------------------------------------------


def _command_message(command: Command) -> Document:
    return _message(command.value, COMMAND_TYPES[command], "command") | {
        "headers": {"$ref": f"#/components/schemas/{COMMAND_HEADERS}"}
    }


def _fact_message(fact: Fact) -> Document:
    kind = {"properties": {"ce-type": {"const": f"{fact.value}.v{SCHEMA_VERSION}"}}}
    message = _message(fact.value, FACT_TYPES[fact], "fact") | {
        "headers": {"allOf": [{"$ref": f"#/components/schemas/{FACT_HEADERS}"}, kind]}
    }
    if fact.per_session:
        message["correlationId"] = {"$ref": f"#/components/correlationIds/{SESSION}"}
    return message


def _services() -> dict[str, Any]:
    return service_schemas.types() | frame_schemas.types()


def _service_message(name: str, kind: Any) -> Document:  # noqa: ANN401  (a Struct)
    message = _message(name, kind, "service")
    if name == service_schemas.ERROR:
        message["headers"] = {"$ref": f"#/components/schemas/{ERROR_HEADERS}"}
    elif name.endswith(".request"):
        message["headers"] = {"$ref": f"#/components/schemas/{COMMAND_HEADERS}"}
    elif (headers := frame_schemas.headers_of(name)) is not None:
        message["headers"] = headers
    return message


def _message(name: str, kind: Any, tag: str) -> Document:  # noqa: ANN401  (a Struct or a union)
    message: Document = {
        "name": name,
        "title": name,
        "summary": " ".join(_summary(one) for one in _members(kind)),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{_payload_name(name)}"},
        "tags": [{"name": tag}],
    }
    found = examples().get(name)
    return message | ({"examples": found} if found else {})


def _dead_letter_message() -> Document:
    return {
        "name": dead_letter_name(),
        "title": "A dead letter",
        "summary": "The message as it came, whatever it is; the headers say why it stands here.",
        "headers": {"$ref": f"#/components/schemas/{DEAD_LETTER_HEADERS}"},
        "payload": {},
        "tags": [{"name": "dead letter"}],
    }


def _members(kind: Any) -> tuple[type, ...]:  # noqa: ANN401  (a Struct or a union)
    members: tuple[type, ...] = getattr(kind, "__args__", None) or (kind,)
    return members


def _summary(kind: type) -> str:
    """The first sentence that a type says of itself."""
    first = (inspect.getdoc(kind) or kind.__name__).split("\n\n", 1)[0]
    return " ".join(first.split())


# --- schemas --------------------------------------------------------------------------------------


def _payload_name(name: str) -> str:
    return f"payload.{name}"


def _payloads() -> Document:
    """A schema for each message, and for every type that one of them is made of."""
    kinds: dict[str, Any] = {command.value: kind for command, kind in COMMAND_TYPES.items()}
    kinds |= {fact.value: kind for fact, kind in FACT_TYPES.items()}
    kinds |= _services()
    made, parts = msgspec.json.schema_components(
        kinds.values(), ref_template="#/components/schemas/{name}"
    )
    named = {_payload_name(name): schema for name, schema in zip(kinds, made, strict=True)}
    schemas: Document = _for_asyncapi(named | dict(parts))
    return schemas


def _for_asyncapi(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    """As AsyncAPI's schemas, of draft 07, want it.

    `discriminator` is another thing there, and not needed: the tags tell the members apart. What
    stands beside a `$ref` is ignored there, so it is put beside an `allOf`. The places of a fixed
    list are `items` there.
    """
    if isinstance(value, list):
        return [_for_asyncapi(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {
        name: _for_asyncapi(item)
        for name, item in value.items()
        if not (name == "discriminator" and "propertyName" in item)
    }
    if "prefixItems" in fields:
        fields["additionalItems"] = fields.pop("items", True)
        fields["items"] = fields.pop("prefixItems")
    if "$ref" in fields and len(fields) > 1:
        reference = fields.pop("$ref")
        return {"allOf": [{"$ref": reference}], **fields}
    return fields


def _headers() -> Document:
    text = {"type": "string", "minLength": 1}
    message_id = text | {"description": "The message's identity; a repeated one is dropped."}
    return {
        COMMAND_HEADERS: {
            "type": "object",
            "properties": {
                "Nats-Msg-Id": text
                | {
                    "description": "The command's id, if the client gives one: published twice it "
                    "is one command."
                },
                AUTHORIZATION: {
                    "type": "string",
                    "pattern": "^Bearer .+$",
                    "description": "Who sends it: a signed token, where tokens are asked for.",
                },
            },
        },
        ERROR_HEADERS: {
            "type": "object",
            "required": ["Nats-Service-Error-Code", "Nats-Service-Error"],
            "properties": {
                "Nats-Service-Error-Code": {"type": "string", "pattern": "^[0-9]{3}$"},
                "Nats-Service-Error": text,
            },
        },
        FACT_HEADERS: {
            "type": "object",
            "required": ["Nats-Msg-Id", "content-type", *_CLOUDEVENTS],
            "properties": {
                "Nats-Msg-Id": message_id,
                "Nats-Expected-Stream": text | {"description": "The stream that it is meant for."},
                "Nats-Expected-Last-Subject-Sequence": {
                    "type": "string",
                    "pattern": "^[0-9]+$",
                    "description": "The fence: the sequence that it was written behind.",
                },
                "Nats-Expected-Last-Subject-Sequence-Subject": text
                | {"description": "What the fence is over, where that is all sessions."},
                "content-type": {"const": "application/json"},
                **_CLOUDEVENTS,
                "traceparent": {
                    "type": "string",
                    "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
                    "description": "W3C trace context; the trace id is the session's UUID.",
                },
            },
        },
        DEAD_LETTER_HEADERS: {
            "type": "object",
            "required": ["Nats-Msg-Id", *_DEAD_LETTER],
            "properties": {"Nats-Msg-Id": message_id, **_DEAD_LETTER, **_DEAD_LETTER_OF_SOME},
        },
    }


_CLOUDEVENTS: Document = {
    "ce-specversion": {"const": "1.0"},
    "ce-id": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "Made of the content."},
    "ce-type": {"type": "string", "description": "The subject without the session, and a version."},
    "ce-source": {"type": "string", "format": "uri-reference", "description": "/recorder/<node>"},
    "ce-subject": {"type": "string", "minLength": 1, "description": "The session's id."},
}
_NUMBER: Document = {"type": "string", "pattern": "^[0-9]+$"}
_DEAD_LETTER: Document = {
    "Recorder-Subject": {"type": "string", "description": "The subject of the message."},
    "Recorder-Reason": {"type": "string", "description": "Why it could not be processed."},
    "Recorder-Where": {"type": "string", "description": "File, line and function."},
    "Recorder-Error": {"type": "string", "description": "The type of what was raised."},
    "Recorder-Stack": {
        "type": "string",
        "pattern": "^[0-9a-f]{16}$",
        "description": "A digest of the stack: what failed alike has one.",
    },
    "Recorder-Deliveries": _NUMBER,
    "Recorder-Stream": {"type": "string", "description": "The stream that held the message."},
    "Recorder-Sequence": _NUMBER | {"description": "Its place there."},
    "Recorder-Stored-Ns": _NUMBER | {"description": "When it was stored, in ns since 1970."},
    "Recorder-Session": {"type": "string", "description": "The session that it is about."},
    "Recorder-Headers": {"type": "string", "description": "Its headers, as JSON; no token."},
    "Recorder-Size": _NUMBER | {"description": "The length of its body, in bytes."},
    "Recorder-Blake3": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "Recorder-Kept": {"enum": ["yes", "no"], "description": "Whether its body is here."},
}
_DEAD_LETTER_OF_SOME: Document = {
    "Recorder-Command": {"type": "string", "description": "Of a command: its identity."},
    "Recorder-Retry-Of": {
        "type": "string",
        "pattern": "^[0-9a-f]{16}$",
        "description": "The letter that was tried again and became this one.",
    },
}
