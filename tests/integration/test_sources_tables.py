"""Files that declare more than they hold, and pictures larger than are decoded, are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from recorder_worker.adapters.sources.file import VideoFile
from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.mp4_tables import MOST_SAMPLES
from recorder_worker.adapters.sources.packet_file import PacketFile
from recorder_worker.core.errors import SourceError
from recorder_worker.core.sources.kinds import FileSource
from recorder_worker.core.sources.rules import SourceRules

FRAMES = 5
BILLIONS = 3_000_000_000
FRAGMENTED = "frag_keyframe+empty_moov"
SOURCES: tuple[Callable[..., VideoFile | PacketFile], ...] = (VideoFile, PacketFile)


def film(path: Path, *, movflags: str = "", plain_sound_s: int = 0, side: int = 64) -> bytes:
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", format="mov", options=options) as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = side, side, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=48_000, layout="mono") if plain_sound_s else None
        for number in range(FRAMES):
            pixels = np.full((side, side, 3), number * 20, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode(None))
        if sound is not None:
            silence = np.zeros((1, 48_000), np.int16)
            for second in range(plain_sound_s):
                frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48_000, second * 48_000
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path.read_bytes()


def edited(data: bytes, kind: bytes, at: int, *numbers: int) -> bytes:
    """The first box of a kind, with other numbers from byte `at` of its contents on."""
    begin = data.index(kind) + 4 + at
    new = struct.pack(f">{len(numbers)}I", *numbers)
    return data[:begin] + new + data[begin + len(new) :]


def one_size(data: bytes) -> bytes:
    data = edited(data, b"stsz", 4, 1, BILLIONS)
    data = edited(data, b"stsc", 8, 1, BILLIONS, 1)
    return edited(data, b"stts", 8, BILLIONS)


def one_duration(data: bytes) -> bytes:
    """As sound that is not compressed has it; but it is a video."""
    return edited(one_size(data), b"stts", 12, 1)


def hidden(data: bytes) -> bytes:
    """The whole moov in another box that FFmpeg looks into."""
    begin = data.index(b"moov") - 4
    moov = one_size(data)[begin:]
    return data[:begin] + struct.pack(">I4s", len(moov) + 8, b"udta") + moov


def many_in_a_run(data: bytes) -> bytes:
    return edited(edited(data, b"trun", 0, 0x01), b"trun", 4, BILLIONS)


def compressed(data: bytes) -> bytes:
    return data.replace(b"udta", b"cmov") if b"udta" in data else data.replace(b"mvhd", b"cmov")


@pytest.mark.parametrize("opened", SOURCES)
@pytest.mark.parametrize(
    ("damage", "movflags", "found"),
    [
        (one_size, "", f"{BILLIONS} declared"),
        (one_duration, "", f"{BILLIONS} declared"),
        (hidden, "", f"{BILLIONS} declared"),
        (many_in_a_run, FRAGMENTED, f"{BILLIONS} declared"),
        (compressed, "", "compressed"),
    ],
)
def test_a_file_that_declares_more_than_it_holds_is_refused_before_it_is_opened(
    tmp_path: Path,
    opened: Callable[..., VideoFile | PacketFile],
    damage: Callable[[bytes], bytes],
    movflags: str,
    found: str,
) -> None:
    path = tmp_path / "film.mov"
    path.write_bytes(damage(film(path, movflags=movflags)))
    with pytest.raises(SourceError, match=found):
        opened(FileSource(uri=str(path)), SourceGuard(SourceRules(file_roots=(str(tmp_path),))))


@pytest.mark.parametrize("opened", SOURCES)
@pytest.mark.parametrize("movflags", ["", FRAGMENTED, "faststart"])
def test_honest_files_are_opened_also_with_more_samples_of_sound_than_a_table_may_have(
    tmp_path: Path, opened: Callable[..., VideoFile | PacketFile], movflags: str
) -> None:
    path = tmp_path / "film.mov"
    seconds = 0 if movflags == FRAGMENTED else MOST_SAMPLES // 48_000 + 1
    film(path, movflags=movflags, plain_sound_s=seconds)
    source = opened(
        FileSource(uri=str(path)), SourceGuard(SourceRules(file_roots=(str(tmp_path),)))
    )
    assert source.facts.width == 64
    source.close()


def test_a_video_larger_than_is_decoded_is_refused_with_the_setting_that_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "film.mov"
    film(path, side=128)
    rules = SourceRules(file_roots=(str(tmp_path),), max_pixels=128 * 128 - 1)
    with pytest.raises(SourceError, match=r"sources\.max_pixels\), found 128x128"):
        VideoFile(FileSource(uri=str(path)), SourceGuard(rules))
    rules = SourceRules(file_roots=(str(tmp_path),), max_pixels=128 * 128)
    source = VideoFile(FileSource(uri=str(path)), SourceGuard(rules))
    frame = source.read()
    assert frame is not None
    assert frame.picture.shape == (128, 128, 3)
    source.close()
