"""Reads the packets of a chunk with PyAV; whoever calls compares its bytes with their record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Final, NamedTuple

import av
import msgspec
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from recorder_worker.core.errors import FormatError
from recorder_worker.core.reading.piece_file import PieceFile

_NAMES: Final = {
    "h264": "H.264",
    "hevc": "H.265",
    "mjpeg": "JPEG",
    "aac": "AAC",
    "mp3": "MP3",
    "mp3float": "MP3",
    "opus": "Opus",
    "libopus": "Opus",
    "ac3": "AC-3",
    "pcm_mulaw": "G.711 (mu-law)",
    "pcm_alaw": "G.711 (A-law)",
}


class Tracks(NamedTuple):
    """The video of an open chunk, and the sound beside it."""

    video: VideoStream
    sound: AudioStream | None


class TrackFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What packets of a film have in common. `video` and `sound` are names for people.

    `sound` is empty where there is none; `g711` says whether it is of the kind that MP4 has no name
    for. `parameters` are compared, and not shown.
    """

    video: str
    sound: str
    width: int
    height: int
    g711: bool
    parameters: tuple[object, ...]


@contextmanager
def opened_packets(pieces: Iterable[bytes], name: str) -> Iterator[tuple[InputContainer, Tracks]]:
    """A packet stream that begins with its head, to be demuxed once from its begin.

    Errors of `pieces` come through as they are.

    Raises:
        FormatError: FFmpeg does not read it.
    """
    try:
        # Of a file that cannot seek FFmpeg reads each byte once, in order; no other form is tried.
        with av.open(PieceFile(pieces), "r", format="mp4") as container:
            sound = container.streams.audio
            yield container, Tracks(container.streams.video[0], sound[0] if sound else None)
    except (av.FFmpegError, IndexError) as error:
        raise FormatError(
            f"{name}: expected packets that FFmpeg reads, found others ({error}); "
            "`recorder verify` says whether they are those that were recorded"
        ) from error


def facts_of(head: bytes) -> TrackFacts:
    """What a head says of its tracks. Raises FormatError."""
    with opened_packets((head,), "moov") as (_, tracks):
        video, sound = tracks
        context = video.codec_context
        heard: tuple[object, ...] = ()
        if sound is not None:
            context_of_sound = sound.codec_context
            heard = (
                context_of_sound.name,
                context_of_sound.sample_rate,
                context_of_sound.channels,
                bytes(context_of_sound.extradata or b""),
                sound.time_base,
            )
        return TrackFacts(
            video=f"{_name(context.name)} {context.width}x{context.height}",
            sound="" if sound is None else f"{_name(sound.codec_context.name)} {sound.rate} Hz",
            width=context.width,
            height=context.height,
            g711=bool(heard) and str(heard[0]) in ("pcm_mulaw", "pcm_alaw"),
            parameters=(
                context.name,
                context.width,
                context.height,
                bytes(context.extradata or b""),
                video.time_base,
                *heard,
            ),
        )


def difference_of(one: bytes, other: bytes) -> str:
    """In what the tracks of two heads differ, in words; nothing where they do not.

    Raises:
        FormatError: one is none.
    """
    before, after = facts_of(one), facts_of(other)
    if before.parameters == after.parameters:
        return ""
    names = [", ".join(filter(None, (facts.video, facts.sound))) for facts in (before, after)]
    if names[0] == names[1]:
        return f"{names[0]}, with other parameters than before"
    return f"{names[1]}, before it {names[0]}"


def exact_time(ticks: int | None, base: Fraction | None) -> Fraction:
    """A time in seconds."""
    return (ticks or 0) * (base or Fraction(1))


def headed(head: bytes, pieces: Iterable[bytes], *, keyframe: bool) -> Iterable[bytes]:
    """The pieces of a chunk with a head in front, where it begins with none of its own."""
    return pieces if keyframe else chain((head,), pieces)


def _name(codec: str) -> str:
    return _NAMES.get(codec, codec)
