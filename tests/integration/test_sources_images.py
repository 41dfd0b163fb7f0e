"""Sequences of pictures in files: order, pixels, and every way in which one can be bad."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from running_recorder import RunningRecorder, settings_in

from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.core.errors import (
    RefusedError,
    SourceError,
    SourceForbiddenError,
    SourceLostError,
    UnitsMissingError,
)
from recorder_worker.core.model import GapReason
from recorder_worker.core.sources.kinds import ImagesSource
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.ports import FrameSource
from recorder_worker.service.settings.tree import SourceSettings

Pixels = NDArray[np.uint8]
SMALL = SourceRules(max_pixels=10_000)


def noise(seed: int, width: int = 40, height: int = 30) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(folder: Path, *names: str) -> list[Pixels]:
    """Pictures of noise under these names, and what they are."""
    made = [noise(index) for index in range(len(names))]
    for name, picture in zip(names, made, strict=True):
        assert cv2.imwrite(str(folder / name), picture)
    return made


def opened(uri: object, first_unit: int = 0, rules: SourceRules = SMALL) -> FrameSource:
    return GuardedOpener(rules)(ImagesSource(uri=str(uri)), 10.0, first_unit)


def all_of(source: FrameSource) -> list[Any]:
    """Frames, and the errors of units that are missing, in order."""
    found: list[Any] = []
    while True:
        try:
            frame = source.read()
        except UnitsMissingError as error:
            found.append(error)
            continue
        if frame is None:
            source.close()
            return found
        found.append(frame)


def refusal(uri: object, rules: SourceRules = SMALL) -> str:
    with pytest.raises(SourceError) as refused:
        opened(uri, rules=rules)
    return str(refused.value)


# --- which files, and in which order ------------------------------------------------------------


@pytest.mark.parametrize("last", ["", "/frame*.png", "/frame%d.png", "/frame?*.png"])
def test_names_come_in_their_natural_order_bit_for_bit(tmp_path: Path, last: str) -> None:
    names = ["frame8.png", "frame9.png", "frame10.png", "frame11.png"]
    made = write(tmp_path, *names)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".frame0.png").write_bytes(b"hidden")
    frames = all_of(opened(f"{tmp_path}{last}"))
    assert [frame.t_ns for frame in frames] == [0, 10**8, 2 * 10**8, 3 * 10**8]
    for frame, picture in zip(frames, made, strict=True):
        np.testing.assert_array_equal(frame.picture, picture)


def test_a_number_without_a_file_is_a_unit_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "f0001.png", "f0002.png", "f0005.png")
    source = opened(f"{tmp_path}/f%04d.png")
    assert source.facts.frame_count == 5
    first, second, missing, last = all_of(source)
    assert (first.t_ns, second.t_ns, last.t_ns) == (0, 10**8, 4 * 10**8)
    assert (missing.unit_count, missing.t_ns) == (2, 4 * 10**8)
    assert missing.reason is GapReason.SOURCE_LOST
    assert "2 pictures in a row" in str(missing)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp"])
def test_lossless_kinds_are_bit_exact(tmp_path: Path, name: str) -> None:
    picture = noise(3)
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if name.endswith("webp") else []
    cv2.imwrite(str(tmp_path / name), picture, lossless)
    (frame,) = all_of(opened(tmp_path))
    np.testing.assert_array_equal(frame.picture, picture)


def test_gray_and_transparent_pictures_become_bgr(tmp_path: Path) -> None:
    gray = noise(1)[:, :, 0]
    clear = np.dstack([noise(2), noise(3)[:, :, 0]])
    cv2.imwrite(str(tmp_path / "1.png"), gray)
    cv2.imwrite(str(tmp_path / "2.png"), clear)
    first, second = all_of(opened(tmp_path))
    np.testing.assert_array_equal(first.picture, np.dstack([gray] * 3))
    np.testing.assert_array_equal(second.picture, clear[:, :, :3])


def test_another_size_is_recorded_as_it_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), noise(1))
    cv2.imwrite(str(tmp_path / "2.jpg"), noise(2, 64, 16))
    first, second = all_of(opened(tmp_path))
    assert first.picture.shape == (30, 40, 3)
    assert second.picture.shape == (16, 64, 3)


# --- what is bad --------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def bomb(_: bytes) -> bytes:
    """A PNG of a few bytes that declares 10 gigapixels."""

    def part(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    parts = part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0")) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def deep(_: bytes) -> bytes:
    done, data = cv2.imencode(".png", np.full((8, 8, 3), 40_000, np.uint16))
    assert done
    return data.tobytes()


BAD: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "flipped png": (".png", flipped, "checksum"),
    "cut png": (".png", lambda data: data[:-30], "copied whole"),
    "cut jpeg": (".jpg", lambda data: data[: len(data) // 2], "copied whole"),
    "cut webp": (".webp", lambda data: data[: len(data) // 2], "copied whole"),
    "cut bmp": (".bmp", lambda data: data[:-1], "copied whole"),
    "header alone": (".jpg", lambda data: data[:4], "ends within its header"),
    "empty": (".png", lambda _: b"", "found 0 bytes"),
    "a text": (".png", lambda _: b"hello, world", "expected a picture (PNG, JPEG, WEBP, BMP)"),
    "bomb": (".png", bomb, "sources.max_pixels"),
    "16 bits": (".png", deep, "at most 8 bits a sample, found 16"),
    "gif": (".png", lambda _: b"GIF89a" + bytes(20), "expected a picture (PNG"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_picture_is_refused_at_first_and_later_a_unit_that_is_missing(
    tmp_path: Path, case: str
) -> None:
    ending, spoil, text = BAD[case]
    done, data = cv2.imencode(ending, noise(7))
    assert done
    (tmp_path / f"2{ending}").write_bytes(spoil(data.tobytes()))
    assert text in refusal(tmp_path)
    write(tmp_path, "1.png", "3.png")
    first, missing, third = all_of(opened(tmp_path))
    assert (first.t_ns, third.t_ns) == (0, 2 * 10**8)
    assert (missing.unit_count, missing.t_ns) == (1, 2 * 10**8)
    assert text in str(missing)


def test_a_picture_that_may_not_be_read_is_a_unit_that_is_missing(tmp_path: Path) -> None:
    """A link out of the root, a directory and a pipe in the place of a picture."""
    root = tmp_path / "media"
    (root / "4.png").mkdir(parents=True)
    write(root, "1.png", "2.png", "6.png")
    write(tmp_path, "secret.png")
    (root / "3.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "5.png")
    rules = SourceRules(file_roots=(str(root),))
    one, two, missing, six = all_of(opened(root, rules=rules))
    assert missing.unit_count == 3
    assert "sources.file_roots" in str(missing)
    assert "secret" not in str(missing)
    assert [frame.t_ns for frame in (one, two, six)] == [0, 10**8, 5 * 10**8]


def test_a_picture_that_goes_away_meanwhile_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    source = opened(tmp_path)
    assert source.read() is not None
    (tmp_path / "3.png").unlink()
    second, missing = all_of(source)
    assert second.t_ns == 10**8
    assert "found nothing" in str(missing)
    with pytest.raises(SourceLostError, match="closed"):
        source.read()


def test_many_bad_pictures_are_passed_over_in_bounded_steps(tmp_path: Path) -> None:
    write(tmp_path, "0.png")
    for index in range(1, 250):
        (tmp_path / f"{index}.png").write_bytes(b"bad")
    _, *missing = all_of(opened(tmp_path))
    assert [error.unit_count for error in missing] == [100, 100, 49]


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("{root}/nothing", "expected the directory"),
        ("{root}", "expected at least one picture, files named *.png, *.jpg"),
        ("{root}/*.png", "that matches *.png, found none among 0 entries"),
        ("{root}/%04d.png", "that matches %04d.png"),
        ("{root}/*/a.png", "in the last part of the path only"),
        ("relative/dir", "expected an absolute path"),
        ("{root}/a.png", "found Not a directory"),
    ],
)
def test_a_sequence_that_is_not_there_is_refused(tmp_path: Path, uri: str, text: str) -> None:
    root = tmp_path / "media"
    root.mkdir()
    if uri.endswith("a.png") and "*" not in uri:
        write(root, "a.png")
    assert text in refusal(uri.format(root=root))


@pytest.mark.parametrize(
    "uri", ["{top}/private", "{top}/media/../private", "{top}/media/link", "/proc/self/fd", "/dev"]
)
def test_a_directory_outside_is_refused(tmp_path: Path, uri: str) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "private").mkdir()
    write(tmp_path / "private", "1.png")
    (tmp_path / "media" / "link").symlink_to(tmp_path / "private")
    rules = SourceRules(file_roots=(str(tmp_path / "media"),))
    with pytest.raises(SourceForbiddenError) as refused:
        opened(uri.format(top=tmp_path), rules=rules)
    assert refused.value.field == "source.uri"


def test_fewer_pictures_than_were_recorded_are_told(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    with pytest.raises(SourceError, match="some were taken away since"):
        opened(tmp_path, first_unit=3)


# --- on a whole recorder ------------------------------------------------------------------------


async def test_a_sequence_with_holes_is_sealed_and_verified(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    made = write(media, *(f"f{index:03}.png" for index in range(12)))
    (media / "f004.png").unlink()
    (media / "f011.png").write_bytes(b"bad")
    settings = settings_in(
        tmp_path / "data", sources=SourceSettings(kinds=("images",), file_roots=(str(media),))
    )
    async with RunningRecorder(settings) as recorder:
        session_id, report = await recorder.record(
            {"kind": "images", "uri": f"{media}/f%03d.png", "pace": "fast"}, fps=20
        )
        assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_ended")
        assert [(gap.first_unit, gap.lost_units, gap.reason) for gap in report.gaps] == [
            (4, 1, "source_lost"),
            (11, 1, "source_lost"),
        ]
        assert "none of that number" in report.gaps[0].detail
        recorded = recorder.pictures(session_id)
        for picture, wanted in zip(recorded, made[:4] + made[5:11], strict=True):
            np.testing.assert_array_equal(picture, wanted)
        for uri, field in ((str(tmp_path), "source.uri"), (f"{media}/x*", "source.uri")):
            with pytest.raises(RefusedError) as refused:
                await recorder.client.start({"kind": "images", "uri": uri})
            assert refused.value.refusal.field == field


async def test_a_sequence_goes_on_with_the_next_worker(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    made = write(media, *(f"{index}.png" for index in range(80)))
    settings = settings_in(tmp_path / "data")
    async with RunningRecorder(settings) as recorder:
        started = await recorder.client.start({"kind": "images", "uri": str(media)}, fps=20)
        await recorder.captured(started.session_id)
    async with RunningRecorder(settings) as recorder:
        await recorder.sealed(started.session_id)
        assert recorder.report(started.session_id).verdict is Verdict.COMPLETE_WITH_GAPS
        for picture, wanted in zip(recorder.pictures(started.session_id), made, strict=True):
            np.testing.assert_array_equal(picture, wanted)
