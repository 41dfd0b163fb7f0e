"""Small films with moving pictures and sound, and what their packets are."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SIZE = (96, 64)


def write_film(
    path: Path,
    video: str = "libx264",
    audio: str | None = "aac",
    *,
    frames: int = 30,
    fps: int = 10,
    group: int = 5,
    reorder: int = 0,
    rate: int = 44_100,
) -> Path:
    """A film whose every picture differs, with a keyframe each `group` pictures."""
    options = {
        "libx264": {"preset": "ultrafast", "bf": str(reorder), "sc_threshold": "0"},
        "libx265": {"preset": "ultrafast", "x265-params": f"keyint={group}:log-level=none"},
    }.get(video, {})
    with av.open(str(path), "w") as film:
        pictures: Any = film.add_stream(video, rate=fps, options=options)
        pictures.width, pictures.height = SIZE
        pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        pictures.gop_size = group
        sound: Any = film.add_stream(audio, rate=rate) if audio else None
        if sound is not None:
            sound.layout = "mono"
        heard = 0
        for number in range(frames):
            for packet in pictures.encode(picture(number, fps)):
                film.mux(packet)
            while sound is not None and heard < (number + 1) * rate // fps:
                count = sound.frame_size or rate // fps
                for packet in sound.encode(tone(count, heard, rate, sound.format.name)):
                    film.mux(packet)
                heard += count
        for stream in (pictures, sound):
            for packet in stream.encode() if stream is not None else ():
                film.mux(packet)
    return path


def write_sound(path: Path, rate: int = 44_100) -> Path:
    """A second of sound without a picture."""
    with av.open(str(path), "w") as file:
        sound: Any = file.add_stream("aac", rate=rate)
        sound.layout = "mono"
        for at in range(0, rate, 1024):
            file.mux(sound.encode(tone(1024, at, rate, sound.format.name)))
        file.mux(sound.encode())
    return path


def encoded(codec: str, **options: str) -> list[bytes]:
    """Ten access units as an encoder gives them, a keyframe each five."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = SIZE
    encoder.pix_fmt, encoder.gop_size = "yuv420p", 5
    encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
    encoder.options = {"preset": "ultrafast", **options}
    made = [packet for n in range(10) for packet in encoder.encode(picture(n, 10))]
    return [bytes(packet) for packet in (*made, *encoder.encode())]


def picture(number: int, fps: int) -> av.VideoFrame:
    pixels = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
    at = number * 7 % (SIZE[0] - 16)
    pixels[8:40, at : at + 16] = (number * 37 % 256, 200, number * 11 % 256)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = number, Fraction(1, fps)
    return frame


def tone(count: int, at: int, rate: int, form: str) -> av.AudioFrame:
    wave = np.sin(np.arange(at, at + count) * 2 * np.pi * 440 / rate)
    kinds = {"flt": (np.float32, 0.5), "s32": (np.int32, 1 << 29), "s16": (np.int16, 12_000)}
    kind = kinds[form[:3]]
    samples = (wave * kind[1]).astype(kind[0]).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
    return frame


def opened(film: Path | bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(film) if isinstance(film, bytes) else str(film), "r")


def packets(film: Path | bytes, kind: str = "video") -> list[bytes]:
    """The bytes of every packet of the first track of a kind."""
    with opened(film) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def times(film: Path | bytes) -> list[Fraction]:
    """When each picture is shown, in seconds from the first."""
    with opened(film) as container:
        found = [
            packet.pts * packet.time_base
            for packet in container.demux(container.streams.video[0])
            if packet.size and packet.pts is not None
        ]
    return [each - found[0] for each in found]


def decoded(film: bytes) -> int:
    """How many pictures FFmpeg decodes, none of them damaged."""
    with opened(film) as container:
        return sum(not frame.is_corrupt for frame in container.decode(video=0))
