"""Facts about worker processes, for whoever manages nodes: they are there, how they are, they go.

Each has a subject for each worker, `integration.node.heartbeat.<worker>`, so that the last message
of a subject is the newest word of a worker.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.events.event import Event
from recorder_worker.core.model import Count, Nanoseconds, SessionId, Wire

WorkerId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]+$",
        min_length=1,
        max_length=300,
        description="Node, process id and some random digits; one token of a subject.",
    ),
]
Fraction = Annotated[float, Meta(ge=0)]


class NodeFact(Event, frozen=True, kw_only=True):
    """What every fact about a worker carries.

    Attributes:
        worker: the process: another one for each start.
        node: the machine.
        stages: what the process runs.
        software: its name and version.
        capacity: how many sessions it may record at once; 0: it runs no capture.
        sessions: those that it records now: the leases that it holds.
        heartbeat_s: how often it tells, in seconds; silent for three of them, it is gone.
        wall_ns: when.
    """

    worker: WorkerId
    node: str
    stages: tuple[str, ...]
    software: str
    capacity: Count
    sessions: tuple[SessionId, ...] = ()
    heartbeat_s: Annotated[float, Meta(gt=0)]
    wall_ns: Nanoseconds


class NodeLoad(Wire, frozen=True, kw_only=True):
    """What a machine and a process on it use.

    Attributes:
        cpu_count: processors of the machine.
        cpu_percent: of all of them, since the heartbeat before.
        load_1m: the machine's load, averaged over a minute.
        memory_total_bytes: of the machine; `memory_available_bytes` could be had.
        process_memory_bytes: resident memory of the worker.
        process_cpu_percent: of one processor, since the heartbeat before.
        disk_total_bytes: of the file system that holds the data directory; so is
            `disk_free_bytes`.
    """

    cpu_count: Count
    cpu_percent: Fraction
    load_1m: Fraction
    memory_total_bytes: Count
    memory_available_bytes: Count
    process_memory_bytes: Count
    process_cpu_percent: Fraction
    disk_total_bytes: Count
    disk_free_bytes: Count


class NodeRegistered(NodeFact, frozen=True, kw_only=True, tag="node_registered", tag_field="type"):
    """`integration.node.registered.<worker>`: a worker has started and takes messages."""

    load: NodeLoad


class NodeHeartbeat(NodeFact, frozen=True, kw_only=True, tag="node_heartbeat", tag_field="type"):
    """`integration.node.heartbeat.<worker>`: a worker is alive, and how it is.

    Attributes:
        beat: the number of this heartbeat, from 1.
        load: what it uses.
        since_s: the time that the counts below are over, in seconds.
        frames: units captured in that time; the others are bytes and messages in the same time.
    """

    beat: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    load: NodeLoad
    since_s: Fraction
    frames: Count
    raw_bytes: Count
    stored_bytes: Count
    messages: Count


class NodeDraining(NodeFact, frozen=True, kw_only=True, tag="node_draining", tag_field="type"):
    """`integration.node.draining.<worker>`: a worker was told to stop.

    `sessions` are those whose leases it is about to give back.
    """
