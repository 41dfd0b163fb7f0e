"""What the streams hold once a run is over: every message, with when the server stored it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import msgspec
from nats.aio.client import Client

from recorder_worker.bus.sessions.batched_get import read_batch
from recorder_worker.bus.streams.topology import (
    AUDIT_STREAM,
    COMMANDS_STREAM,
    DEAD_STREAM,
    SESSIONS_STREAM,
)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `at_ns` is the server's time of storing it, by the machine's own clock."""

    sequence: int
    subject: str
    at_ns: int
    key: str
    body: Any

    @property
    def fact(self) -> str:
        return self.subject.rpartition(".")[0]

    @property
    def session_id(self) -> str:
        return self.subject.rpartition(".")[2]


class Streams(msgspec.Struct, kw_only=True):
    """The facts by subject, in their order, and what is in the other streams."""

    facts: dict[str, list[Stored]]
    dead: list[Stored]
    accepted: list[Stored]

    def of(self, fact: str, session_id: str) -> list[Stored]:
        """The facts of a kind about a session."""
        return self.facts.get(f"{fact}.{session_id}", [])

    def all_of(self, fact: str) -> list[Stored]:
        """The facts of a kind about all sessions, in their order."""
        found = [one for subject, of in self.facts.items() for one in of if one.fact == fact]
        return sorted(found, key=lambda stored: stored.sequence)


CONSUMERS = {
    SESSIONS_STREAM: ("chunk", "compress", "merkle", "log", "owners", "storage", "table"),
    COMMANDS_STREAM: ("control", "capture"),
}


async def read_streams(bus: Client) -> Streams:
    """Everything that is there now."""
    facts: dict[str, list[Stored]] = defaultdict(list)
    for stored in await _all(bus, SESSIONS_STREAM):
        facts[stored.subject].append(stored)
    return Streams(
        facts=dict(facts),
        dead=await _all(bus, DEAD_STREAM),
        accepted=await _all(bus, AUDIT_STREAM),
    )


async def waiting(bus: Client) -> dict[str, tuple[int, int]]:
    """Consumers that were not given everything, or have not acknowledged it: how much of both."""
    found = {}
    for stream, names in CONSUMERS.items():
        for name in names:
            info = await bus.jetstream(timeout=5).consumer_info(stream, name)
            counts = (info.num_pending or 0, info.num_ack_pending or 0)
            if any(counts):
                found[name] = counts
    return found


async def _all(bus: Client, stream: str) -> list[Stored]:
    jetstream = bus.jetstream(timeout=5)
    found: list[Stored] = []
    while True:
        after = found[-1].sequence if found else 0
        got = [message async for message in read_batch(jetstream, stream, after + 1)]
        if not got:
            return found
        for message in got:
            assert message.time is not None
            found.append(
                Stored(
                    sequence=message.seq or 0,
                    subject=message.subject or "",
                    at_ns=_ns(message.time),
                    key=(message.headers or {}).get("Nats-Msg-Id", ""),
                    body=_body(message.data or b""),
                )
            )


def _ns(when: Any) -> int:  # noqa: ANN401  (a datetime, or what the server says)
    seconds: float = when.timestamp()
    return round(seconds * 1e6) * 1000


def _body(data: bytes) -> Any:  # noqa: ANN401  (JSON)
    try:
        return json.loads(data)
    except ValueError:
        return None
