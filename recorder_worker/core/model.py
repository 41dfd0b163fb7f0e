"""The values that commands, events and records share, and the base of every message.

Messages are msgspec Structs in JSON: readable on the wire, validated with constraints on the way
in, and the one source of `schemas/`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from recorder_worker.core.cipher.names import CIPHER_NONE

SCHEMA_VERSION = 1

SessionId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        max_length=36,  # `$` also matches before a line end, which must not get into a subject
        description="A UUID in lower case with hyphens.",
    ),
]
Hex32 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", description="32 bytes in lower-case hexadecimal.")
]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Meta(ge=1, le=65535)]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every message and of every value inside one."""


class Mask(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rectangle, in pixels, that is blacked out before anything is stored."""

    x: Annotated[int, Meta(ge=0, le=65535)]
    y: Annotated[int, Meta(ge=0, le=65535)]
    width: Pixels
    height: Pixels


class SourceClock(StrEnum):
    """How a source tells time.

    `live`: the world goes on while nobody reads, so what was not read is lost. `media`: time is
    the position in the material, which waits for its reader.
    """

    LIVE = "live"
    MEDIA = "media"


class SourceFacts(Wire, frozen=True, kw_only=True):
    """What a source turned out to be when it was opened."""

    kind: str
    uri: str
    description: str
    width: Count
    height: Count
    clock: SourceClock
    frame_rate: Annotated[float, Meta(ge=0)]
    frame_count: Count | None = None


class ClockState(StrEnum):
    """Whether the wall clock was known to follow a reference. The order is the record's code."""

    UNKNOWN = "unknown"
    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"


class GapReason(StrEnum):
    """Why units are known to be missing. The order is the code in the record: append only."""

    PAUSE = "pause"
    SOURCE_LOST = "source_lost"
    BACK_PRESSURE = "back_pressure"
    DISK = "disk"
    CRASH = "crash"
    HANDOVER = "handover"
    CLOCK_JUMP = "clock_jump"
    DEAD_LETTER = "dead_letter"
    ARMED = "armed"


class EndReason(StrEnum):
    """Why a session ended. The order is the code in the record: append only."""

    STOPPED = "stopped"
    SOURCE_ENDED = "source_ended"
    MAX_DURATION = "max_duration"
    IDLE = "idle"
    WORKER_LOST = "worker_lost"
    SOURCE_LOST = "source_lost"
    DISK_FULL = "disk_full"
    POLICY = "policy"


class Span(Wire, frozen=True, kw_only=True):
    """What a segment, chunk or gap covers, in units and in time.

    Units [first, first + count) of one stream and session time [t0_ns, t1_ns), with the wall
    clock at both ends.

    Session time is nanoseconds since the session began, never stepping back. Spans of one
    stream tile it: each begins, in units and in time, where the one before it ended.
    """

    stream: Count = 0
    first_unit: Count
    unit_count: Count
    t0_ns: Nanoseconds
    t1_ns: Nanoseconds
    wall0_ns: Nanoseconds
    wall1_ns: Nanoseconds

    @property
    def duration_ns(self) -> int:
        """Session time that it covers."""
        return self.t1_ns - self.t0_ns


class Cursor(Wire, frozen=True, kw_only=True):
    """How far a session's stream is covered: the next unit, and the time that it begins at.

    `boot_ns` is the writer's clock since boot at that moment: on the same boot it tells how long
    ago that was even where the wall clock was stepped.
    """

    unit: Count = 0
    t_ns: Nanoseconds = 0
    wall_ns: Nanoseconds = 0
    boot_ns: Nanoseconds = 0


SlowedBy = Literal["overload", "behind"]
"""Why a session has another frame rate than its own: the machine, or the stages behind capture."""


class Slowed(Wire, frozen=True, kw_only=True):
    """A lower frame rate than the session's own is in force: frames a second, and why."""

    fps: Annotated[float, Meta(gt=0)]
    reason: SlowedBy


class RecordingPolicy(Wire, frozen=True, kw_only=True):
    """What decides where chunks end, how they are compressed, and how often is signed.

    Settled when a session starts and kept in its log, so that its tree is a function of that log
    and not of the settings of whichever worker comes later. A single segment may be larger than a
    chunk's limits: it is never split. The recorder promises a signed checkpoint at least every
    `checkpoint_interval_ns` and every `checkpoint_leaves` leaves, and keys that sign for no longer
    than `epoch_length_ns`. `cipher` names what segments and chunks are encrypted with, `frames`
    what they hold; chunks of packets are cut at keyframes.
    """

    chunk_duration_ns: Nanoseconds
    chunk_max_stored_size: Count
    chunk_max_plain_size: Count
    zstd_level: Annotated[int, Meta(ge=1, le=22)]
    zstd_window_log: Annotated[int, Meta(ge=10, le=23)]
    checkpoint_interval_ns: Nanoseconds = 5_000_000_000
    checkpoint_leaves: Annotated[int, Meta(ge=1, le=2**32 - 1)] = 64
    epoch_length_ns: Nanoseconds = 300_000_000_000
    cipher: str = CIPHER_NONE
    frames: str = "tiles64-bgr"
