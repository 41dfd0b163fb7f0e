"""Bad commands: one clear message, the other sessions go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import nats.errors
import pytest
from running_recorder import (
    DEADLINE_S,
    POLL_S,
    RunningRecorder,
    only,
)

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import (
    Event,
    MarkCaptured,
    SessionRejected,
    SessionResumed,
    SessionSealed,
    SessionStarted,
)
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, Fact
from recorder_worker.core.verify.verdicts import Verdict

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("others_go_on"),
]

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}


# --- commands that are no commands ---------------------------------------------------------------

TOO_LONG = 65_536 + 1


def not_json() -> dict[str, bytes]:
    return {
        "nothing": b"",
        "text": b"please record my screen",
        "half": b'{"source": {"kind": "pattern"',
        "more": b'{"session_id": "x"} and more',
        "not UTF-8": b'{"by": "\xff\xfe"}',
        "bytes": bytes(range(256)),
        "open brackets": b"[" * 50_000,
        "open braces": b'{"a":' * 10_000,
        "deep": b"[" * 30_000 + b"]" * 30_000,
        "deep below a name": b'{"by": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "deep below no name": b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "a number that no machine holds": b'{"fps": 1e999}',
        "half a surrogate": b'{"by": "\\ud800"}',
        "200 kB": b'{"by": "' + b"x" * 200_000 + b'"}',
        "one byte too long": b" " * TOO_LONG,
        "list": b"[]",
        "string": b'"session"',
        "number": b"7",
        "null": b"null",
    }


@pytest.mark.parametrize("command", list(Command))
async def test_what_is_no_command_is_refused_with_its_reason(
    recorder: RunningRecorder, command: Command
) -> None:
    bodies = not_json()
    dead = await recorder.dead_letter_count()
    answers = await recorder.rejections(command.value, *bodies.values())
    for name, answer in zip(bodies, answers, strict=True):
        assert answer.session_id == UNKNOWN_SESSION, name
        assert answer.command == command.value, name
        assert all((answer.field, answer.expected, answer.hint)), name
        assert len(answer.got) <= 200, "what came is shown, not sent back"
    said = {
        name: (answer.field, answer.expected) for name, answer in zip(bodies, answers, strict=True)
    }
    assert said["text"] == ("$", "a JSON object")
    assert said["null"] == ("$", "an object")
    assert said["200 kB"] == ("$", "at most 65536 bytes")
    assert await recorder.dead_letter_count() == dead


async def test_an_unknown_field_is_refused_by_name_with_a_guess(recorder: RunningRecorder) -> None:
    bodies: list[dict[str, Any]] = [
        {"source": SMALL, "max_duration": 3},
        {"source": {**SMALL, "heigth": 3}},
        {"source": SMALL, "colour": "red"},
    ]
    answers = await recorder.rejections("session.start", *(json.dumps(b).encode() for b in bodies))
    assert [(a.field, a.expected) for a in answers] == [
        ("max_duration", "a known field"),
        ("source.heigth", "a known field"),
        ("colour", "a known field"),
    ]
    assert answers[0].hint == "did you mean 'max_duration_s'?"
    assert answers[1].hint == "did you mean 'height'?"
    assert answers[2].hint == "see schemas/session.start.json"


async def test_a_refusal_is_addressed_to_the_session_that_the_command_names(
    recorder: RunningRecorder,
) -> None:
    session_id = str(uuid.uuid4())
    body = json.dumps({"session_id": session_id, "source": {"kind": "film"}}).encode()
    answer = only(await recorder.rejections("session.start", body, session_id=session_id))
    assert (answer.field, answer.got) == ("source.kind", '"film"')
    assert answer.expected == "one of file, x11, pattern, rtsp, images, v4l2, nats"


@pytest.mark.parametrize(
    "session_id",
    ["7", "", "*", ">", "a b", "00000000-0000-0000-0000-00000000000A", f"{uuid.UUID(int=3)}\n"],
)
async def test_an_id_that_is_no_uuid_is_refused_and_gets_into_no_subject(
    recorder: RunningRecorder, session_id: str
) -> None:
    def is_told(refusal: Any) -> None:  # noqa: ANN401  (the event or the error)
        assert refusal.field == "session_id"
        assert refusal.expected == "a UUID in lower case with hyphens"

    for command in Command:
        body: dict[str, Any] = {"session_id": session_id}
        if command is Command.START:
            body["source"] = SMALL
        is_told(only(await recorder.rejections(command.value, json.dumps(body).encode())))
    with pytest.raises(RefusedError) as error:
        await recorder.client.start(SMALL, session_id=session_id or " ")
    is_told(error.value.refusal)
    for send in (recorder.client.stop, recorder.client.pause, recorder.client.resume):
        with pytest.raises(RefusedError) as error:
            await send(session_id)
        is_told(error.value.refusal)
    assert recorder.bus.is_connected


async def test_a_command_of_10_mb_is_refused_before_it_is_sent(recorder: RunningRecorder) -> None:
    owner = "x" * 10_000_000
    error = await recorder.refusal(SMALL, owner=owner)
    assert (error.refusal.field, error.refusal.expected) == ("$", "at most 1048576 bytes")
    assert int(error.refusal.got.removesuffix(" bytes")) > len(owner)
    with pytest.raises(nats.errors.MaxPayloadError):
        await recorder.jetstream.publish("session.start", json.dumps({"owner": owner}).encode())
    assert recorder.bus.is_connected


# --- commands to sessions that cannot obey -------------------------------------------------------


async def test_commands_for_a_session_that_nobody_started_are_refused(
    recorder: RunningRecorder,
) -> None:
    # One start may yet be on its way, so this takes some seconds; all four at once.
    session_id = str(uuid.uuid4())
    body = json.dumps({"session_id": session_id}).encode()

    async def answer(command: Command) -> SessionRejected:
        return (await recorder.rejections(command.value, body, session_id=session_id))[0]

    commands = (Command.STOP, Command.PAUSE, Command.RESUME, Command.MARK)
    answers = await asyncio.gather(*map(answer, commands))
    assert [a.command for a in answers] == [c.value for c in commands]
    for found in answers:
        assert (found.field, found.got) == ("session_id", session_id)
        assert found.expected == "a session that has started"
        assert "nobody has started it" in found.hint


async def commanded(recorder: RunningRecorder, command: Command, session_id: str) -> None:
    """Give a command to a session and wait for the refusal that must come."""
    body = json.dumps({"session_id": session_id}).encode()
    await recorder.rejections(command.value, body, session_id=session_id)


async def effect(recorder: RunningRecorder, command: str, session_id: str, fact: Fact) -> Any:  # noqa: ANN401  (the fact's own type)
    send = getattr(recorder.client, command)
    return await recorder.client.effect(
        lambda: send(session_id), session_id, lambda seen: seen.fact is fact, DEADLINE_S
    )


async def test_a_command_that_its_state_does_not_take_is_refused_and_changes_nothing(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE)).session_id
    await commanded(recorder, Command.RESUME, session_id)
    await effect(recorder, "pause", session_id, Fact.PAUSED)
    await commanded(recorder, Command.PAUSE, session_id)
    assert isinstance(await effect(recorder, "resume", session_id, Fact.RESUMED), SessionResumed)
    await commanded(recorder, Command.RESUME, session_id)
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)
    assert (sealed.reason.value, sealed.gap_count) == ("stopped", 1)
    for command in (Command.STOP, Command.MARK, Command.PAUSE, Command.RESUME):
        await commanded(recorder, command, session_id)

    answers = await recorder.facts(Fact.REJECTED, session_id)
    assert all(isinstance(answer, SessionRejected) for answer in answers)
    assert [(a.command, a.expected, a.got) for a in answers] == [  # type: ignore[attr-defined]
        ("session.resume", "a session that can resume", "one that is recording"),
        ("session.pause", "a session that can pause", "one that is paused"),
        ("session.resume", "a session that can resume", "one that is recording"),
        *(
            (f"session.{name}", "a session that is being recorded", "one that has ended: stopped")
            for name in ("stop", "mark", "pause", "resume")
        ),
    ]
    assert answers[0].hint == "in this state it takes: pause, mark, mask, stop"  # type: ignore[attr-defined]
    assert recorder.report(session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_every_command_is_answered_also_right_behind_a_stop(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE)).session_id
    for _ in range(2):
        await recorder.client.stop(session_id)
    await recorder.client.mark(session_id, "too late?")
    await recorder.sealed(session_id)
    await recorder.commands_are_handled()
    async with asyncio.timeout(DEADLINE_S):
        while not (answers := await answers_to_marks(recorder, session_id)):
            await asyncio.sleep(POLL_S)  # what came behind the end is refused behind the seal
    assert len(answers) == 1, "in the record, or refused: never neither"


async def answers_to_marks(recorder: RunningRecorder, session_id: str) -> list[Event]:
    """Those that are in the record, and those that were refused."""
    captured = await recorder.facts(Fact.CAPTURED, session_id)
    refused = await recorder.facts(Fact.REJECTED, session_id)
    return [
        *(event for event in captured if isinstance(event, MarkCaptured)),
        *(
            event
            for event in refused
            if isinstance(event, SessionRejected) and event.command == "session.mark"
        ),
    ]


# --- the same start twice ------------------------------------------------------------------------


async def test_the_same_start_twice_is_one_session(recorder: RunningRecorder) -> None:
    session_id = str(uuid.uuid4())
    first = await recorder.client.start(LIVE, session_id=session_id, owner="me")
    assert await recorder.client.start(LIVE, session_id=session_id, owner="me") == first
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    assert await recorder.client.start(LIVE, session_id=session_id, owner="me") == first
    await recorder.commands_are_handled()
    assert [type(e) for e in await recorder.facts(Fact.STARTED, session_id)] == [SessionStarted]
    assert await recorder.facts(Fact.REJECTED, session_id) == []
    assert len(await recorder.facts(Fact.SEALED, session_id)) == 1
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
async def test_another_start_of_an_id_in_use_is_refused_and_the_first_goes_on(
    recorder: RunningRecorder, ended: bool
) -> None:
    session_id = str(uuid.uuid4())
    await recorder.client.start(LIVE, session_id=session_id, owner="me")
    if ended:
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
    body = json.dumps({"session_id": session_id, "source": LIVE, "owner": "you"}).encode()
    answer = only(await recorder.rejections("session.start", body, session_id=session_id))
    assert (answer.field, answer.expected) == ("session_id", "a session id that is not in use")
    if not ended:
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE
    manifest = json.loads((recorder.folder(session_id) / "session.json").read_bytes())
    assert manifest["command"]["owner"] == "me"


# --- garbage among the facts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "subject"),
    [
        ("chunk", f"session.captured.{uuid.UUID(int=1)}"),
        ("chunk", "session.captured.x"),
        ("compress", "session.chunked.x"),
        ("merkle", "session.compressed.x"),
    ],
)
@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"{}", b"[" * 50_000], ids=["bytes", "object", "deep"]
)
async def test_garbage_among_the_facts_becomes_a_dead_letter(
    recorder: RunningRecorder, stage: str, subject: str, data: bytes
) -> None:
    async with recorder.bystander():
        await recorder.jetstream.publish(subject, data)
        letters = await recorder.dead_letters(stage, subject, data)
    letter = only(letters)
    headers = letter.headers or {}
    assert letter.data == data, "the message itself is kept"
    assert headers["Recorder-Reason"]
    assert headers["Recorder-Deliveries"] == "1"
    assert headers["Recorder-Where"]


async def test_a_start_of_an_id_whose_log_somebody_scribbled_on_is_answered(
    recorder: RunningRecorder,
) -> None:
    session_id = str(uuid.uuid4())
    await recorder.jetstream.publish(f"session.captured.{session_id}", b"scribble")
    await recorder.dead_letters("chunk", f"session.captured.{session_id}", b"scribble")
    body = json.dumps({"session_id": session_id, "source": SMALL}).encode()
    await recorder.jetstream.publish("session.start", body)
    letter = only(await recorder.dead_letters("capture", "session.start", body))
    assert "JSON is malformed" in (letter.headers or {})["Recorder-Reason"]


@pytest.mark.parametrize("status", ["100", "404", "408", "409", "503"])
async def test_a_command_that_looks_like_a_word_of_the_server_is_answered_and_holds_up_nobody(
    recorder: RunningRecorder, status: str
) -> None:
    """nats-py takes the header `Status` for the server's own; anybody may set it."""
    disguised = {"Status": status, "Description": "Idle Heartbeat"}
    unknown = str(uuid.uuid4())
    async with asyncio.timeout(DEADLINE_S), recorder.client.follow(unknown) as facts:
        body = json.dumps({"session_id": unknown}).encode()
        await recorder.jetstream.publish(Command.STOP, body, headers=disguised)
        async for seen in facts:
            if isinstance(seen.event, SessionRejected):
                break
    session_id = str(uuid.uuid4())
    start = {"session_id": session_id, "source": SMALL}
    async with asyncio.timeout(DEADLINE_S), recorder.client.follow(session_id) as facts:
        await recorder.jetstream.publish(
            Command.START, json.dumps(start).encode(), headers=disguised
        )
        async for seen in facts:
            if isinstance(seen.event, SessionSealed):
                break
