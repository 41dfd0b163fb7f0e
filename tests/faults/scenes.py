"""What happens behind a recording: it is kept, its dead letters are settled, it is time-stamped.

Each scene is played in a world without a fault until then; the fault is one of what it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from nats.aio.msg import Msg
from time_stamp_authority import Tsa

from faults.collecting import POISONED, collect, folder_in
from faults.evidence import Evidence
from faults.injector import Fault
from faults.keepers import KEEP_NS, PAUSE_S, SECOND_NS, Asked
from faults.parts import put_over
from faults.session import HOLD, SESSION
from faults.world import DESK, PATROL, STAGES, SWEEPER, Damaged, World
from recorder_worker.bus.codec import decode
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.core import keys
from recorder_worker.core.errors import RequestRefusedError
from recorder_worker.core.events import EndCaptured
from recorder_worker.core.receipts.timestamp import TimestampFound, verify_timestamp
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.integrations import tsa_anchor
from recorder_worker.integrations.tsa_client import Authority
from recorder_worker.stages.patrol.place import STALE_NS, read_place

TURNS = 6
LATER_NS = 2 * 3600 * SECOND_NS
"""Behind this the sweep tries again what it could not do."""


def played_in(folder: Path, scene: Callable[[World], Awaitable[None]]) -> Evidence:
    """What a scene without a fault left."""

    async def play() -> Evidence:
        world = World(folder_in(folder))
        await scene(world)
        return await collect(world)

    return asyncio.run(play())


async def sweep(world: World) -> None:
    """Turns of the sweep, until one has met no fault. The first comes a while behind the last."""
    for _ in range(TURNS):
        world.clock.now_ns += LATER_NS
        fired = world.injector.fired
        whole = await world.turn(SWEEPER)
        await world.run()
        if whole and world.injector.fired == fired:
            return
    raise AssertionError("the sweep does not come to its end")


async def patrol(world: World) -> None:
    """A round of the patrol, by whoever walks."""
    world.clock.now_ns += round(PAUSE_S * SECOND_NS)
    begun_ns = world.clock.now_ns
    for _ in range(TURNS):
        await world.turn(PATROL)
        await world.run()
        if read_place(world.parts.store).finished_ns >= begun_ns:
            return
        world.clock.now_ns += STALE_NS
    raise AssertionError("no round comes to its end")


async def record_uncopied(world: World) -> None:
    """A recording of whose facts those who copy never hear."""
    world.deaf.add("upload")
    await world.record()


async def keep(world: World, fault: Fault | None = None, *, held: bool = True) -> None:
    """Sweep and patrol: the session is copied, a hold comes late, chunks are damaged, and leave.

    One chunk is damaged here, and put back. Another one is damaged here and there; a person
    restores it here, and later there; until then no chunk leaves. Who stands still goes on behind
    the end of all that.
    """
    store, second = world.parts.store, world.parts.second
    world.injector.arm(fault)
    world.sleep_on = True
    await sweep(world)
    if held:
        await world.command(Command.HOLD, HOLD)
        world.commands = (3, 1)
        await world.run()
        await sweep(world)
    here, everywhere = sorted(store.keys(keys.blob_key(SESSION, keys.CHUNKS)))
    whole = store.get(everywhere)
    put_over(store, here, store.get(here)[:-1])
    put_over(store, everywhere, b"other bytes")
    put_over(second, everywhere, b"other bytes")
    world.damaged = (
        Damaged("patrol", here, repaired=True),
        Damaged("patrol", everywhere, repaired=False),
        Damaged("upload", everywhere, repaired=False),
    )
    await patrol(world)
    put_over(store, everywhere, whole)
    await patrol(world)
    world.clock.now_ns += KEEP_NS
    await sweep(world)
    world.refused = sorted(store.keys(keys.blob_key(SESSION, keys.CHUNKS)))
    put_over(second, everywhere, whole)
    await sweep(world)
    await patrol(world)
    world.offloaded = frozenset({SESSION})


async def wake(world: World) -> None:
    """Let who stands still go on; then all goes by itself as it does in any hour."""
    world.sleep_on = False
    await world.run()
    await sweep(world)
    await patrol(world)
    world.check_fired()


class Letter(NamedTuple):
    """A dead letter, by its id."""

    letter: str
    stage: str
    reason: str


async def letters(world: World) -> list[Letter]:
    """All there are, the oldest first."""
    seen = await DeadLetterBook(world.broker.jetstream).all()
    return [Letter(each.letter.letter, each.letter.stage, each.letter.reason) for each in seen]


async def letter_of(world: World, stage: str) -> str:
    """The one of a stage that nobody asks to be made."""
    (found,) = [
        each.letter
        for each in await letters(world)
        if each.stage == stage and not each.reason.startswith(POISONED)
    ]
    return found


async def ask(world: World, action: Literal["retry", "drop"], letter: str) -> None:
    """Ask the desk, again until it answers."""
    world.asked[letter] = action
    for _ in range(TURNS):
        answered = await world.turn(DESK, Asked(action, letter, "kim"))
        await world.run()
        if answered:
            return
    raise AssertionError("nobody answers")


def is_end(message: Msg) -> bool:
    """Whether it is the last captured event of a session."""
    return isinstance(decode(Fact.CAPTURED, message.data), EndCaptured)


def always(_message: Msg) -> bool:
    """Whatever comes."""
    return True


async def settle(world: World, fault: Fault | None = None) -> None:
    """Two stages fail, are corrected, and have their letters again; a third letter is dropped.

    Of the chunk stage it is the end of the session, which is not sealed before.
    """
    world.defects["chunk"] = is_end
    await world.record()
    world.injector.arm(fault)
    world.sleep_on = True
    del world.defects["chunk"]
    world.defects["storage"] = always
    await ask(world, "retry", await letter_of(world, "chunk"))
    del world.defects["storage"]
    await ask(world, "retry", await letter_of(world, "storage"))
    (poison,) = [each for each in await letters(world) if each.reason.startswith(POISONED)]
    await ask(world, "drop", poison.letter)
    world.sleep_on = False
    await world.run()
    world.check_fired()


async def settle_in_two_ways(world: World, fault: Fault) -> None:
    """One has a letter tried again, and stands still; meanwhile another one drops it."""
    world.defects["storage"] = always
    await world.record()
    world.injector.arm(fault)
    world.sleep_on = True
    del world.defects["storage"]
    letter = await letter_of(world, "storage")
    world.asked[letter] = ""  # either
    assert not await world.turn(DESK, Asked("retry", letter, "kim"))
    try:
        assert await world.turn(DESK, Asked("drop", letter, "lee"))
    except RequestRefusedError:
        assert fault.effect.name != "DeadLetters.settle"
    world.sleep_on = False
    try:
        await world.run()
    except RequestRefusedError:
        assert fault.effect.name == "DeadLetters.settle"
    await world.run()
    world.check_fired()


def stamping_with(tsa: Tsa, patch: pytest.MonkeyPatch) -> None:
    """Have the engine ask without HTTP, which has tests of its own. No answer is like another."""

    async def time_stamp(_authority: Authority, message: bytes) -> tuple[bytes, TimestampFound]:
        response = tsa.stamp(message)
        return response, verify_timestamp(response, message, (tsa.trusted(),))

    patch.setattr(tsa_anchor, "time_stamp", time_stamp)


async def stamp(world: World, authority: Tsa, fault: Fault | None = None) -> None:
    """An authority is named when all is recorded: every checkpoint that was said is stamped."""
    await world.record()
    world.stages = (*STAGES, "tsa")
    world.authority = authority
    world.restart("receipts")  # whose settings name it
    world.injector.arm(fault)
    await world.run()
    world.check_fired()
