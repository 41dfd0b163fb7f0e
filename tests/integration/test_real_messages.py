"""Every message of a real recorder: a CloudEvent, true to its schema, named and fenced as told."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import full_session
import pytest
import pytest_asyncio
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_binary_event,
    to_binary_event,
)
from cloudevents.core.exceptions import CloudEventValidationError
from full_session import LOST, NODE, SESSION, Message
from jsonschema import (  # type: ignore[import-untyped]
    Draft7Validator,
    Draft202012Validator,
)

from recorder_worker.core.model import SCHEMA_VERSION
from recorder_worker.core.subjects import DEAD, UNKNOWN_SESSION, Command, Fact

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "schemas" / "asyncapi.json").read_bytes())
FENCE = "Nats-Expected-Last-Subject-Sequence"

ORDINARY = {
    *Command,
    *(Fact.STARTED, Fact.REJECTED, Fact.PAUSED, Fact.RESUMED, Fact.FAILED, Fact.QUALITY),
    *(Fact.CAPTURED, Fact.CHUNKED, Fact.COMPRESSED, Fact.HEAD, Fact.CHECKPOINT, Fact.SEALED),
    *(Fact.CONTROL, Fact.NUMBERED, Fact.LOGGED, Fact.ANCHOR_REQUESTED),
    DEAD,
}
"""What every recorder publishes when all commands are used."""
STAMPED = {Fact.ANCHOR_RECEIPT, Fact.ANCHOR_STATE}
"""And where there is a time-stamp authority."""
KINDS = {
    Fact.CAPTURED: {"opened", "segment", "gap", "mark", "paused", "beat", "epoch", "ended"},
    Fact.CHUNKED: {"open", "chunk", "gap", "mark", "beat", "epoch", "end"},
    Fact.COMPRESSED: {"open", "stored", "gap", "mark", "beat", "epoch", "end"},
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def messages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Message]]:
    folder = tmp_path_factory.mktemp("full")
    async with full_session.recorder_in(folder) as recorder:
        await full_session.run(recorder, folder)
        yield await full_session.messages(recorder)


def facts(messages: list[Message]) -> list[Message]:
    """What the recorder itself published, each once, and garbage did not."""
    return [
        message
        for message in messages
        if message.name in set(Fact)
        and not (message.copied or message.settles)
        and message.data != full_session.GARBAGE
    ]


def binary_event(message: Message) -> HTTPMessage:
    """NATS and HTTP carry a binary-mode CloudEvent alike: `ce-…` and `content-type` headers."""
    carried = {
        name: value
        for name, value in message.headers.items()
        if name.startswith("ce-") or name == "content-type"
    }
    return HTTPMessage(headers=carried, body=message.data)


async def test_every_kind_of_message_is_there(messages: list[Message]) -> None:
    wanted = ORDINARY | (STAMPED if shutil.which("openssl") else set())
    assert {str(name) for name in wanted} <= {message.name for message in messages}
    for fact, kinds in KINDS.items():
        found = {json.loads(m.data)["type"] for m in facts(messages) if m.name == fact}
        assert kinds <= found, fact


async def test_every_message_holds_to_its_json_schema(messages: list[Message]) -> None:
    checked: Counter[str] = Counter()
    for message in messages:
        schema = ROOT / "schemas" / f"{message.name}.json"
        if message.name == DEAD or message.data == full_session.GARBAGE:
            continue
        validator = Draft202012Validator(json.loads(schema.read_bytes()))
        errors = [error.message for error in validator.iter_errors(json.loads(message.data))]
        if message.name == Command.START and b"film" in message.data:
            assert errors, "the refused command is refused by its schema, too"
            continue
        assert errors == [], message.subject
        checked[message.name] += 1
    assert set(checked) == {message.name for message in messages} - {DEAD}


async def test_every_message_is_as_the_asyncapi_document_says(messages: list[Message]) -> None:
    for message in messages:
        if message.data == full_session.GARBAGE and message.name != DEAD:
            continue
        told = DOCUMENT["components"]["messages"][message.name]
        whole = {"components": DOCUMENT["components"]}
        Draft7Validator({**told["headers"], **whole}).validate(message.headers)
        if b"film" not in message.data:
            Draft7Validator({**told["payload"], **whole}).validate(json.loads(message.data))
        channel = DOCUMENT["channels"][message.channel]
        address = re.sub(r"\\\{\w+\\\}", "[^.]+", re.escape(channel["address"]))
        assert re.fullmatch(address, message.subject)
        assert message.stream == channel["x-jetstream"]["stream"]


async def test_every_fact_is_a_cloudevent(messages: list[Message]) -> None:
    for message in facts(messages):
        event = from_binary_event(binary_event(message))
        # What is missing the package would make up.
        assert message.headers["ce-specversion"] == event.get_specversion() == "1.0"
        assert message.headers["ce-id"] == event.get_id() != ""
        assert event.get_type() == f"{message.name}.v{SCHEMA_VERSION}"
        assert event.get_source() == f"/recorder/{NODE}"
        fact, about = Fact(message.name), event.get_subject()
        assert fact.keyed_by == "worker" or about in {SESSION, LOST, UNKNOWN_SESSION}
        assert message.subject == fact.of(about or "")
        assert event.get_datacontenttype() == "application/json"
        assert event.get_data() == json.loads(message.data)
        again = to_binary_event(event).headers
        assert binary_event(message).headers.items() <= again.items(), "but for the time of now"


async def test_what_lacks_an_attribute_is_no_cloudevent(messages: list[Message]) -> None:
    whole = binary_event(facts(messages)[0])
    for name in ("ce-type", "ce-source"):
        headers = {key: value for key, value in whole.headers.items() if key != name}
        with pytest.raises(CloudEventValidationError):
            from_binary_event(HTTPMessage(headers=headers, body=whole.body))


async def test_source_and_id_name_one_event(messages: list[Message]) -> None:
    events = [*facts(messages), *(message for message in messages if message.settles)]
    named = Counter((m.headers["ce-source"], m.headers["ce-id"]) for m in events)
    assert [event for event, count in named.items() if count > 1] == []


async def test_the_events_of_a_session_are_one_trace(messages: list[Message]) -> None:
    for message in facts(messages):
        session = message.headers["ce-subject"]
        if session in {SESSION, LOST}:
            version, trace, _, _ = message.headers["traceparent"].split("-")
            assert (version, trace) == ("00", session.replace("-", ""))


def ids_and_fences() -> dict[str, tuple[str, bool]]:
    """By subject, what docs/bus.md says: a pattern of message ids, and whether there is a fence."""
    text = (ROOT / "docs" / "bus.md").read_text(encoding="utf-8")
    section = text.split("## Message ids and fences\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            for subject in re.findall(r"`([^`]+)`", cells[0]):
                forms = [
                    re.sub(r"<[^>]+>", ".+", re.escape(form.replace("<subject>", subject)))
                    for form in re.findall(r"`([^`]+)`", cells[1])
                ]
                found[subject] = ("|".join(forms), cells[2].startswith("yes"))
    return found


async def test_message_ids_and_fences_are_those_of_the_document(messages: list[Message]) -> None:
    told = ids_and_fences()
    for message in facts(messages):
        assert message.name in told, f"docs/bus.md does not tell the message id of {message.name}"
        form, fenced = told[message.name]
        assert re.fullmatch(form, message.headers["Nats-Msg-Id"]), message.headers["Nats-Msg-Id"]
        assert (FENCE in message.headers) == fenced, message.name
