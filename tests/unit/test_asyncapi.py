"""The AsyncAPI document: against AsyncAPI's own schema, its own parser, and our own tables."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import (  # type: ignore[import-untyped]
    Draft7Validator,
    ValidationError,
)

from recorder_worker.bus.codec import FACT_TYPES, decode
from recorder_worker.bus.schemas import frame_schemas, service_schemas
from recorder_worker.bus.schemas.asyncapi import ANSWERS
from recorder_worker.bus.schemas.message_examples import examples
from recorder_worker.bus.streams.topology import (
    CLIENTS_STREAM,
    COMMANDS_STREAM,
    DEAD_STREAM,
    STREAM_OF,
)
from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.frame_messages import (
    CONTENT_TYPE,
    FORMAT,
    HEIGHT,
    PACKET_TYPES,
    PRESENTATION,
    SEQUENCE,
    STATUS,
    TIME,
    WIDTH,
    FrameAnswer,
    FrameStatus,
    frame_headers,
    packet_headers,
)
from recorder_worker.core.pipeline import CAPTURE, CONSUMERS, SERVICES
from recorder_worker.core.subjects import COPIED, DEAD, Command, Endpoint, Fact, copy_for

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "schemas" / "asyncapi.json").read_bytes())
OFFICIAL = json.loads(
    (ROOT / "tests" / "vectors" / "asyncapi" / "asyncapi-3.0.0.json").read_bytes()
)
CHECK = ROOT / "tests" / "asyncapi" / "check.mjs"
MODULES = ROOT / ".cache" / "asyncapi"
ERROR, WARNING = 0, 1


def resolved(reference: str) -> Any:  # noqa: ANN401  (any part of the document)
    assert reference.startswith("#/"), "the document stands by itself"
    target: Any = DOCUMENT
    for name in reference[2:].split("/"):
        target = target[name]
    return target


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def schema_of(message: str, part: str) -> Draft7Validator:
    """The payload or the headers of a message, as a tool finds them in the document."""
    return Draft7Validator(
        {**DOCUMENT["components"]["messages"][message][part], "components": DOCUMENT["components"]}
    )


# --- well-formed, says AsyncAPI ------------------------------------------------------------------


def test_it_is_a_document_of_asyncapis_own_schema() -> None:
    errors = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft7Validator(OFFICIAL).iter_errors(DOCUMENT)
    ]
    assert errors == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("info/title", 7),
        ("channels/session.start/address", {}),
        ("operations/capture.takes.session.start/action", "subscribe"),
        ("servers/embedded/protocol", None),
        ("components/messages/session.started/headers", "text"),
    ],
)
def test_the_schema_would_find_a_fault(path: str, value: object) -> None:
    broken = copy.deepcopy(DOCUMENT)
    *above, last = path.split("/")
    target = broken
    for name in above:
        target = target[name]
    assert last in target
    target[last] = value
    with pytest.raises(ValidationError):
        Draft7Validator(OFFICIAL).validate(broken)


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    if shutil.which("node") is None:
        pytest.skip("no node here")
    if not (MODULES / ".stamp").exists():
        pytest.skip("AsyncAPI's parser is not installed: scripts/setup-asyncapi.sh")
    command = ["node", str(CHECK), str(MODULES), str(ROOT / "schemas" / "asyncapi.json")]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_asyncapis_own_parser_has_no_complaint(parsed: dict[str, Any]) -> None:
    grave = [one for one in parsed["diagnostics"] if one["severity"] in {ERROR, WARNING}]
    assert grave == []


def test_asyncapis_own_parser_sees_every_channel_and_message(parsed: dict[str, Any]) -> None:
    assert {fact.of(f"{{{fact.keyed_by}}}") for fact in Fact} <= set(parsed["channels"])
    assert set(map(str, Command)) <= set(parsed["channels"])
    assert f"{DEAD}.{{stage}}" in parsed["channels"]
    assert set(parsed["operations"]) == set(DOCUMENT["operations"])
    service = set(service_schemas.types())
    assert {*map(str, Command), *map(str, Fact), DEAD, *service} <= set(parsed["messages"])


# --- complete, say our tables --------------------------------------------------------------------


def test_every_reference_leads_somewhere_inside() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 100
    for reference in found:
        assert isinstance(resolved(reference), dict), reference


def test_every_subject_is_a_channel_with_its_message_and_stream() -> None:
    channels = DOCUMENT["channels"]
    answers = {f"{command}.answers" for command in Command}
    service = {name for one in Endpoint for name in (one.value, f"{one.value}.answer")}
    copies = {f"client.{fact}": fact for fact in COPIED}
    assert set(channels) == {
        *map(str, Command),
        *map(str, Fact),
        DEAD,
        *answers,
        *service,
        *copies,
        frame_schemas.FRAME,
        frame_schemas.ANSWER,
    }
    for name, fact in copies.items():
        assert channels[name]["address"] == copy_for("{owner}", fact, "{session_id}")
        assert channels[name]["x-jetstream"]["stream"] == CLIENTS_STREAM
        assert list(channels[name]["messages"]) == [fact.value]
    for command in Command:
        channel = channels[command.value]
        assert (channel["address"], channel["x-jetstream"]["stream"]) == (command, COMMANDS_STREAM)
    for fact in Fact:
        channel = channels[fact.value]
        assert channel["address"] == fact.of(f"{{{fact.keyed_by}}}")
        assert list(channel.get("parameters", {})) == ([fact.keyed_by] if fact.keyed_by else [])
        assert channel["x-jetstream"]["stream"] == STREAM_OF[fact]
        assert list(channel["messages"]) == [fact.value]
    assert channels[DEAD]["x-jetstream"]["stream"] == DEAD_STREAM
    assert channels[DEAD]["parameters"]["stage"]["enum"] == [stage.name for stage in CONSUMERS]


def test_every_stage_takes_and_tells_what_its_row_says() -> None:
    operations = DOCUMENT["operations"]
    told = {operation["channel"]["$ref"] for operation in operations.values()}
    assert {f"#/channels/{subject}" for subject in (*Command, *Fact, DEAD)} <= told
    for stage in CONSUMERS:
        for subject in stage.consumes:
            operation = operations[f"{stage.name}.takes.{subject.removesuffix('.*')}"]
            assert operation["action"] == "receive"
            assert operation["bindings"]["nats"]["queue"] == stage.name
    for teller in (*CONSUMERS, *SERVICES):
        for fact in teller.emits:
            assert operations[f"{teller.name}.tells.{fact}"]["action"] == "send"


@pytest.mark.parametrize("endpoint", Endpoint)
def test_every_endpoint_of_the_gateway_is_asked_and_answers(endpoint: Endpoint) -> None:
    operation = DOCUMENT["operations"][f"gateway.answers.{endpoint}"]
    assert operation["action"] == "receive"
    assert resolved(operation["channel"]["$ref"])["address"] == endpoint
    inbox = resolved(operation["reply"]["channel"]["$ref"])
    assert inbox["address"] is None, "the client's inbox"
    assert set(inbox["messages"]) == {f"{endpoint}.answer", service_schemas.ERROR}


def test_a_frame_is_taken_and_answered() -> None:
    operation = DOCUMENT["operations"][f"capture.records.{frame_schemas.FRAME}"]
    address = resolved(operation["channel"]["$ref"])["address"]
    assert [address.replace("{name}", ">")] == list(CAPTURE.records)
    inbox = resolved(operation["reply"]["channel"]["$ref"])
    assert (inbox["address"], list(inbox["messages"])) == (None, [frame_schemas.ANSWER])
    answer = FrameAnswer(status=FrameStatus.REFUSED, field="$", expected="a", got="b", hint="c")
    payload = json.loads(msgspec.json.encode(answer))
    schema_of(frame_schemas.ANSWER, "payload").validate(payload)
    schema_of(frame_schemas.ANSWER, "headers").validate({STATUS: answer.status.value})
    headers = {WIDTH: "2", HEIGHT: "1", FORMAT: "BGR", TIME: "1", SEQUENCE: "0"}
    schema_of(frame_schemas.FRAME, "headers").validate(headers)
    assert frame_headers(headers, 6, 2).sequence == 0
    with pytest.raises(ValidationError):
        schema_of(frame_schemas.FRAME, "headers").validate({FORMAT: "NV12"})
    for kind, codec in PACKET_TYPES.items():
        headers = {CONTENT_TYPE: kind, TIME: "1", PRESENTATION: "2"}
        schema_of(frame_schemas.FRAME, "headers").validate(headers)
        assert packet_headers(headers).codec == codec


def test_every_command_names_what_answers_it() -> None:
    takes = {
        command: operation
        for command in Command
        for name, operation in DOCUMENT["operations"].items()
        if name.endswith(f".takes.{command}")
    }
    assert set(takes) == set(Command)
    for command, operation in takes.items():
        channel = resolved(operation["reply"]["channel"]["$ref"])
        wanted = {str(Fact.REJECTED), *([str(ANSWERS[command])] if command in ANSWERS else [])}
        assert set(channel["messages"]) == wanted
        assert len(operation["reply"]["messages"]) == len(wanted)
        verbs = channel["parameters"]["answer"]["enum"]
        assert {f"session.{verb}" for verb in verbs} == wanted


def test_every_way_to_log_in_is_named() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {
        *("userPassword", "apiKey", "asymmetricEncryption", "X509", "http")
    }
    own = DOCUMENT["servers"]["own"]["security"]
    assert {one["$ref"].rsplit("/", 1)[-1] for one in own} == set(schemes) - {"bearer"}


# --- the examples are messages --------------------------------------------------------------------


EXAMPLES = [
    pytest.param(name, one, id=f"{name}-{one['name']}")
    for name, found in examples().items()
    for one in found
]


def test_there_is_an_example_of_every_kind_that_an_ordinary_recorder_publishes() -> None:
    kinds = {(name, one["name"]) for name, found in examples().items() for one in found}
    assert {(str(command), str(command)) for command in Command} <= kinds
    captured = {"opened", "segment", "gap", "mark", "paused", "beat", "epoch", "ended"}
    assert {("session.captured", kind) for kind in captured} <= kinds
    assert {("session.compressed", kind) for kind in ("open", "stored", "gap", "end")} <= kinds
    for fact in ("started", "rejected", "failed", "control", "head", "checkpoint", "sealed"):
        assert (f"session.{fact}", fact) in kinds


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_holds_to_what_is_said_of_its_message(
    name: str, example: dict[str, Any]
) -> None:
    assert example in DOCUMENT["components"]["messages"][name]["examples"]
    schema_of(name, "payload").validate(example["payload"])
    schema_of(name, "headers").validate(example["headers"])
    body = json.dumps(example["payload"]).encode()
    if name in set(Command):
        parse_command(Command(name), body)
    else:
        assert isinstance(decode(Fact(name), body), FACT_TYPES[Fact(name)])
        with pytest.raises(ValidationError):
            schema_of(name, "payload").validate(example["payload"] | {"type": "film"})
        with pytest.raises(ValidationError):
            schema_of(name, "headers").validate(example["headers"] | {"ce-type": "film.v1"})
