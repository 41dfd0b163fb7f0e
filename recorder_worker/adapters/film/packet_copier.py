"""Writes a film of packets as they were recorded: nothing is decoded, and nothing encoded.

Times are those of the packet stream, from the first packet of the video on. They run on over chunks
and over gaps, so what is missing takes as long in the film as it took.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import msgspec
from av.packet import Packet
from av.stream import Stream

from recorder_worker.adapters.film.film_file import (
    EXACT,
    INDEXED,
    ContainerFile,
    endings,
    form_named,
)
from recorder_worker.adapters.film.packet_input import (
    TrackFacts,
    Tracks,
    exact_time,
    opened_packets,
)
from recorder_worker.core.errors import FormatError, RefusedError

SECOND_NS: Final = 1_000_000_000


class CopyForm(msgspec.Struct, frozen=True, kw_only=True):
    """The container that a film of packets is written in."""

    container: str
    options: dict[str, str]


COPY_FORMS: Final = {
    ".mp4": CopyForm(container="mp4", options=INDEXED),
    ".mov": CopyForm(container="mov", options=INDEXED),
    ".mkv": CopyForm(container="matroska", options=EXACT),
}


def copy_form_of(path: Path) -> CopyForm:
    """How a film of packets of this name is written. Raises RefusedError."""
    return form_named(path, COPY_FORMS, "packets are copied into any of them")


class PacketCopier(ContainerFile):
    """Writes one film; a context manager. Leaving it without `finish` leaves a torn file.

    Args:
        path: the file to write; it may be there.
        form: its container.
        facts: of all packets that it will hold.

    Attributes:
        picture_count, sound_count: packets that were written.
        sound_left_out: packets of sound whose times step back behind those that were written.
        end_ns: where what was written ends, in the film's time.

    Raises:
        RefusedError: the container cannot hold such packets.
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path, form: CopyForm, facts: TrackFacts) -> None:
        if facts.g711 and form.container != "mov":
            # Matroska could hold it, but not by PyAV, which asks FFmpeg in another way.
            raise RefusedError(
                field="OUT",
                expected=f"a name that ends in .mov, for sound in {facts.sound}",
                got=f"{form.container}, into which it cannot be copied",
                hint="QuickTime (.mov) is MP4 with a name for it; ffmpeg makes others of that one",
            )
        super().__init__(path, form.container, form.options)
        self.picture_count = self.sound_count = self.sound_left_out = 0
        self.end_ns = 0
        self._form = form
        self._facts = facts
        self._streams: list[Stream] = []
        self._last: list[int | None] = [None, None]
        self._origin = Fraction(0)

    def copy(
        self, pieces: Iterable[bytes], name: str, units: range, wanted: range
    ) -> tuple[int, int]:
        """Copy those units of a chunk that are wanted, and the sound beside them.

        Args:
            pieces: its plain bytes, behind a head.
            name: of the chunk.
            units: that are in it.
            wanted: of these, without a break.

        Returns:
            When the first one is decoded and the last one ends, in the film's time, in ns.

        Raises:
            FormatError: it does not hold these units, or is not read by FFmpeg.
            RefusedError: the container cannot hold such packets.
            StoreError: the file cannot be written.
        """
        begin_ns: int | None = None
        unit = units.start
        with opened_packets(pieces, name) as (container, tracks):
            if not self._streams:
                self._open(tracks)
            for packet in container.demux(*filter(None, tracks)):
                if not packet.size or packet.dts is None:
                    continue  # FFmpeg's word for the end
                video = packet.stream is tracks.video
                if video:
                    unit += 1
                    if unit > wanted.stop:
                        return begin_ns or 0, self.end_ns
                first = not self.picture_count or wanted.start > units.start
                if unit <= wanted.start and (video or first):
                    continue  # before a cut: its sound as well
                if video and begin_ns is None:
                    begin_ns = self._begins(packet)
                self._put(packet, 0 if video else 1, name)
        if unit != units.stop:
            raise FormatError(
                f"{name}: expected units up to {units.stop - 1}, FFmpeg reads up to {unit - 1}"
            )
        return begin_ns or 0, self.end_ns

    def finish(self) -> None:
        """Nothing more comes. Raises StoreError."""
        with self._writing():
            self._container.close()

    def _open(self, tracks: Tracks) -> None:
        try:
            for stream in filter(None, tracks):
                new = self._container.add_stream_from_template(stream, opaque=True)
                new.time_base = stream.time_base
                self._streams.append(new)
            self._container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            raise RefusedError(
                field="OUT",
                expected=f"a container that holds {self._facts.video} {self._facts.sound}".rstrip(),
                got=f"{self._form.container}: {error}",
                hint=f"choose another name: one that ends in {endings(COPY_FORMS)}",
            ) from error

    def _begins(self, packet: Packet[Stream]) -> int:
        """The film's time of a first packet of video; of the very first one it is 0."""
        at = exact_time(packet.dts, packet.time_base)
        if not self.picture_count:
            self._origin = at
        return round((at - self._origin) * SECOND_NS)

    def _put(self, packet: Packet[Stream], number: int, name: str) -> None:
        base = packet.time_base or Fraction(1)
        shift = round(self._origin / base)
        assert packet.dts is not None  # noqa: S101  (looked at by the caller)
        pts, dts = (packet.dts if packet.pts is None else packet.pts) - shift, packet.dts - shift
        last = self._last[number]
        if dts < 0 or (last is not None and dts <= last):
            if number == 0:
                raise FormatError(
                    f"{name}: expected pictures in order of their times, found {dts} behind {last}"
                )
            # From before a cut; or, which is counted, of what a source gave twice.
            self.sound_left_out += dts >= 0
            return
        self._last[number] = dts
        packet.pts, packet.dts = pts, dts
        packet.stream = self._streams[number]
        if number == 0:
            self.picture_count += 1
            end = exact_time(max(pts, dts) + (packet.duration or 0), base)
            self.end_ns = max(self.end_ns, round(end * SECOND_NS))
        else:
            self.sound_count += 1
        with self._writing():
            self._container.mux(packet)
