"""Published packets, held against what they have to be: one picture each, as an encoder made it.

Nothing is decoded. FFmpeg's parsers say where a picture ends and whether one is a keyframe, and its
demuxers read the parameter sets in front of it. Whether a picture is whole they do not say.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, Final

import av
import msgspec

from recorder_worker.adapters.sources.decoding import refused
from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.errors import FormatError, RefusedError, SourceError, UndecodableError
from recorder_worker.core.frame_messages import CONTENT_TYPE
from recorder_worker.core.packets.slices import begins_picture
from recorder_worker.core.picture_header import picture_header

TICK: Final = Fraction(1, 1_000_000)
"""Of the times of published packets, in seconds: MP4 counts a second's nanoseconds, but not ten."""
_STARTS: Final = (b"\0\0\1", b"\0\0\0\1")
_KEYFRAME: Final = "have the encoder make a keyframe; until one comes all is in the gap"


class Parameters(msgspec.Struct, frozen=True):
    """What a picture is decoded with, where the packets that build on it leave that out."""

    codec: str
    width: int
    height: int
    extradata: bytes


class AccessUnits:
    """Checks one packet behind the other, and knows by which parameters they are decoded."""

    def __init__(self, name: str, max_pixels: int) -> None:
        self._name = name
        self._max_pixels = max_pixels
        self._known: tuple[Parameters, Tracks] | None = None

    def check(self, codec: str, data: bytes, *, broken: bool) -> tuple[bool, Tracks]:
        """Whether a packet is a keyframe, and the tracks that it belongs to.

        Args:
            codec: `h264`, `hevc` or `mjpeg`.
            data: one picture: an access unit in Annex B, or a JPEG.
            broken: whether something is missing before it.

        Raises:
            UndecodableError: it is no keyframe, and what it builds on is missing.
            RefusedError: it is no such picture.
        """
        keyframe = self._jpeg(data) if codec == "mjpeg" else _annex_b(codec, data)
        known = self._known
        if not keyframe and (broken or known is None or known[0].codec != codec):
            raise UndecodableError(
                field="$",
                expected="a keyframe, for none came yet, or what was before this packet is missing",
                got=f"a packet of {len(data)} bytes that is none",
                hint=_KEYFRAME,
            )
        if keyframe:
            known = self._known = self._tracks(codec, data)
        if known is None:
            raise AssertionError("a packet without parameters")
        return keyframe, known[1]

    def _jpeg(self, data: bytes) -> bool:
        try:
            header = picture_header(data, self._max_pixels)
        except FormatError as error:
            raise refused(error) from error
        if header.kind != "jpeg":
            raise RefusedError(
                field=CONTENT_TYPE,
                expected=f"image/{header.kind}, with profile screen",
                got="image/jpeg",
                hint="copy keeps pictures that are JPEG; record others with profile screen",
            )
        return True

    def _tracks(self, codec: str, data: bytes) -> tuple[Parameters, Tracks]:
        """Those of a keyframe: the known ones, where it has the same parameters or none."""
        known = self._known
        try:
            with av.open(io.BytesIO(data), "r", format=codec) as container:
                parameters = _parameters(codec, container.streams.video[0])
                if known is not None and parameters == known[0]:
                    return known
                if codec != "mjpeg" and not parameters.extradata:
                    return self._without(codec, data)
                self._check_size(parameters)
                tracks = Tracks(container, self._name, tick=TICK)
                rate = container.streams.video[0].codec_context.framerate
        except (av.error.FFmpegError, IndexError, ValueError, SourceError) as error:
            raise RefusedError(
                field="$",
                expected="a keyframe that FFmpeg can read",
                got=f"{len(data)} bytes of which it says: {error}",
                hint="see whether the packet is whole, and of the codec that its type says",
            ) from error
        tracks.rate = float(rate or 0)  # what it says itself, and no guess
        return parameters, tracks

    def _without(self, codec: str, data: bytes) -> tuple[Parameters, Tracks]:
        """A keyframe without parameter sets is of those before it, where there are any."""
        known = self._known
        if known is not None and known[0].codec == codec:
            return known
        raise UndecodableError(
            field="$",
            expected="parameter sets in front of the first keyframe, in the same message",
            got=f"a keyframe of {len(data)} bytes without",
            hint="have the encoder repeat them with each keyframe (x264: repeat-headers=1)",
        )

    def _check_size(self, found: Parameters) -> None:
        if not 0 < found.width * found.height <= self._max_pixels:
            raise RefusedError(
                field="$",
                expected=f"1 to {self._max_pixels} pixels (sources.max_pixels)",
                got=f"{found.width}x{found.height}",
                hint="send smaller pictures, or have the operator allow larger ones",
            )


def _annex_b(codec: str, data: bytes) -> bool:
    """Whether an access unit is a keyframe. Raises RefusedError."""
    if not data.startswith(_STARTS):
        raise RefusedError(
            field="$",
            expected="an access unit in Annex B: NAL units behind start codes (00 00 01)",
            got=f"{len(data)} bytes that begin with {data[:4].hex(' ') or 'nothing'}",
            hint="MP4 and Matroska have lengths in their place; the bitstream filter "
            f"{codec}_mp4toannexb puts start codes there",
        )
    parser = av.CodecContext.create(codec, "r")
    units = [*parser.parse(data), *parser.parse()]
    begins = begins_picture(codec, data)
    if begins is None or not begins or len(units) != 1:
        found = f"{len(units)} of them"
        if not begins:
            found = "no picture in it" if begins is None else "slices that go on with another"
        raise RefusedError(
            field="$",
            expected="one access unit: a whole picture, with what belongs to it in front",
            got=found,
            hint="publish all slices of a picture in one message, and parameter sets with the "
            "keyframe behind them",
        )
    return bool(units[0].is_keyframe)


def _parameters(codec: str, video: Any) -> Parameters:  # noqa: ANN401  (PyAV declares no one type for it)
    context = video.codec_context
    return Parameters(codec, context.width, context.height, bytes(context.extradata or b""))
