"""Packets that another program publishes, recorded as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from recorder_worker.adapters.sources.access_units import TICK, AccessUnits
from recorder_worker.adapters.sources.inbox import Inbox
from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.errors import SourceLostError
from recorder_worker.core.frame_messages import FrameHeaders, packet_headers
from recorder_worker.core.model import GapReason, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import NatsSource
from recorder_worker.ports import Coding, FrameFeed, Packet

AGAIN_WAIT_S: Final = 10.0
"""Seconds in which a source that was there before has a keyframe; nobody hears commands then."""
_TICK_NS: Final = round(TICK * 1_000_000_000)
_SECOND: Final = round(1 / TICK)
_SAME: Final = _SECOND // 1000
"""Times that step back by less than this, in ticks, were rounded or read off a clock in a hurry."""


class Written(msgspec.Struct, frozen=True):
    """A packet, and the tracks that it is written with."""

    packet: Packet
    tracks: Tracks


class PublishedPackets:
    """A subject on which packets come. Satisfies `ports.ArrivingPackets`.

    As of `PublishedFrames`, every one is recorded, answered and counted, or missing with a reason;
    and with it everything up to the next keyframe.
    """

    def __init__(
        self, source: NatsSource, feed: FrameFeed, *, max_pixels: int, again: bool = False
    ) -> None:
        """Subscribe, and wait for the first keyframe.

        `again`: the source was there before, and may have come to its end meanwhile.

        Raises:
            SourceError: the bus does not let us, or no keyframe that can be recorded came in time.
        """
        self._name = f"subject {source.uri}"
        self._units = AccessUnits(self._name, max_pixels)
        self._newest: Tracks | None = None
        self._dts: int | None = None
        self._duration = 0
        self._inbox = Inbox(
            source, feed, noun="packet", headers=_headers, make=self._written, in_place=True
        )
        try:
            wait_s = min(source.timeout_s, AGAIN_WAIT_S) if again else source.timeout_s
            first = self._inbox.wait_for_first(wait_s, again=again)
        except BaseException:
            self.close()
            raise
        self._tracks = None if first is None else first.tracks
        self._facts = _facts(source.uri, self._tracks)

    @property
    def facts(self) -> SourceFacts:
        """As its first parameter sets say; the rate is 0 where they do not."""
        return self._facts

    @property
    def tick(self) -> tuple[int, int]:
        """As `PacketSource.tick`."""
        return TICK.numerator, TICK.denominator

    @property
    def skipped(self) -> int:
        """None: what was published before the first keyframe was before the session."""
        return 0

    @property
    def coding(self) -> Coding:
        """As `PacketSource.coding`; nothing where the source ended before it began."""
        return Coding("", b"") if self._tracks is None else self._tracks.coding

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:
        """The next packet; None behind the last, which its publisher has told.

        Raises:
            SourceLostError: silence, too many malformed packets, or the source is closed.
            UnitsMissingError: packets are missing here; or none, and their parameters change.
        """
        if not self._inbox.arrived(wait_s):
            return ()
        written = self._inbox.read()
        if written is None:
            return None
        self._tracks = written.tracks
        return (written.packet,)

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:
        """As `PacketSource.piece`, of packets with the parameters of the last that was read."""
        if self._tracks is None:
            raise SourceLostError(f"{self._name}: expected packets, found none")
        return self._tracks.piece(packets, shift)

    def hold(self) -> None:
        """As the port."""
        self._inbox.hold()

    def go_on(self, reason: GapReason) -> None:
        """As the port."""
        self._inbox.go_on(reason)

    def close(self) -> None:
        """Tell whoever still publishes that nobody records it."""
        self._inbox.close()

    # --- one packet -----------------------------------------------------------------------------

    def _written(self, headers: FrameHeaders, data: bytes, t_ns: int) -> Written:
        broken = self._inbox.broken
        keyframe, tracks = self._units.check(headers.codec, data, broken=broken)
        if self._newest is not None and tracks is not self._newest and not broken:
            self._inbox.part(
                f"its packets change: {tracks.description} with parameters of its own, behind "
                f"{self._newest.description}"
            )
        self._newest = tracks
        dts = self._next_dts(t_ns if headers.time_ns is None else headers.time_ns, tracks.rate)
        shown_ns = headers.presentation_ns
        packet = Packet(
            video=True,
            keyframe=keyframe,
            pts=dts if shown_ns is None else max(dts, _ticks(shown_ns)),
            dts=dts,
            duration=self._duration,
            t_ns=t_ns,
            data=data,
        )
        return Written(packet, tracks)

    def _next_dts(self, time_ns: int, rate: float) -> int:
        """When a packet is decoded; it is taken to last as long as the one before it did."""
        dts, last = _ticks(time_ns), self._dts
        if last is not None and last - _SAME < dts <= last:
            dts = last + 1
        if last is not None and 0 < dts - last <= _SECOND:
            self._duration = dts - last
        elif not self._duration and rate:
            self._duration = round(_SECOND / rate)
        self._dts = dts
        return dts


def _headers(headers: Mapping[str, str], _size: int) -> FrameHeaders:
    return packet_headers(headers)


def _ticks(time_ns: int) -> int:
    return (time_ns + _TICK_NS // 2) // _TICK_NS


def _facts(uri: str, tracks: Tracks | None) -> SourceFacts:
    rate = 0.0 if tracks is None else tracks.rate
    said = "none more" if tracks is None else tracks.description
    return SourceFacts(
        kind="nats",
        uri=uri,
        description=f"packets published on {uri}, {said}" + (f" at {rate:g} fps" if rate else ""),
        width=0 if tracks is None else tracks.width,
        height=0 if tracks is None else tracks.height,
        clock=SourceClock.LIVE,
        frame_rate=rate,
    )
