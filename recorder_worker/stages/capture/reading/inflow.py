"""Packets that were read from a source and are not recorded yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from recorder_worker.core.errors import SourceLostError, UnitsMissingError
from recorder_worker.ports import ArrivingPackets, Clock, Packet, PacketSource
from recorder_worker.stages.capture.reading.packet_coverage import PacketCoverage


class Inflow:
    """Fetches packets, and gives them out in their order."""

    def __init__(self, packing: PacketCoverage, clock: Clock) -> None:
        self._packing = packing
        self._clock = clock
        self._packets: deque[Packet] = deque()

    @property
    def first(self) -> Packet | None:
        """The next one to be recorded; None: there is none."""
        return self._packets[0] if self._packets else None

    def take(self) -> Packet:
        """Take `first`, which there is."""
        return self._packets.popleft()

    def clear(self) -> None:
        """Forget them: their source is closed."""
        self._packets.clear()

    def fetch(self, source: PacketSource, wait_s: float) -> bool:
        """Whether something came in that time. What is missing is declared.

        Raises:
            Finished: the source has ended, and the session with it.
            SourceLostError: as `PacketSource.read`.
        """
        try:
            packets = source.read(wait_s)
        except UnitsMissingError as error:
            self._packing.missing(error, source)
            return True
        if packets is None:
            self._packing.source_ended(source.facts)
        self._packets.extend(packets or ())
        return bool(packets)

    def drain(self, source: PacketSource, record: Callable[[Packet, PacketSource], None]) -> None:
        """Record what had come from a live source until now."""
        now_ns = self._clock.monotonic_ns()
        held = isinstance(source, ArrivingPackets)
        if isinstance(source, ArrivingPackets):
            source.hold()
        with suppress(SourceLostError):  # whoever reads next is told again
            while self._packets or self.fetch(source, 0):
                if self._packets and not held and self._packets[0].t_ns > now_ns:
                    return  # it goes on and on
                if self._packets:
                    record(self._packets.popleft(), source)
