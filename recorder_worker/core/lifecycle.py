"""The life of a session: one transition table. The diagram in the docs is drawn from it.

The capture stage holds a session's state; a command that has no row for the present state is
refused. `requested` ends when a worker takes the lease; a session that is `armed` keeps its last
seconds in memory alone, until a mark of type `trigger` starts the recording of them. After
`stopping` nothing is captured any more and the later stages bring what there is to `sealed`.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a session stands."""

    REQUESTED = "requested"
    REJECTED = "rejected"
    ARMED = "armed"
    RECORDING = "recording"
    PAUSED = "paused"
    STOPPING = "stopping"
    SEALED = "sealed"


class Trigger(StrEnum):
    """What moves a session on."""

    REFUSED = "refused"
    OPENED = "opened"
    ARM = "arm"
    TRIGGER = "trigger"
    PAUSE = "pause"
    RESUME = "resume"
    MARK = "mark"
    MASK = "mask"
    STOP = "stop"
    END = "end"
    SEAL = "seal"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.REQUESTED, Trigger.REFUSED): State.REJECTED,
    (State.REQUESTED, Trigger.OPENED): State.RECORDING,
    (State.REQUESTED, Trigger.ARM): State.ARMED,
    (State.ARMED, Trigger.TRIGGER): State.RECORDING,
    (State.RECORDING, Trigger.PAUSE): State.PAUSED,
    (State.PAUSED, Trigger.RESUME): State.RECORDING,
    (State.RECORDING, Trigger.MARK): State.RECORDING,
    (State.PAUSED, Trigger.MARK): State.PAUSED,
    (State.ARMED, Trigger.MARK): State.ARMED,
    (State.RECORDING, Trigger.MASK): State.RECORDING,
    (State.PAUSED, Trigger.MASK): State.PAUSED,
    (State.ARMED, Trigger.MASK): State.ARMED,
    (State.RECORDING, Trigger.STOP): State.STOPPING,
    (State.PAUSED, Trigger.STOP): State.STOPPING,
    (State.ARMED, Trigger.STOP): State.STOPPING,
    (State.RECORDING, Trigger.END): State.STOPPING,
    (State.PAUSED, Trigger.END): State.STOPPING,
    (State.ARMED, Trigger.END): State.STOPPING,
    (State.STOPPING, Trigger.SEAL): State.SEALED,
}


def next_state(state: State, trigger: Trigger) -> State | None:
    """The state behind a trigger; None where the table has no such row."""
    return TRANSITIONS.get((state, trigger))


def allowed(state: State) -> tuple[Trigger, ...]:
    """The triggers that a state has rows for, in the order of the table."""
    return tuple(trigger for (at, trigger) in TRANSITIONS if at is state)
