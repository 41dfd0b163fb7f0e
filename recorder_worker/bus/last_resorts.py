"""What a stage does about a message before it is dead-lettered, with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from nats.aio.msg import Msg

from recorder_worker.bus.codec import decode
from recorder_worker.bus.disposition import LastResort
from recorder_worker.bus.subscriptions import decode_command
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Delivery


def last_resort(fact: Fact, give_up: Callable[[Any, str], Awaitable[None]]) -> LastResort:
    """That of a stage which takes events of a fact."""

    async def give_up_event(message: Msg, reason: str) -> None:
        try:
            event = decode(fact, message.data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # not an event of ours: there is nothing that would be missing
        await give_up(event, reason)

    return give_up_event


def last_resort_of_commands(give_up: Callable[[Delivery, str], Awaitable[None]]) -> LastResort:
    """That of a stage which takes commands."""

    async def give_up_command(message: Msg, reason: str) -> None:
        await give_up(decode_command(message), reason)

    return give_up_command
