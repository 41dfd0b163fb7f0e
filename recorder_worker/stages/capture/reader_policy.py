"""How a session's source is read."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.ports import FrameSource


class ReaderPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How to read.

    `native` paces a media source, `max_duration_ns` of session time ends any, and what is lost
    (a source, the store) is tried again for `retry_s` seconds.
    """

    native: bool
    max_duration_ns: int | None
    retry_s: float


Reopen = Callable[[int], FrameSource]
"""Opens the source again at a unit. Raises SourceError."""
