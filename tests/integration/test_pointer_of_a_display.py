"""A pointer that moves over a real display, from the X server to the film that shows it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import pytest_asyncio
import reference
from blake3 import blake3
from numpy.typing import NDArray
from read_films import FilmRead, read_film
from running_recorder import DEADLINE_S, RunningRecorder, settings_in
from worker_process import run_recorder
from xclient import XClient
from xserver import XServer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.events import SegmentCaptured
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

WIDTH, HEIGHT = 320, 200
HOT = (3, 2)
SCREEN, ARROW = (0x33, 0x66, 0x99), (0x10, 0x20, 0xF0)
"""BGR, both opaque."""
WAY = [(40, 30), (200, 31), (319, 199), (0, 0), (100, 100)]
HUGE = (1300, 1100)


def shape(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 4), (*ARROW, 255), np.uint8)


class Moved(NamedTuple):
    """The recording of a pointer that went along WAY and became huge at its end."""

    folder: Path
    frames: list[dict[str, Any]]
    """As `recorder frames --json` has them."""
    lines: list[list[str]]
    """The words that it prints without."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moved(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    folder = tmp_path_factory.mktemp("pointer")
    async with RunningRecorder(settings_in(folder)) as recorder:
        with XServer(WIDTH, HEIGHT) as server, XClient(server.display) as client:
            blue, green, red = SCREEN
            client.fill(client.root, 0, 0, WIDTH, HEIGHT, red << 16 | green << 8 | blue)
            client.set_pointer(shape(8, 12), *HOT)
            client.warp(*WAY[0])
            source = {"kind": "x11", "uri": server.display}
            started = await recorder.client.start(source, fps=20)
            for place in WAY:
                client.warp(*place)
                await shown(recorder, started.session_id)
            client.set_pointer(shape(*HUGE), HUGE[0] - 1, 0)
            await shown(recorder, started.session_id)
            await recorder.client.stop(started.session_id)
            await recorder.sealed(started.session_id)
        recording = recorder.folder(started.session_id)
    texts = [
        run_recorder("frames", str(recording), *options, folder=folder).stdout.splitlines()
        for options in (("--json",), ())
    ]
    frames, lines = [json.loads(line) for line in texts[0]], [line.split() for line in texts[1]]
    return Moved(recording, frames, lines)


async def shown(recorder: RunningRecorder, session_id: str) -> None:
    """Wait for a segment that began after now; its second frame was read after now for certain."""
    now_ns = time.time_ns()
    async with asyncio.timeout(DEADLINE_S), recorder.client.follow(session_id) as facts:
        async for seen in facts:
            if isinstance(seen.event, SegmentCaptured):
                span = seen.event.span
                if span.wall0_ns >= now_ns and span.unit_count >= 2:
                    return


def places(frames: Iterable[dict[str, Any]]) -> list[tuple[int, int]]:
    """Where the pointer was, each place once for as long as it stayed."""
    found = ((frame["pointer"]["x"], frame["pointer"]["y"]) for frame in frames)
    return [place for place, _ in itertools.groupby(found)]


def exported(moved: Moved, tmp_path: Path, *options: str) -> FilmRead:
    arguments = ("export", str(moved.folder), "film.mkv", *options)
    ended = run_recorder(*arguments, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    return read_film(tmp_path / "film.mkv")


def test_the_pointer_is_recorded_on_its_way(moved: Moved) -> None:
    assert places(moved.frames) == WAY
    small = blake3(shape(8, 12).tobytes()).hexdigest()
    first = moved.frames[0]["pointer"]
    assert (first["x"], first["y"], first["hot_x"], first["hot_y"]) == (*WAY[0], *HOT)
    assert (first["width"], first["height"], first["blake3"]) == (8, 12, small)


def test_a_huge_shape_is_cut_and_ends_no_recording(moved: Moved) -> None:
    last = moved.frames[-1]["pointer"]
    digest = blake3(shape(1024, 1024).tobytes()).hexdigest()
    assert (last["width"], last["height"], last["blake3"]) == (1024, 1024, digest)
    assert (last["hot_x"], last["hot_y"]) == (1023, 0)
    report = verify(FolderRecording(moved.folder))
    assert (report.verdict, report.gaps) == (Verdict.COMPLETE, ())


def test_lines_go_on_with_place_and_shape(moved: Moved) -> None:
    assert moved.lines == [
        [
            *(str(frame[name]) for name in ("index", "t_ns", "width", "height", "blake3")),
            *(str(frame["pointer"][name]) for name in ("x", "y", "blake3")),
        ]
        for frame in moved.frames
    ]


def test_a_second_program_reads_the_same(moved: Moved) -> None:
    found = reference.check(moved.folder)
    assert (found["problem"], found["verdict"]) == ("", "COMPLETE")
    names = ("x", "y", "hot_x", "hot_y", "width", "height", "blake3")
    assert [(frame["pixels"], frame["pointer"]) for frame in found["frames"]] == [
        (frame["blake3"], [frame["pointer"][name] for name in names]) for frame in moved.frames
    ]


def test_a_film_shows_the_pointer_unless_told_otherwise(moved: Moved, tmp_path: Path) -> None:
    film = exported(moved, tmp_path, "--cursor")
    assert len(film.pictures) == len(moved.frames)
    for picture, frame in zip(film.pictures, moved.frames, strict=True):
        wanted = np.full((HEIGHT, WIDTH, 3), SCREEN, np.uint8)
        pointer = frame["pointer"]
        left, top = pointer["x"] - pointer["hot_x"], pointer["y"] - pointer["hot_y"]
        right, bottom = left + pointer["width"], top + pointer["height"]
        wanted[max(0, top) : bottom, max(0, left) : right] = ARROW
        assert np.array_equal(picture, wanted)


def test_a_film_without_the_pointer_shows_the_screen_alone(moved: Moved, tmp_path: Path) -> None:
    film = exported(moved, tmp_path, "--no-cursor")
    assert film.digests() == [frame["blake3"] for frame in moved.frames]
    assert (film.pictures[-1] == SCREEN).all()
