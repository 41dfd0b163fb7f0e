"""How a session's source is read."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.ports import FrameSource
from recorder_worker.stages.capture.segments.spool import SegmentStore


class Arming(msgspec.Struct, frozen=True, kw_only=True):
    """What an armed session keeps in memory, and where it writes once it is triggered."""

    keep_ns: int
    max_bytes: int
    store: SegmentStore
    keyframes: KeyframePolicy


class ReaderPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How to read.

    `native` paces a media source, `max_duration_ns` of session time ends any, `idle_stop_ns` of it
    without a change of the picture too, and what is lost (a source, the store) is tried again for
    `retry_s` seconds. `arming` is there where the session waits, or has waited, for a trigger.
    """

    native: bool
    max_duration_ns: int | None
    retry_s: float
    idle_stop_ns: int | None = None
    arming: Arming | None = None


Reopen = Callable[[int], FrameSource]
"""Opens the source again at a unit. Raises SourceError."""
