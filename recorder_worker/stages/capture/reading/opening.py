"""Opening a source in a thread of its own, so that whoever waits for it can listen as well."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.core.model import EndReason
from recorder_worker.ports import Clock, FrameSource, PacketSource

RETRY_WAIT_S = 0.5
LONGEST_RETRY_WAIT_S = 8.0
_SECOND_NS = 1_000_000_000

S = TypeVar("S", bound=FrameSource | PacketSource)

OpenPackets = Callable[[int], PacketSource]
"""Opens the source again at a unit. Raises SourceError."""


class Patience:
    """A source that is lost as soon as it is found is not looked for at once, for ever and ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found_ns: int | None = None
        self._wait_ns = 0

    def found(self) -> None:
        """The source is there again."""
        self._found_ns = self._clock.monotonic_ns()

    def wait_ns(self, retry_ns: int) -> int:
        """How long to wait now that it is lost, of the time for which it is looked for."""
        shortest, longest = (
            round(RETRY_WAIT_S * _SECOND_NS),
            round(LONGEST_RETRY_WAIT_S * _SECOND_NS),
        )
        now_ns = self._clock.monotonic_ns()
        if self._found_ns is None or now_ns - self._found_ns > longest:
            self._wait_ns = 0
        else:
            self._wait_ns = min(max(2 * self._wait_ns, shortest), longest)
        return min(self._wait_ns, retry_ns // 2)


class Opening(Generic[S]):
    """One try. Either `result` gives the source, or `abandon` closes what may still come."""

    def __init__(self, opener: Callable[[int], S], unit: int) -> None:
        self._opener = opener
        self._unit = unit
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._source: S | None = None
        self._error: Exception | None = None
        self._abandoned = False
        threading.Thread(target=self._run, name="opening", daemon=True).start()

    def result(self, wait_s: float) -> S | None:
        """The source; None where it is not open yet. Raises what the opener raises."""
        if not self._done.wait(wait_s):
            return None
        if self._error is not None:
            raise self._error
        source, self._source = self._source, None
        return source

    def abandon(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._abandoned = True
            source, self._source = self._source, None
        if source is not None:
            source.close()

    def _run(self) -> None:
        try:
            source = self._opener(self._unit)
        except Exception as error:  # noqa: BLE001  (raised again where it is waited for)
            self._error = error
        else:
            with self._lock:
                if not self._abandoned:
                    self._source = source
            if self._abandoned:
                source.close()
        self._done.set()


class Search:
    """Tries to open a source again, less and less often, for so many seconds.

    Attributes:
        end: what the session ends with where it is not found.
        reason: what the last try said.
    """

    def __init__(
        self, opener: OpenPackets, unit: int, clock: Clock, retry_s: float, patience: Patience
    ) -> None:
        self._opener = opener
        self._unit = unit
        self._clock = clock
        self._retry_ns = round(retry_s * _SECOND_NS)
        self._patience = patience
        self._opening: Opening[PacketSource] | None = None
        self._wait_ns = round(RETRY_WAIT_S * _SECOND_NS)
        self._next_ns = clock.monotonic_ns() + patience.wait_ns(self._retry_ns)
        self.end = EndReason.SOURCE_LOST
        self.reason: SourceError | None = None
        self.prolong()

    def prolong(self) -> None:
        """Begin to count anew: somebody asked for something, perhaps for a long pause."""
        self._give_up_ns = self._clock.monotonic_ns() + self._retry_ns

    @property
    def over(self) -> bool:
        """Whether to give up."""
        return self.end is EndReason.POLICY or self._clock.monotonic_ns() >= self._give_up_ns

    def look(self, wait_s: float) -> PacketSource | None:
        """Wait so long for the source."""
        if self._opening is None and self._clock.monotonic_ns() < self._next_ns:
            threading.Event().wait(wait_s)
            return None
        self._opening = self._opening or Opening(self._opener, self._unit)
        try:
            source = self._opening.result(wait_s)
        except SourceForbiddenError as error:
            self.reason, self.end = error, EndReason.POLICY
        except SourceError as error:
            self.reason, self._opening = error, None
            self._next_ns = self._clock.monotonic_ns() + self._wait_ns
            self._wait_ns = min(2 * self._wait_ns, round(LONGEST_RETRY_WAIT_S * _SECOND_NS))
        else:
            if source is not None:
                self._patience.found()
            return source
        return None

    def abandon(self) -> None:
        """Nobody waits for it any more; `look` would begin anew."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.abandon()
