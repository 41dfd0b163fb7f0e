"""Out of a world that has come to rest: what it left."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec

from faults.brokers import Broker
from faults.evidence import Evidence, LetterFound, Told
from faults.parts import second_of
from faults.session import MISSING, OWNER, UNITS, pixels
from faults.world import World
from recorder_worker.bus.codec import decode
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.core.events import DeadLetterSettled
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import CLIENT, SESSIONS_BUCKET, Fact, again, settled

POISONED = "DecodeError: JSON is malformed"
"""The reason of the one dead letter that the session asks for."""


async def collect(world: World) -> Evidence:
    """What the world left, its store as a folder."""
    world.parts.write_out()
    identity = world.folder.parent / "identity"
    identity.write_text(world.identity + "\n")
    return Evidence(
        folder=world.folder,
        identity=identity,
        told=await told_by(world.broker),
        pixels={unit: pixels(unit) for unit in range(UNITS) if unit != MISSING},
        lost=frozenset({MISSING}),
        waiting={
            stage: count
            for stage, count in (await world.broker.waiting()).items()
            if stage in world.stages
        },
        dead=await _dead(world),
        copies=await _copies(world.broker),
        private_keys=world.parts.private_keys(),
        entries=await _entries(world.broker),
        second=second_of(world.folder),
        before_hold=world.before_hold,
        under_hold=world.under_hold,
        removed=world.removed,
        commands=world.commands,
        uncopied="upload" in world.deaf,
        offloaded=world.offloaded,
        refused=world.refused,
        damaged=world.damaged,
        left=list(world.witnessed.left),
        letters=await _letters(world),
        stamped=world.authority is not None,
    )


async def told_by(broker: Broker) -> list[Told]:
    """Every event of the streams, the poison apart."""
    found = []
    for fact in Fact:
        for stored in await broker.stored(fact.wildcard):
            try:
                event = decode(fact, stored.data)
            except msgspec.MsgspecError:
                continue
            found.append(Told(fact, stored.seq, stored.headers.get(MESSAGE_ID, ""), event))
    return found


async def _dead(world: World) -> list[str]:
    """Reasons of dead letters that nobody was asked about; or that the one of the poison misses."""
    seen = [each.letter for each in await DeadLetterBook(world.broker.jetstream).all()]
    poison = [each for each in seen if each.reason.startswith(POISONED)]
    known = {each.letter for each in poison} | set(world.asked)
    rest = [each.reason for each in seen if each.letter not in known]
    return rest if poison else [*rest, "that of the poison is missing"]


async def _letters(world: World) -> list[LetterFound]:
    found = []
    for seen in await DeadLetterBook(world.broker.jetstream).all():
        name, stage = seen.letter.letter, seen.letter.stage
        told = await world.broker.stored(settled(stage, name))
        sent = await world.broker.stored(again(stage, name))
        if told or sent or name in world.asked:
            events = [msgspec.json.decode(each.data, type=DeadLetterSettled) for each in told]
            asked = world.asked.get(name, "nobody")
            found.append(LetterFound(name, stage, asked, events, len(sent)))
    return found


async def _copies(broker: Broker) -> dict[str, list[Fact]]:
    found: defaultdict[str, list[Fact]] = defaultdict(list)
    for each in await broker.stored(f"{CLIENT}.{OWNER}.>"):
        fact, _, session = each.subject.removeprefix(f"{CLIENT}.{OWNER}.").rpartition(".")
        found[session].append(Fact(fact))
    return found


async def _entries(broker: Broker) -> dict[str, SessionEntry]:
    prefix = f"$KV.{SESSIONS_BUCKET}."
    return {
        each.subject.removeprefix(prefix): msgspec.json.decode(each.data, type=SessionEntry)
        for each in await broker.stored(f"{prefix}>")
    }


def folder_in(tmp_path: Path) -> Path:
    """An empty data directory."""
    made = tmp_path / "data"
    made.mkdir()
    return made
