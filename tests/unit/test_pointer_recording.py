"""A recording with a pointer, from the capture's writer to the pixels that two readers see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import zstandard
from blake3 import blake3
from memory_store import MemoryStore
from recording_files import FilesReader, write
from recordings import FRAME_NS, SESSION, SIZE, Recording, picture
from reference_vectors import OUT

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.frames.pictures import Pointer, Region
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.model import Cursor, Mask
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.reading.picture_finder import PictureFinder
from recorder_worker.core.verify import verify
from recorder_worker.ports import Frame
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits

ARROW = np.random.default_rng(1).integers(0, 256, (16, 12, 4), np.uint8)
NOTHING = np.zeros((0, 0, 4), np.uint8)
MASK = Mask(x=0, y=3, width=70, height=2)


def at(x: int, y: int, shape: np.ndarray = ARROW) -> Pointer:
    return Pointer(x=x, y=y, hot_x=1, hot_y=1, shape=shape)


FRAMES = [
    Frame(picture(0), 0, None, at(5, 5)),
    Frame(picture(0), 1, (), at(5, 5)),
    Frame(picture(0), 2, (), at(-2, 60)),
    Frame(picture(7), 3, (Region(0, 0, 70, 8),), at(-2, 60, NOTHING)),
    Frame(picture(4), 4, None, None),  # all that this one draws is under the mask
    Frame(picture(4), 5, (), at(1, 1)),
]


def segments() -> list[bytes]:
    """The plain bytes of two segments of three frames, the second one of deltas."""
    store, found = MemoryStore(), []
    writer = SegmentWriter(
        store=store,
        session_id=SESSION,
        clock=SystemClock(),
        cursor=Cursor(),
        limits=SegmentLimits(duration_ns=3 * FRAME_NS, plain_size=1 << 20, level=1),
        keyframes=KeyframePolicy(),
        masks=(MASK,),
    )
    for first in (0, 3):
        for nth in range(first, first + 3):
            writer.add(FRAMES[nth], nth * FRAME_NS)
        segment = writer.close((first + 3) * FRAME_NS)
        assert segment is not None
        assert segment.keyframe == (first == 0)
        stored = store.get(keys.blob_key(SESSION, segment.name))
        found.append(zstandard.ZstdDecompressor().decompress(stored))
    return found


def recorded() -> Recording:
    first, second = segments()
    recording = Recording().open().chunk(3, plain=first)
    return recording.chunk(3, keyframe=False, plain=second).seal()


def seen(frame: DecodedFrame) -> dict[str, Any]:
    """A frame as the reference prints it."""
    pointer = frame.pointer
    shown = None
    if pointer is not None:
        height, width, _ = pointer.shape.shape
        digest = blake3(pointer.shape.tobytes()).hexdigest()
        shown = [pointer.x, pointer.y, pointer.hot_x, pointer.hot_y, width, height, digest]
    return {
        "unit": frame.unit,
        "t_ns": frame.t_ns,
        "wall_ns": frame.wall_ns,
        "size": [frame.width, frame.height],
        "pixels": blake3(frame.picture.tobytes()).hexdigest(),
        "pointer": shown,
    }


def test_a_recording_with_a_pointer_verifies_and_shows_it(tmp_path: Path) -> None:
    folder = write(tmp_path, recorded().sealed())
    report = verify(FolderRecording(folder))
    assert (report.exit_code, str(report.verdict)) == (0, "COMPLETE")
    shown = []
    for nth, frame in enumerate(recording_frames(FolderRecording(folder))):
        expected = FRAMES[nth].picture.copy()
        expected[MASK.y : MASK.y + MASK.height] = 0
        assert np.array_equal(frame.picture, expected)
        shown.append(frame.pointer and (frame.pointer.x, frame.pointer.y, frame.pointer.shape.size))
    size = ARROW.size
    assert shown == [(5, 5, size), (5, 5, size), (-2, 60, size), (-2, 60, 0), None, (1, 1, size)]


def test_a_second_program_sees_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path, recorded().sealed())
    theirs = reference.check(folder)
    assert theirs["problem"] == ""
    assert theirs["frames"] == [seen(f) for f in recording_frames(FolderRecording(folder))]


def test_both_see_the_same_in_a_recording_that_the_product_did_not_make() -> None:
    folder = OUT / "recordings" / "good" / "pointer"
    frames = [seen(frame) for frame in recording_frames(FolderRecording(folder))]
    assert frames == reference.check(folder)["frames"]
    assert [f["pointer"] and f["pointer"][:2] for f in frames] == [
        [3, -1],
        [-2, 5],
        [-2, 5],
        [3, -1],
        None,
    ]


def test_any_frame_is_reached_by_itself() -> None:
    recording = recorded()
    reader = FilesReader(recording.sealed())
    every = [seen(frame) for frame in recording_frames(reader)]
    finder = PictureFinder(reader)
    assert [seen(finder.at_unit(unit)) for unit in range(6)] == every


def test_a_frame_of_the_second_group_is_reached_without_the_first() -> None:
    files = Recording().open().chunk().gap(2).chunk().chunk(keyframe=False).seal().sealed()
    del files["chunks/0000000001.zst"]
    reader = FilesReader(files)
    finder = PictureFinder(reader)
    assert finder.at_unit(9).unit == 9
    for unit in (3, 4, 11):
        with pytest.raises(RefusedError, match="was recorded"):
            finder.at_unit(unit)


def test_the_picture_has_the_size_that_it_was_recorded_with() -> None:
    frame = PictureFinder(FilesReader(recorded().sealed())).at_unit(3)
    assert (frame.width, frame.height) == SIZE
    assert frame.picture.shape == (SIZE[1], SIZE[0], 3)
    assert not frame.picture.flags.writeable
