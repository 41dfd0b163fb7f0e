"""What is counted."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.ports.stores import Checked


class StageMetrics(Protocol):
    """What stages and the bus count. Never labelled by session."""

    def received(self, stage: str, size: int, *, again: bool) -> None:
        """A message of so many bytes was delivered to a stage; `again`: not for the first time."""
        ...

    def published(self, stage: str, size: int) -> None:
        """A stage has had an event of so many bytes stored."""
        ...

    def handled(self, stage: str, outcome: str, seconds: float) -> None:
        """A message left a stage."""
        ...

    def dead_lettered(self, stage: str) -> None:
        """A message was moved to the dead letters."""
        ...

    def suspected(self, stage: str) -> None:
        """A message at which workers may have died is tried alone."""
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

    def segment_refused(self) -> None:
        """The store refused a segment; it is tried again."""
        ...

    def rate_changed(self, reason: str, *, lower: bool) -> None:
        """A session's frame rate was changed, for a reason of `SlowedBy`."""
        ...

    def keyframe_looked(self, outcome: str) -> None:
        """A keyframe of copied packets was `seen`, `undecodable`, or left out, for it came `busy`.

        That is: while the one before it was being decoded still, or had taken long.
        """
        ...

    def behind(self, *, behind: bool) -> None:
        """Whether the stages behind capture are behind."""
        ...

    def chunk_stored(self, codec: str, plain_bytes: int, stored_bytes: int) -> None:
        """A chunk became durable; `plain_bytes` is its size before compression."""
        ...

    def checkpoint_signed(self) -> None:
        """A checkpoint was signed and stored."""
        ...

    def session_sealed(self, reason: str) -> None:
        """A session was sealed."""
        ...


class CopyMetrics(Protocol):
    """What is counted of copies in the second store."""

    def copied(self, checked: Checked, sent_bytes: int, seconds: float) -> None:
        """A blob is there and was checked; `sent_bytes` is 0 where it was there before."""
        ...

    def copy_damaged(self) -> None:
        """What was sent did not come back; it is sent again."""
        ...

    def copy_failed(self) -> None:
        """The second store failed; it is tried again."""
        ...

    def second_store(self, *, ok: bool) -> None:
        """Whether copies get on."""
        ...

    def offloaded(self, removed_bytes: int) -> None:
        """The chunks of a session were removed here."""
        ...
