"""A recorder whose stages fail when a test wants it, and what becomes of its dead letters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.msg import Msg
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.dead_letters.letter_client import DeadLetterClient
from recorder_worker.core.dead_letters import LetterSeen
from recorder_worker.core.subjects import Endpoint


class Defect:
    """A method of the product that fails as long as the test wants: a defect, later corrected."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:  # noqa: ANN401  (a class or module)
        self.there = False
        self.fails: Callable[[tuple[Any, ...]], bool] = lambda _arguments: True
        self.error: Callable[[], Exception] = lambda: ZeroDivisionError("a defect")
        original = getattr(owner, name)

        def failing(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  (as the original)
            if self.there and self.fails(arguments):
                raise self.error()
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, failing)


async def letters(recorder: RunningRecorder) -> list[LetterSeen]:
    """All letters, as a person's program reads them."""
    async with DeadLetterClient.connect(Login(servers=(recorder.url,))) as client:
        return list(await client.all())


async def letter_about(
    recorder: RunningRecorder, stage: str, session_id: str | None = None, *, after: int = 0
) -> LetterSeen:
    """The first letter of a stage about a session, once there is one behind a place."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for seen in await letters(recorder):
                about = session_id is None or seen.letter.session_id == session_id
                if seen.letter.stage == stage and about and seen.letter.place > after:
                    return seen
            await asyncio.sleep(POLL_S)


async def ask(
    recorder: RunningRecorder, endpoint: Endpoint, token: str | None = None, **request: object
) -> tuple[int, dict[str, Any]]:
    """What the desk answers: 0 or the code of its error, and the body."""
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    message: Msg = await recorder.bus.request(
        endpoint.value, json.dumps(request).encode(), timeout=DEADLINE_S, headers=headers
    )
    code = int((message.headers or {}).get("Nats-Service-Error-Code", "0"))
    return code, json.loads(message.data)
