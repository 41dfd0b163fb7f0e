"""A video file whose packets are recorded as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import av
from av.container import InputContainer

from recorder_worker.adapters.sources.file import CONTAINERS
from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.mp4_tables import check_tables
from recorder_worker.adapters.sources.stamps import Stamped, Stamps
from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import FileSource
from recorder_worker.ports import Coding, Packet

_SECOND_NS = 1_000_000_000
JUMP_S = 10
"""What a file's times leave out at once, and more, is no pause but a jump."""
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}


class PacketFile:
    """Satisfies `ports.PacketSource`. Its time is that of decoding, from the first packet on."""

    def __init__(self, source: FileSource, guard: SourceGuard, *, first_unit: int = 0) -> None:
        """Open the file and go to the first keyframe at or behind `first_unit`.

        Raises:
            SourceForbiddenError: the rules do not allow the file.
            SourceError: its video cannot be copied, or has fewer packets than `first_unit`.
        """
        self._name = f"file {source.uri}"
        self._container: InputContainer | None = None
        with guard.open(source) as file:
            check_tables(file)
            try:
                opened = av.open(file.name, "r", options=dict(_OPTIONS))
            except (av.error.FFmpegError, ValueError) as error:
                raise SourceError(
                    f"{self._name}: expected a video that FFmpeg can open, found none in its "
                    f"{file.size} bytes; try ffprobe on it"
                ) from error
        self._container = opened
        self.skipped = 0
        self._zero = 0
        self._last: int | None = None
        self._expected: int | None = None
        self._ready: deque[Packet] = deque()
        try:
            self._tracks = Tracks(self._container, self._name)
            self._stamps = (Stamps(self._name), Stamps(self._name))
            self._facts = self._describe(source.uri)
            self._packets = self._demuxed(self._container)
            self._skip_to(first_unit)
        except SourceLostError as error:
            self.close()
            raise SourceError(str(error)) from error
        except BaseException:
            self.close()
            raise

    @property
    def facts(self) -> SourceFacts:
        """As declared by the container."""
        return self._facts

    @property
    def tick(self) -> tuple[int, int]:
        """As `PacketSource.tick`."""
        return self._tracks.tick.numerator, self._tracks.tick.denominator

    @property
    def coding(self) -> Coding:
        """As `PacketSource.coding`."""
        return self._tracks.coding

    def read(self, wait_s: float) -> tuple[Packet, ...] | None:  # noqa: ARG002  (a file never waits)
        """The next packet; None behind the last."""
        if self._container is None:
            raise SourceLostError(f"{self._name}: expected an open source, found it closed")
        if self._ready:
            return (self._ready.popleft(),)
        packet = next(self._packets, None)
        return None if packet is None else (packet,)

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:
        """As `PacketSource.piece`."""
        return self._tracks.piece(packets, shift)

    def close(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _skip_to(self, first_unit: int) -> None:
        """Up to a keyframe; what came before it and was not recorded yet is counted."""
        unit = 0
        sound: deque[Packet] = deque(maxlen=16)
        for packet in self._packets:
            if not packet.video:
                sound.append(packet)
                continue
            if unit >= first_unit and packet.keyframe:
                self.skipped = unit - first_unit
                if unit == 0:  # what lies before the first picture in the file may be heard with it
                    self._ready.extend(sound)
                self._ready.append(packet)
                return
            unit += 1
        raise SourceError(
            f"{self._name}: expected a keyframe at or behind packet {first_unit}, found the end "
            f"behind {unit} packets; it has none, or it was changed since its recording began"
        )

    def _demuxed(self, container: InputContainer) -> Iterator[Packet]:
        tracks = self._tracks
        chosen = [index for index in (tracks.video, tracks.audio) if index is not None]
        try:
            for packet in container.demux([container.streams[index] for index in chosen]):
                if packet.size:
                    yield from self._stamped(packet)
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceLostError(
                f"{self._name}: expected to read on, found that its container is damaged; check "
                "the file with ffprobe"
            ) from error
        for stamps, video in zip(self._stamps, (True, False), strict=True):
            for rest in stamps.rest():
                yield self._packet(*rest, video=video)

    def _stamped(self, packet: av.Packet[Any]) -> Iterator[Packet]:
        video = packet.stream_index == self._tracks.video
        if video and packet.has_sidedata("new_extradata"):
            raise SourceLostError(
                f"{self._name}: expected one kind of video, found that it changes in mid-file; "
                "record it with profile screen"
            )
        stamped = Stamped(
            pts=packet.pts,
            dts=packet.dts,
            duration=packet.duration or 0,
            keyframe=packet.is_keyframe,
            came_ns=0,
            data=bytes(packet),
        )
        for each in self._stamps[0 if video else 1].feed(stamped):
            yield self._packet(*each, video=video)

    def _packet(self, stamped: Stamped, pts: int, dts: int, *, video: bool) -> Packet:
        t_ns = self._position_ns(dts, stamped.duration) if video else 0
        return Packet(
            video=video,
            keyframe=stamped.keyframe,
            pts=pts,
            dts=dts,
            duration=stamped.duration,
            t_ns=t_ns,
            data=stamped.data,
        )

    def _position_ns(self, dts: int, duration: int) -> int:
        """The position in the material; where the file's times jump, it goes on behind the last."""
        expected = self._expected if self._expected is not None else dts
        ahead_s = (dts - expected) * self._tracks.tick
        if self._last is not None and (dts <= self._last or ahead_s > JUMP_S):
            self._zero += dts - expected
        if self._last is None:
            self._zero = dts
        self._last, self._expected = dts, dts + max(1, duration)
        return round((dts - self._zero) * self._tracks.tick * _SECOND_NS)

    def _describe(self, uri: str) -> SourceFacts:
        tracks, container = self._tracks, self._container
        count = container.streams[tracks.video].frames if container is not None else 0
        left = f"; not recorded: {tracks.left_out}" if tracks.left_out else ""
        return SourceFacts(
            kind="file",
            uri=uri,
            description=f"video file, {tracks.description} at {tracks.rate:g} fps{left}",
            width=tracks.width,
            height=tracks.height,
            clock=SourceClock.MEDIA,
            frame_rate=tracks.rate,
            frame_count=count or None,
        )
