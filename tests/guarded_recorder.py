"""Commands with tokens to a running recorder, and what its audit trail has of them."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from running_recorder import DEADLINE_S, POLL_S, RunningRecorder

from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.core.events import (
    Audited,
    CommandAccepted,
    CommandDenied,
    Control,
    SessionRejected,
    SessionStarted,
)
from recorder_worker.core.subjects import Command, Fact


async def send(
    recorder: RunningRecorder,
    command: Command,
    body: bytes,
    token: str | None,
    *,
    command_id: str | None = None,
) -> str:
    """Publish a command as any client would; its id."""
    headers = {"Nats-Msg-Id": command_id or uuid.uuid4().hex}
    headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
    await recorder.jetstream.publish(command.value, body, headers=headers)
    return headers["Nats-Msg-Id"]


async def answer(
    recorder: RunningRecorder, command: Command, body: dict[str, Any], token: str | None
) -> Control | SessionStarted | SessionRejected:
    """What the recorder says to a command about a session."""
    session_id = body["session_id"]
    async with asyncio.timeout(DEADLINE_S), recorder.client.follow(session_id) as facts:
        sent = await send(recorder, command, json.dumps(body).encode(), token)
        async for seen in facts:
            event = seen.event
            if isinstance(event, Control | SessionStarted | SessionRejected) and (
                event.command_id == sent
            ):
                return event
    raise AssertionError("facts never end")


async def audited(recorder: RunningRecorder, *command_ids: str) -> dict[str, list[Audited]]:
    """What the trail has of commands, once it has something of each."""
    found: dict[str, list[Audited]] = {}
    for fact in (Fact.AUDIT_ACCEPTED, Fact.AUDIT_DENIED):
        for message in await recorder._stored(AUDIT_STREAM, fact.value):
            event = codec.decode(fact, message.data or b"")
            assert isinstance(event, CommandAccepted | CommandDenied)
            if event.command_id in command_ids:
                found.setdefault(event.command_id, []).append(event)
    return found


async def in_trail(recorder: RunningRecorder, command_id: str) -> Audited:
    """The one entry of a command, once it is there."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await audited(recorder, command_id)):
            await asyncio.sleep(POLL_S)
    (event,) = found[command_id]
    return event
