"""Video files: exact where the codec is, and each way of being unreadable said in its own words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from recorder_worker.adapters.sources import file as file_module
from recorder_worker.adapters.sources.decoding import as_bgr
from recorder_worker.adapters.sources.file import VideoFile
from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.core.errors import FormatError, SourceError, SourceLostError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.sources.kinds import FileSource
from recorder_worker.core.sources.rules import SourceRules

GUARD = SourceGuard(SourceRules())


def noise(width: int, height: int, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_ffv1(path: Path, pictures: list[Picture]) -> Path:
    """Lossless video; OpenCV writes even sizes only."""
    height, width, _ = pictures[0].shape
    fourcc = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 10.0, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def write_pngs(path: Path, pictures: list[np.ndarray]) -> Path:
    """Images one behind the other, which FFmpeg reads as a video of any size."""
    path.write_bytes(b"".join(cv2.imencode(".png", p)[1].tobytes() for p in pictures))
    return path


def read_all(path: Path | str) -> list[Picture]:
    video = VideoFile(FileSource(uri=str(path)), GUARD)
    pictures = []
    while (frame := video.read()) is not None:
        pictures.append(frame.picture)
    video.close()
    return pictures


def write_stream(path: Path, count: int) -> bytes:
    """Some pictures of an MPEG transport stream, ten a second."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seed in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(64, 48, seed), "bgr24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_times_that_begin_anew_in_mid_file_go_on_behind_the_last(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * write_stream(tmp_path / "one.ts", 30))
    video = VideoFile(FileSource(uri=str(joined)), GUARD)
    times = []
    while (frame := video.read()) is not None:
        times.append(frame.t_ns / 1e9)
    video.close()
    assert len(times) >= 58
    # Before, all of the second half was of one moment: its pictures were there, and its time not.
    assert np.diff(times).min() > 0.05
    assert times[-1] == pytest.approx((len(times) - 1) / 10, abs=0.5)


def test_a_lossless_file_is_read_bit_exact(tmp_path: Path) -> None:
    written = [noise(64, 48, seed) for seed in range(6)]
    read = read_all(write_ffv1(tmp_path / "a.mkv", written))
    assert len(read) == 6
    assert all(np.array_equal(a, b) for a, b in zip(read, written, strict=True))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 41), (1, 90), (131, 3)])
def test_odd_sizes_come_through_exactly(tmp_path: Path, width: int, height: int) -> None:
    written = [noise(width, height, seed) for seed in range(3)]
    read = read_all(write_pngs(tmp_path / "odd.pngs", [*written]))
    assert len(read) == 3
    assert all(np.array_equal(a, b) for a, b in zip(read, written, strict=True))


def test_gray_and_alpha_become_bgr(tmp_path: Path) -> None:
    gray = noise(20, 10, 1)[:, :, 0]
    (read,) = set_of(read_all(write_pngs(tmp_path / "gray.pngs", [gray, gray])))
    assert read.shape == (10, 20, 3)
    assert np.abs(read.astype(int) - gray[:, :, None]).max() <= 1
    alpha = np.dstack([noise(20, 10, 2), np.full((10, 20), 255, np.uint8)])
    (read,) = set_of(read_all(write_pngs(tmp_path / "alpha.pngs", [alpha, alpha])))
    assert np.array_equal(read, alpha[:, :, :3])


def set_of(pictures: list[Picture]) -> list[Picture]:
    """The first, held to be equal to all others."""
    assert len(pictures) == 2
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    return pictures[:1]


def test_whatever_layout_opencv_hands_out_becomes_bgr() -> None:
    gray = noise(9, 7, 0)[:, :, 0].copy()
    assert np.array_equal(as_bgr(gray), np.dstack([gray] * 3))
    bgra = np.random.default_rng(0).integers(0, 256, (7, 9, 4), np.uint8)
    assert np.array_equal(as_bgr(bgra), bgra[:, :, :3])
    strided = noise(18, 7, 0)[:, ::2]
    assert as_bgr(strided).flags.c_contiguous
    with pytest.raises(FormatError, match="uint16"):
        as_bgr(np.zeros((7, 9, 3), np.uint16))


def test_a_layout_that_is_none_of_these_loses_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ffv1(tmp_path / "a.mkv", [noise(16, 16, 0)])
    deep = np.zeros((16, 16, 3), np.uint16)
    monkeypatch.setattr(file_module, "as_bgr", lambda _: as_bgr(deep))
    with pytest.raises(SourceLostError, match=r"a\.mkv: expected 8-bit .* uint16"):
        read_all(path)


def test_opencv_scales_a_size_that_changes_in_mid_file_to_the_first(tmp_path: Path) -> None:
    """Not what we want, but what the documentation says: this fails when OpenCV learns better."""
    written: list[np.ndarray] = [noise(40, 30, 0), noise(80, 60, 1), noise(40, 30, 2)]
    read = read_all(write_pngs(tmp_path / "sizes.pngs", written))
    assert [picture.shape for picture in read] == [(30, 40, 3)] * 3
    assert np.array_equal(read[0], written[0])
    assert np.array_equal(read[2], written[2])


def test_a_uri_names_the_same_file_as_its_path(tmp_path: Path) -> None:
    path = write_ffv1(tmp_path / "with space %41.mkv", [noise(16, 16, 0)])
    assert len(read_all(path)) == 1
    assert len(read_all(path.as_uri())) == 1
    assert len(read_all(path.as_uri().replace("file://", "file://localhost"))) == 1


def test_a_truncated_file_ends_early_and_declares_what_it_should_have_had(tmp_path: Path) -> None:
    written = [noise(64, 48, seed) for seed in range(10)]
    path = write_ffv1(tmp_path / "cut.mkv", written)
    os.truncate(path, path.stat().st_size // 2)
    read = read_all(path)
    declared = VideoFile(FileSource(uri=str(path)), GUARD).facts.frame_count
    assert declared is not None
    assert 0 < len(read) < declared
    assert all(np.array_equal(a, b) for a, b in zip(read, written, strict=False))


def test_a_file_that_became_shorter_cannot_be_resumed(tmp_path: Path) -> None:
    path = write_ffv1(tmp_path / "short.mkv", [noise(16, 16, seed) for seed in range(3)])
    with pytest.raises(SourceError, match=r"at least 4 frames.* found 3"):
        VideoFile(FileSource(uri=str(path)), GUARD, first_unit=4)


def refusal(uri: Path | str) -> str:
    with pytest.raises(SourceError) as refused:
        VideoFile(FileSource(uri=str(uri)), GUARD)
    return str(refused.value)


def test_each_unreadable_file_is_refused_in_its_own_words(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 100)
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert "found nothing" in refusal(tmp_path / "missing.mp4")
    assert "found a directory" in refusal(tmp_path)
    assert "0 bytes" in refusal(empty)
    assert "FFmpeg can open" in refusal(text)
    assert "device, socket or pipe" in refusal(pipe)
    assert "absolute path" in refusal("relative.mp4")
    assert "host 'elsewhere'" in refusal("file://elsewhere/a.mp4")
    assert "null" in refusal(f"{tmp_path}/a\0b.mp4")
    assert "Not a directory" in refusal(text / "below.mp4")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_ffv1(tmp_path / "secret.mkv", [noise(16, 16, 0)])
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    assert "Permission denied" in refusal(path)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    whole = write_ffv1(tmp_path / "whole.avi", [noise(64, 48, seed) for seed in range(4)])
    path = tmp_path / "none.avi"
    head = whole.read_bytes()
    path.write_bytes(head[: head.index(b"movi") + 4])
    assert "expected" in refusal(path)


def test_ffmpeg_does_not_write_to_stderr(tmp_path: Path) -> None:
    """In a process of its own: FFmpeg's level is set once, by the first to use it."""
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(b"\x1a\x45\xdf\xa3" + b"garbage" * 1000)
    program = (
        "import sys\n"
        "from recorder_worker.adapters.sources.opener import GuardedOpener\n"
        "from recorder_worker.core.errors import SourceError\n"
        "from recorder_worker.core.sources.kinds import FileSource\n"
        "from recorder_worker.core.sources.rules import SourceRules\n"
        "try:\n"
        "    GuardedOpener(SourceRules())(FileSource(uri=sys.argv[1]), 1.0, 0)\n"
        "except SourceError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(damaged)], check=True, capture_output=True, text=True
    )
    assert "FFmpeg can open" in done.stdout
    assert done.stderr == ""
