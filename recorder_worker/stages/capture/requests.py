"""What the session's event loop asks of its reader thread."""

from __future__ import annotations

import msgspec

from recorder_worker.core.model import EndReason


class Pause(msgspec.Struct, frozen=True):
    """Read nothing until `Resume`; answered with `Paused`. `by` stands in the gap's detail."""

    by: str = ""


class Resume(msgspec.Struct, frozen=True):
    """Go on; answered with the gap of the pause and `Resumed`."""


class Release(msgspec.Struct, frozen=True):
    """Let go for another worker; answered with `Released`."""


class Stop(msgspec.Struct, frozen=True):
    """End; answered with `Ended`."""

    reason: EndReason
    detail: str = ""


Request = Pause | Resume | Release | Stop
