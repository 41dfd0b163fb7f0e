"""What the stages need from the outside world, as Protocols. One contract suite per port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.events import Event
from recorder_worker.core.model import Source, SourceFacts
from recorder_worker.core.subjects import Command, Fact

Picture = NDArray[np.uint8]
"""A frame's pixels: shape (height, width, 3), BGR, uint8, C-contiguous."""


class Frame(msgspec.Struct, frozen=True):
    """One unit of a `screen` profile source.

    `t_ns` is on the source's own clock: the position in the material (`media`) or
    `Clock.monotonic_ns` at the grab (`live`).
    """

    picture: Picture
    t_ns: int


class FrameSource(Protocol):
    """An open source. One thread uses it."""

    @property
    def facts(self) -> SourceFacts:
        """What the source turned out to be when it was opened."""
        ...

    def read(self) -> Frame | None:
        """The next frame; None where the source has ended.

        A live source grabs now; pacing is the caller's.

        Raises:
            SourceLostError: it was delivering and cannot any more.
        """
        ...

    def close(self) -> None:
        """Let go of the source; harmless when repeated."""
        ...


class SourceOpener(Protocol):
    """Opens sources by their kind."""

    def __call__(self, source: Source, fps: float | None, first_unit: int) -> FrameSource:
        """Open a source, a `media` one at unit `first_unit`.

        `fps` is None where the source's own rate shall hold.

        Raises:
            SourceError: it cannot be opened; the text says why and what to do.
        """
        ...


class BlobWriter(Protocol):
    """A blob being written; nothing is visible under its key until `commit` returns."""

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises StoreError."""
        ...

    def commit(self) -> None:
        """Make the blob durable and visible.

        Raises:
            ImmutableConflictError: the key already holds other bytes. The same bytes succeed.
            StoreError: it could not be made durable.
        """
        ...

    def abort(self) -> None:
        """Forget what was written; harmless after `commit`."""
        ...


class BlobStore(Protocol):
    """Immutable bytes by key. Blocking; stages call it off the event loop."""

    def put(self, key: str, data: bytes) -> None:
        """Store bytes durably; the same bytes again succeed. Raises as `BlobWriter.commit`."""
        ...

    def writer(self, key: str) -> BlobWriter:
        """Begin a blob that is too large to hold in memory."""
        ...

    def get(self, key: str) -> bytes:
        """All bytes of a blob. Raises BlobMissingError or StoreError."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """The bytes of a blob in pieces. Raises BlobMissingError or StoreError."""
        ...

    def size(self, key: str) -> int | None:
        """Length in bytes; None where there is no such blob."""
        ...

    def keys(self, prefix: str) -> Iterable[str]:
        """All keys below a prefix, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove a blob; harmless where there is none."""
        ...

    def free_bytes(self) -> int | None:
        """Room that is left; None where the store has no such limit."""
        ...

    def location(self, prefix: str) -> str:
        """Where a person finds what is stored below a prefix: a path or a URI."""
        ...


class Signer(Protocol):
    """Holds the device key, so that a KMS can stand here. The key never leaves it."""

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message, 64 bytes (RFC 8032: deterministic)."""
        ...

    def session_secret(self, session_id: str) -> bytes:
        """32 secret bytes, always the same for one session, from which record salts are derived."""
        ...


class Clock(Protocol):
    """Time, as an argument."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never step back, also across suspend where the system can."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...


class Logged(msgspec.Struct, frozen=True):
    """An event as the log holds it. `sequence` is a fence, never an identity."""

    event: Event
    sequence: int
    key: str


class EventLog(Protocol):
    """The per-session event logs on the bus."""

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        """The last event of a session's log. Raises BusUnavailableError."""
        ...

    def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        """All events of a session's log behind sequence `after`, oldest first."""
        ...

    async def append(
        self, fact: Fact, session_id: str, event: Event, *, key: str, after: int
    ) -> int:
        """Append behind sequence `after` (0: the first), exactly once for one `key`.

        Returns the event's sequence, also where an earlier attempt with this key had succeeded.

        Raises:
            FencedError: something else stands behind `after`.
            BusUnavailableError: the bus did not answer; nothing is known.
        """
        ...

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        """Append without a fence; a repeated `key` within the stream's window is dropped."""
        ...


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A command message as it reaches its stage."""

    command: Command
    body: bytes
    command_id: str
    sequence: int
    received_ns: int
    deliveries: int


class StageMetrics(Protocol):
    """What stages and the bus count. Never labelled by session."""

    def handled(self, stage: str, outcome: str, seconds: float) -> None:
        """A message left a stage."""
        ...

    def dead_lettered(self, stage: str) -> None:
        """A message was moved to the dead letters."""
        ...

    def rejected(self, command: str) -> None:
        """A command was refused."""
        ...

    def session_started(self) -> None:
        """A lease was taken on a new session."""
        ...

    def sessions_active(self, count: int) -> None:
        """How many leases this worker holds."""
        ...

    def segment_captured(self, frames: int, raw_bytes: int, plain_bytes: int) -> None:
        """A segment became durable."""
        ...

    def gap_captured(self, reason: str, lost_units: int) -> None:
        """Units were recorded as missing."""
        ...

    def chunk_stored(self, codec: str, stored_bytes: int) -> None:
        """A chunk became durable."""
        ...

    def checkpoint_signed(self) -> None:
        """A checkpoint was signed and stored."""
        ...

    def session_sealed(self, reason: str) -> None:
        """A session was sealed."""
        ...


class ControlFeed(Protocol):
    """Announces control events of sessions that this worker holds."""

    def listen(self, session_id: str, wake: asyncio.Event) -> AbstractContextManager[None]:
        """Set `wake` whenever a control event of the session may have been published."""
        ...
