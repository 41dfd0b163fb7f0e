"""What the session's event loop asks of its reader thread."""

from __future__ import annotations

import queue

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
