"""Out of a world that has come to rest: what it left."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec

from faults.brokers import Broker
from faults.evidence import Evidence, Told
from faults.parts import second_of
from faults.session import MISSING, OWNER, UNITS, pixels
from faults.world import World
from recorder_worker.bus.codec import decode
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import CLIENT, DEAD, SESSIONS_BUCKET, Fact

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
        waiting=await world.broker.waiting(),
        dead=await _dead(world.broker),
        copies=await _copies(world.broker),
        private_keys=world.parts.private_keys(),
        entries=await _entries(world.broker),
        second=second_of(world.folder),
        before_hold=world.before_hold,
        under_hold=world.under_hold,
        removed=world.removed,
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


async def _dead(broker: Broker) -> list[str]:
    """Reasons of dead letters; of the one that is wanted nothing, or that it is not there."""
    reasons = [each.headers["Recorder-Reason"] for each in await broker.stored(f"{DEAD}.*")]
    wanted = [reason for reason in reasons if reason.startswith(POISONED)]
    rest = [reason for reason in reasons if reason not in wanted]
    return rest if wanted else [*rest, "that of the poison is missing"]


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
