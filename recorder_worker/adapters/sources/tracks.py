"""Which tracks of an open input are recorded as they are, and how they are written as MP4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from recorder_worker.core.errors import FormatError, SourceError, SourceLostError
from recorder_worker.core.packets.fmp4_boxes import boxes
from recorder_worker.ports import Coding, Packet

VIDEO_CODECS: Final = ("h264", "hevc", "mjpeg")
G711: Final = ("pcm_mulaw", "pcm_alaw")
AUDIO_CODECS: Final = ("aac", "mp3", "opus", "ac3", *G711)
_ALIASES: Final = {"mp3float": "mp3", "libopus": "opus"}
ADTS_SYNC: Final = 0xFFF

_OPTIONS: Final = {
    # One moof for a piece, whose times are those that the packets have.
    "movflags": "empty_moov+delay_moov+default_base_moof+frag_custom+frag_discont+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
    "fflags": "+bitexact",
}


class Tracks:
    """The video, and the sound beside it, of one input. Writes pieces when the input is long gone.

    Attributes:
        video: index of the video in the input.
        codec: of the video.
        coding: what that is decoded with.
        audio: that of the sound; None where there is none, or none that MP4 can hold.
        tick: of the video, in seconds.
        sound_tick: of the sound.
        description: for people.
        left_out: what of the input is not recorded.
    """

    def __init__(
        self, container: InputContainer, name: str, *, tick: Fraction | None = None
    ) -> None:
        """`tick`: of the video, where its packets are timed by another clock than the input's.

        Raises SourceError where no video can be copied.
        """
        video = _video(container, name)
        audio, self.left_out = _audio(container)
        self.name = name
        self.video = video.index
        self.codec = _codec(video)
        self.coding = Coding(self.codec, bytes(video.codec_context.extradata or b""))
        self.audio = audio.index if audio is not None else None
        self.tick = tick or _tick(video.time_base, name)
        self.sound_tick = _tick(audio.time_base, name) if audio is not None else self.tick
        self.width, self.height = video.codec_context.width, video.codec_context.height
        self.rate = float(video.average_rate or video.guessed_rate or 0)
        sound = _codec(audio) if audio is not None else ""
        self.description = ", ".join(
            part for part in (_codec(video), f"{self.width}x{self.height}", sound) if part
        )
        # G.711 has no name in MP4, and one in QuickTime, of which MP4 came.
        self._format = "mov" if sound in G711 else "mp4"
        # A copy of what the input says of its tracks: the input may be closed by another thread.
        self._template = av.open(io.BytesIO(), "w", format=self._format)
        self._template.add_stream_from_template(video, opaque=True)
        self._adts = sound == "aac" and audio is not None and not audio.codec_context.extradata
        if audio is not None:
            self._template.add_stream_from_template(audio, opaque=True)

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:
        """As `PacketSource.piece`."""
        file = io.BytesIO()
        out = av.open(file, "w", format=self._format, options=dict(_OPTIONS))
        try:
            self._write(out, packets, shift)
            out.close()
        except (av.error.FFmpegError, OSError, OverflowError, ValueError) as error:
            raise SourceLostError(
                f"{self.name}: expected packets that MP4 can hold, found none ({_said(error)}); "
                "the stream is damaged"
            ) from error
        return _split(file.getvalue(), self.name)

    def _write(self, out: OutputContainer, packets: Sequence[Packet], shift: int) -> None:
        streams = [
            out.add_stream_from_template(stream, opaque=True) for stream in self._template.streams
        ]
        ticks = (self.tick, self.sound_tick)
        shifts = (shift, round(shift * self.tick / self.sound_tick))
        for stream, tick in zip(streams, ticks, strict=False):
            stream.time_base = tick
        if self._adts:
            first = next((packet.data for packet in packets if not packet.video), b"")
            streams[1].codec_context.extradata = _adts_config(first)
        for packet in packets:
            number = 0 if packet.video else 1
            data = packet.data if packet.video or not self._adts else _without_adts(packet.data)
            new: av.Packet[av.stream.Stream] = av.Packet(data)
            new.stream = streams[number]
            new.time_base = ticks[number]
            new.pts, new.dts = packet.pts + shifts[number], packet.dts + shifts[number]
            new.duration = packet.duration
            new.is_keyframe = packet.keyframe
            if packet.video or new.dts >= 0:  # sound from before the first picture has no place
                out.mux_one(new)


def _video(container: InputContainer, name: str) -> VideoStream:
    found = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not found:
        raise SourceError(f"{name}: expected a video, found none; check it with ffprobe")
    stream = found[0]
    if _codec(stream) not in VIDEO_CODECS:
        raise SourceError(
            f"{name}: expected video in one of {', '.join(VIDEO_CODECS)}, which can be copied, "
            f"found {_codec(stream) or 'an unknown codec'}; record it with profile screen"
        )
    if _codec(stream) != "mjpeg" and not stream.codec_context.extradata:
        raise SourceError(
            f"{name}: expected the parameter sets of its {_codec(stream)} video, found none; the "
            "source never sends them, so nobody could play it"
        )
    return stream


def _audio(container: InputContainer) -> tuple[AudioStream | None, str]:
    """The sound to be copied, and what is left out."""
    kept: AudioStream | None = None
    left: list[str] = []
    for stream in container.streams.audio:
        if kept is None and _codec(stream) in AUDIO_CODECS:
            kept = stream
        else:
            left.append(_codec(stream) or "unknown sound")
    return kept, ", ".join(left)


def _codec(stream: VideoStream | AudioStream) -> str:
    name = stream.codec_context.codec.canonical_name
    return _ALIASES.get(name, name)


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _tick(tick: Fraction | None, name: str) -> Fraction:
    if tick is None or tick <= 0:
        raise SourceError(f"{name}: expected tracks that tell time, found one that does not")
    return tick


def _split(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The boxes up to the moov, and the rest."""
    try:
        for kind, _, end in boxes(data):
            if kind == b"moov":
                return data[:end], data[end:]
    except FormatError as error:
        raise SourceLostError(f"{name}: what FFmpeg wrote is no MP4 ({error})") from error
    raise SourceLostError(f"{name}: FFmpeg wrote no moov; the stream is damaged")


def _adts_config(data: bytes) -> bytes:
    """The AudioSpecificConfig (ISO/IEC 14496-3) that an ADTS header stands for."""
    if len(data) < 7 or data[0] << 4 | data[1] >> 4 != ADTS_SYNC:
        return b""
    profile, rate = (data[2] >> 6) + 1, data[2] >> 2 & 15
    channels = (data[2] & 1) << 2 | data[3] >> 6
    return bytes((profile << 3 | rate >> 1, (rate & 1) << 7 | channels << 3))


def _without_adts(data: bytes) -> bytes:
    if len(data) < 7 or data[0] << 4 | data[1] >> 4 != ADTS_SYNC:
        return data
    return data[7:] if data[1] & 1 else data[9:]


def _said(error: Exception) -> str:
    """What FFmpeg says, without the name of the input: that may have a password in it."""
    return str(getattr(error, "strerror", "") or type(error).__name__)
