"""Out of a world that has come to rest: what it left."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec
from memory_jetstream import MemoryServer

from faults.evidence import Evidence, Told
from faults.session import MISSING, OWNER, UNITS, pixels
from faults.world import World
from recorder_worker.bus.codec import decode
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import CLIENT, DEAD, SESSIONS_BUCKET, Fact

POISONED = "DecodeError: JSON is malformed"
"""The reason of the one dead letter that the session asks for."""


def collect(world: World) -> Evidence:
    """What the world left, its store as a folder."""
    for key in world.store.keys(""):
        path = world.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.store.get(key))
    identity = world.folder.parent / "identity"
    identity.write_text(world.identity + "\n")
    left = {session for session, _ in world.signer._epochs} | set(world.ciphers.held)
    return Evidence(
        folder=world.folder,
        identity=identity,
        told=told_by(world.server),
        pixels={unit: pixels(unit) for unit in range(UNITS) if unit != MISSING},
        lost=frozenset({MISSING}),
        waiting={
            name: len(each.pending) + each.waits
            for name, each in world.server.consumers.items()
            if name not in ("tsa", "receipts")
        },
        dead=_dead(world.server),
        copies=_copies(world.server),
        private_keys=sorted(left),
        entries=_entries(world.server),
    )


def told_by(server: MemoryServer) -> list[Told]:
    """Every event of the streams, the poison apart."""
    found = []
    for fact in Fact:
        for stored in server.all_of(fact.wildcard):
            try:
                event = decode(fact, stored.data)
            except msgspec.MsgspecError:
                continue
            found.append(Told(fact, stored.seq, stored.headers.get(MESSAGE_ID, ""), event))
    return found


def _dead(server: MemoryServer) -> list[str]:
    """Reasons of dead letters; of the one that is wanted nothing, or that it is not there."""
    reasons = [each.headers["Recorder-Reason"] for each in server.all_of(f"{DEAD}.*")]
    wanted = [reason for reason in reasons if reason.startswith(POISONED)]
    rest = [reason for reason in reasons if reason not in wanted]
    return rest if wanted else [*rest, "that of the poison is missing"]


def _copies(server: MemoryServer) -> dict[str, list[Fact]]:
    found: defaultdict[str, list[Fact]] = defaultdict(list)
    for each in server.all_of(f"{CLIENT}.{OWNER}.>"):
        fact, _, session = each.subject.removeprefix(f"{CLIENT}.{OWNER}.").rpartition(".")
        found[session].append(Fact(fact))
    return found


def _entries(server: MemoryServer) -> dict[str, SessionEntry]:
    prefix = f"$KV.{SESSIONS_BUCKET}."
    return {
        each.subject.removeprefix(prefix): msgspec.json.decode(each.data, type=SessionEntry)
        for each in server.all_of(f"{prefix}>")
    }


def folder_in(tmp_path: Path) -> Path:
    """An empty data directory."""
    made = tmp_path / "data"
    made.mkdir()
    return made
