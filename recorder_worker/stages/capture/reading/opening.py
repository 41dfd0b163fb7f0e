"""Opening a source in a thread of its own, so that whoever waits for it can listen as well."""

from __future__ import annotations

import threading
from collections.abc import Callable

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.core.model import EndReason
from recorder_worker.ports import Clock, PacketSource

RETRY_WAIT_S = 0.5
LONGEST_RETRY_WAIT_S = 8.0
_SECOND_NS = 1_000_000_000

OpenPackets = Callable[[int], PacketSource]
"""Opens the source again at a unit. Raises SourceError."""


class Opening:
    """One try. Either `result` gives the source, or `abandon` closes what may still come."""

    def __init__(self, opener: OpenPackets, unit: int) -> None:
        self._opener = opener
        self._unit = unit
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._source: PacketSource | None = None
        self._error: Exception | None = None
        self._abandoned = False
        threading.Thread(target=self._run, name="opening", daemon=True).start()

    def result(self, wait_s: float) -> PacketSource | None:
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

    def __init__(self, opener: OpenPackets, unit: int, clock: Clock, retry_s: float) -> None:
        self._opener = opener
        self._unit = unit
        self._clock = clock
        self._retry_ns = round(retry_s * _SECOND_NS)
        self._opening: Opening | None = None
        self._wait_ns = round(RETRY_WAIT_S * _SECOND_NS)
        self._next_ns = 0
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
            return self._opening.result(wait_s)
        except SourceForbiddenError as error:
            self.reason, self.end = error, EndReason.POLICY
        except SourceError as error:
            self.reason, self._opening = error, None
            self._next_ns = self._clock.monotonic_ns() + self._wait_ns
            self._wait_ns = min(2 * self._wait_ns, round(LONGEST_RETRY_WAIT_S * _SECOND_NS))
        return None

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        if self._opening is not None:
            self._opening.abandon()
