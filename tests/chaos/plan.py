"""What happens in a chaos run, drawn from a seed: the same seed gives the same plan."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What is done to an actor."""

    KILL = "kill -9 a worker"
    TERM = "SIGTERM a worker"
    STOP = "SIGSTOP a worker"
    CUT = "cut a worker off"
    STALL = "stall a worker's bytes"
    DELAY = "delay a worker's bytes"
    CLOCK = "jump of a worker's clock"
    SERVER_KILL = "kill -9 a nats-server"
    SERVER_STOP = "SIGSTOP a nats-server"


LEADER = "leader"
"""In place of a server's name: whichever leads the stream SESSIONS by then."""

WEIGHTS: dict[Kind, int] = {
    Kind.KILL: 24,
    Kind.TERM: 10,
    Kind.STOP: 16,
    Kind.CUT: 14,
    Kind.STALL: 10,
    Kind.DELAY: 6,
    Kind.CLOCK: 8,
    Kind.SERVER_KILL: 8,
    Kind.SERVER_STOP: 4,
}
HOLDS_S: dict[Kind, tuple[float, float]] = {
    # Below the lease time and above it: both must do.
    Kind.KILL: (0.2, 4.0),
    Kind.TERM: (0.2, 2.0),
    Kind.STOP: (0.3, 6.0),
    Kind.CUT: (0.2, 5.0),
    Kind.STALL: (0.2, 8.0),
    Kind.DELAY: (1.0, 5.0),
    Kind.CLOCK: (0.0, 0.0),
    Kind.SERVER_KILL: (0.1, 3.0),
    Kind.SERVER_STOP: (0.3, 3.0),
}
"""How long each lasts, before the actor is started again, woken up, or reached again."""
JUMPS_S = (-3600.0, -60.0, -5.0, 5.0, 60.0, 3600.0)
DELAYS_S = (0.05, 0.4)
PAUSES_S = (0.3, 1.7)
"""Between one fault and the next; most of them overlap."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `after_s` behind the one before it, for `hold_s`.

    `amount_s` is how far a clock jumps, or how late bytes come.
    """

    number: int
    kind: Kind
    target: str
    after_s: float
    hold_s: float
    amount_s: float = 0.0


class Shape(StrEnum):
    """What kind of session it is."""

    PATTERN = "pattern"
    PAUSED = "pattern, paused and resumed"
    ARMED = "pattern, armed and triggered"
    COPY = "file, packets copied"
    FRAMES = "published frames"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session whose every unit is known: how many, and of which seed."""

    number: int
    session_id: str
    shape: Shape
    units: int
    seed: int
    marks: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All faults of a run, in their order. Its sessions are drawn by `session_of`."""

    seed: int
    faults: tuple[Fault, ...]

    @property
    def lasts_s(self) -> float:
        """From the first fault to the last, at least."""
        return sum(fault.after_s for fault in self.faults)


def plan_of(
    seed: int, count: int, workers: tuple[str, ...], servers: tuple[str, ...], *, clocks: bool
) -> Plan:
    """Draw `count` faults over these actors; without `clocks` none of them jumps.

    Every kind comes up early: the first faults are one of each, in an order that is drawn too.
    """
    draw = random.Random(seed)
    kinds = [kind for kind in Kind if clocks or kind is not Kind.CLOCK]
    first = draw.sample(kinds, len(kinds))
    weights = [WEIGHTS[kind] for kind in kinds]
    drawn = [*first, *draw.choices(kinds, weights, k=max(0, count - len(first)))][:count]
    return Plan(
        seed=seed,
        faults=tuple(_fault(draw, n, kind, workers, servers) for n, kind in enumerate(drawn)),
    )


def _fault(
    draw: random.Random,
    number: int,
    kind: Kind,
    workers: tuple[str, ...],
    servers: tuple[str, ...],
) -> Fault:
    target = draw.choice(workers)
    if kind in {Kind.SERVER_KILL, Kind.SERVER_STOP}:
        # In a cluster half of them hit the leader, which costs the most.
        target = draw.choice([LEADER] * len(servers) + list(servers))
    shortest_s, longest_s = HOLDS_S[kind]
    amount_s = {Kind.CLOCK: draw.choice(JUMPS_S), Kind.DELAY: draw.uniform(*DELAYS_S)}
    return Fault(
        number=number,
        kind=kind,
        target=target,
        after_s=round(draw.uniform(*PAUSES_S), 3),
        hold_s=round(draw.uniform(shortest_s, longest_s), 3),
        amount_s=round(amount_s.get(kind, 0.0), 3),
    )


def session_of(seed: int, number: int) -> Session:
    """The n-th session of a run."""
    draw = random.Random(f"{seed}/{number}")
    # One of each first, as the faults.
    shape = list(Shape)[number] if number < len(Shape) else draw.choice(list(Shape))
    identity = bytearray(draw.randbytes(16))
    identity[6], identity[8] = identity[6] & 0x0F | 0x40, identity[8] & 0x3F | 0x80
    text = identity.hex()
    return Session(
        number=number,
        session_id="-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])),
        shape=shape,
        units=draw.randrange(60, 160),
        seed=draw.randrange(2**31),
        marks=draw.randrange(0, 4),
    )
