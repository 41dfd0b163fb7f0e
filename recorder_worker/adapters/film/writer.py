"""Writes a film with PyAV: the one module that knows it.

Two forms, by the name of the file:

* `.mp4`: H.264, 4:2:0, BT.709, for browsers and players. The index stands in front (`faststart`).
* `.mkv`: H.264 in RGB without any loss (x264 at quantiser 0). Of the lossless codecs that players
  know it is the smallest and the fastest on desktops, by a wide margin to FFV1.

There are no B-frames: decoding and showing then have one order, times begin at 0 without an edit
list, and a frame's length can be set when the next one comes. Each packet waits for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import msgspec
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from recorder_worker.adapters.film.film_file import EXACT, INDEXED, ContainerFile, form_named
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.frames.pictures import Picture

SECOND_NS = 1_000_000_000
KEYFRAME_S = 5
"""How far apart keyframes are, for seeking."""
LIBRARIES = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


class FilmForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a film is written. `even`: its sides have to be even. `ticks` a second of its times."""

    container: str
    codec: str
    pixels: str
    ticks: int
    even: bool
    lossless: bool
    options: dict[str, str]
    container_options: dict[str, str]
    description: str


FORMS = {
    ".mp4": FilmForm(
        container="mp4",
        codec="libx264",
        pixels="yuv420p",
        ticks=90_000,
        even=True,
        lossless=False,
        options={"preset": "veryfast", "crf": "20", "bf": "0"},
        container_options=INDEXED,
        description="H.264, yuv420p, crf 20",
    ),
    ".mkv": FilmForm(
        container="matroska",
        codec="libx264rgb",
        pixels="bgr24",
        ticks=1000,
        even=False,
        lossless=True,
        options={"preset": "ultrafast", "qp": "0", "bf": "0"},
        container_options=EXACT,
        description="H.264, RGB, lossless",
    ),
}


def form_of(path: Path) -> FilmForm:
    """How a film of this name is written. Raises RefusedError."""
    hint = ".mp4 plays in a browser; .mkv is lossless, for players and other tools"
    return form_named(path, FORMS, hint)


class FilmWriter(ContainerFile):
    """Writes one film; a context manager. Leaving it without `finish` leaves a torn file.

    Args:
        path: the file to write; it may be there.
        form: how.
        size: width and height in pixels; even where the form says so.
        rate: about how many frames a second; tells the encoder, not the film.

    Raises:
        RefusedError: the encoder does not take pictures of this size.
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path, form: FilmForm, size: tuple[int, int], rate: float) -> None:
        super().__init__(path, form.container, form.container_options)
        self.frame_count = 0
        self._form = form
        self._last_pts = -1
        self._waiting: Packet[VideoStream] | None = None
        self._base = Fraction(1, form.ticks)
        try:
            self._stream = self._opened(size, rate)
        except (av.FFmpegError, ValueError) as error:
            raise RefusedError(
                field="OUT",
                expected=f"pictures that {form.codec} can encode",
                got=f"{size[0]}x{size[1]} pixels: {error}",
                hint="export a part in which the pictures are smaller, or to .mkv",
            ) from error

    def _opened(self, size: tuple[int, int], rate: float) -> VideoStream:
        form = self._form
        stream = self._container.add_stream(
            form.codec,
            rate=Fraction(rate).limit_denominator(1001),
            options=dict(form.options),
            width=size[0],
            height=size[1],
            time_base=self._base,
        )
        assert isinstance(stream, VideoStream)  # noqa: S101  (a codec of pictures)
        stream.pix_fmt = form.pixels
        context = stream.codec_context
        context.gop_size = max(1, round(rate * KEYFRAME_S))
        if not form.lossless:
            context.color_range = ColorRange.MPEG
            context.colorspace = Colorspace.ITU709
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
        context.open()
        return stream

    def put(self, picture: Picture, film_ns: int) -> None:
        """Show a picture of the film's size from a time on; times ascend.

        Two that fall on one tick of the form are one tick apart.

        Raises:
            StoreError: the file cannot be written.
        """
        if self._form.lossless:
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        else:
            shared = av.VideoFrame.from_numpy_buffer(picture, format="bgr24")
            frame = shared.reformat(
                format=self._form.pixels,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                dst_colorspace=Colorspace.ITU709,
            )
        frame.pts = self._last_pts = max(self._last_pts + 1, self._pts(film_ns))
        frame.time_base = self._base
        self.frame_count += 1
        with self._writing():
            self._mux(self._stream.encode(frame))

    def finish(self, film_ns: int) -> None:
        """The film ends at this time. Raises StoreError."""
        with self._writing():
            self._mux(self._stream.encode(None))
            self._send(max(self._pts(film_ns), self._last_pts + 1))
            self._container.close()

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        """Send the packet that waits, for now its end is known, and let the newest one wait."""
        for packet in packets:
            self._send(packet.pts or 0)
            self._waiting = packet

    def _send(self, end: int) -> None:
        packet, self._waiting = self._waiting, None
        if packet is not None:
            packet.duration = end - (packet.pts or 0)
            self._container.mux(packet)

    def _pts(self, film_ns: int) -> int:
        return (film_ns * self._form.ticks + SECOND_NS // 2) // SECOND_NS
