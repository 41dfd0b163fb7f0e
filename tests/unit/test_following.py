"""What an owner hears of a session: what comes, and what the stream has and did not come."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from recorder_worker.bus import codec
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.following import Following
from recorder_worker.core.events import RetentionKind, SessionRetention
from recorder_worker.core.subjects import Fact, copy_for

SESSION = "00000000-0000-4000-8000-00000000000a"
NOBODY: Any = None
KINDS: tuple[RetentionKind, ...] = ("hold", "release", "delete", "tombstone")


def copied(number: int) -> tuple[str, bytes, dict[str, str]]:
    """Subject, data and headers of the copy of a statement."""
    event = SessionRetention(
        session_id=SESSION,
        number=number,
        kind=KINDS[number - 1],
        by="root",
        reason="asked for",
        command_id="",
        statement="signed",
        wall_ns=number,
    )
    subject = copy_for("alice", Fact.RETENTION, SESSION)
    return subject, codec.encode(event), {MESSAGE_ID: str(number)}


def came(number: int) -> Msg:
    subject, data, headers = copied(number)
    return Msg(NOBODY, subject, "", data, headers)


class Looked(Following):
    """Its stream has what a test says, each time that it is looked at."""

    def __init__(self, *looks: int) -> None:
        super().__init__(NOBODY, NOBODY, SESSION)
        self.looks = list(looks)

    async def _newest_copies(self, _owner: str) -> list[RawStreamMsg]:
        number = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        subject, data, headers = copied(number)
        return [RawStreamMsg(subject=subject, seq=number, data=data, headers=headers)]


async def heard(following: Looked, coming: asyncio.Queue[Msg], count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(30):
        async for seen in following._copied("alice", coming, []):
            assert isinstance(seen.event, SessionRetention)
            found.append(seen.event.kind)
            if len(found) == count:
                break
    return found


async def test_the_newest_that_is_stored_does_not_overtake_what_came_before_it() -> None:
    """The stream is looked at when the last one has been stored, and all are on their way."""
    coming: asyncio.Queue[Msg] = asyncio.Queue()
    for number in range(1, 5):
        coming.put_nowait(came(number))
    assert await heard(Looked(4), coming, 4) == list(KINDS)


async def test_what_did_not_come_is_told_in_front_of_what_came_behind_it() -> None:
    coming: asyncio.Queue[Msg] = asyncio.Queue()
    coming.put_nowait(came(4))
    assert await heard(Looked(3), coming, 2) == ["delete", "tombstone"]
