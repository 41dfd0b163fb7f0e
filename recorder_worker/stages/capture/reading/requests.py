"""What the session's event loop asks of its reader thread."""

from __future__ import annotations

import queue

import msgspec

from recorder_worker.core.model import EndReason, GapReason, Mask, SlowedBy


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


class MaskWith(msgspec.Struct, frozen=True):
    """Black out these rectangles from the next frame on; answered with `Masked`."""

    masks: tuple[Mask, ...]
    by: str = ""


class TriggerNow(msgspec.Struct, frozen=True):
    """Armed: record the seconds that are held, and all from now on; answered with `Triggered`."""


class SetRate(msgspec.Struct, frozen=True):
    """Read so many frames a second; answered with a note. `detail` says what was measured."""

    fps: float
    reason: SlowedBy
    detail: str = ""


class Hold(msgspec.Struct, frozen=True):
    """Read nothing until `GoOn`; what passes is a gap of this reason.

    `back_pressure`: later stages are behind; `disk`: there is no room.
    """

    detail: str = ""
    reason: GapReason = GapReason.BACK_PRESSURE


class GoOn(msgspec.Struct, frozen=True):
    """What a session was held for is over; answered with the gap."""


Request = Pause | Resume | Release | Stop | MaskWith | TriggerNow | SetRate | Hold | GoOn


class RequestBox:
    """Requests on their way from the event loop to the reader's thread."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def put(self, request: Request) -> None:
        """Ask; never waits."""
        self._requests.put(request)

    def next(self, timeout_s: float) -> Request | None:
        """The oldest request; None where none came within so many seconds."""
        try:
            return (
                self._requests.get(timeout=timeout_s) if timeout_s else self._requests.get_nowait()
            )
        except queue.Empty:
            return None
