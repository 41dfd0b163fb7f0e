"""What the `copy` profile records: sources that give packets as an encoder made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from recorder_worker.core.model import GapReason, SourceFacts
from recorder_worker.core.sources.kinds import Source


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded picture, which is a unit, or a piece of the sound beside it.

    `pts`, `dts` and `duration` are the source's own, in ticks of its track; every packet has both
    times, and 0 stands for a duration that is not known. `t_ns` is on the source's clock: the
    position in the material (`media`) or `Clock.monotonic_ns` when it came (`live`).
    """

    video: bool
    keyframe: bool
    pts: int
    dts: int
    duration: int
    t_ns: int
    data: bytes


class Coding(msgspec.Struct, frozen=True):
    """What the packets of a track are decoded with.

    `codec` is `h264`, `hevc` or `mjpeg`. `parameters` say how their bytes are laid out, and hold
    the parameter sets that are not in the packets themselves; empty where there are none.
    """

    codec: str
    parameters: bytes


class PacketSource(Protocol):
    """An open source. One thread uses it."""

    @property
    def facts(self) -> SourceFacts:
        """What the source turned out to be when it was opened."""
        ...

    @property
    def tick(self) -> tuple[int, int]:
        """A tick of the video is so many seconds: numerator and denominator."""
        ...

    @property
    def skipped(self) -> int:
        """Units of a `media` source before the first that is given, for want of a keyframe."""
        ...

    @property
    def coding(self) -> Coding:
        """What the video that was read last is decoded with. Nobody has to decode it."""
        ...

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:
        """The next packets, none where none came in that time; None where the source has ended.

        The first one of video is a keyframe.

        Raises:
            SourceLostError: it was delivering and cannot any more.
            UnitsMissingError: units are missing here, or what was read so far cannot be in one
                piece with what comes; the next call goes on behind that, with a keyframe.
        """
        ...

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:
        """Packets as fragmented MP4: ftyp and moov, and the moof with its mdat.

        Args:
            packets: in the order in which they came, one of video at least.
            shift: ticks of the video that are added to their times.

        Raises:
            SourceLostError: they cannot be written; the text says why.
        """
        ...

    def close(self) -> None:
        """Let go of the source; harmless when repeated, and quick."""
        ...


@runtime_checkable
class ArrivingPackets(PacketSource, Protocol):
    """A live source whose packets come by themselves, from somebody who hears what becomes of them.

    It is held rather than closed, so that he can be told why.
    """

    def hold(self) -> None:
        """Take nothing more; what was taken before is still read."""
        ...

    def go_on(self, reason: GapReason) -> None:
        """Take what comes again; what comes before the next keyframe is missing for this reason."""
        ...


class PacketOpener(Protocol):
    """Opens sources of packets by their kind."""

    def packets(self, source: Source, first_unit: int) -> PacketSource:
        """Open a source, a `media` one at unit `first_unit`.

        Raises:
            SourceForbiddenError: the operator's rules do not allow it.
            SourceError: it cannot be opened; the text says why and what to do.
        """
        ...
