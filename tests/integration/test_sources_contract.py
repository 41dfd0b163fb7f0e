"""What every frame source promises, held against each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from xserver import XServer

from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import SourceClock
from recorder_worker.core.sources.kinds import (
    FileSource,
    ImagesSource,
    NatsSource,
    PatternSource,
    Source,
    X11Source,
)
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.ports import (
    Frame,
    FrameFeed,
    FrameSource,
    FrameSubscription,
    PublishedFrame,
    SourceOpener,
)

FPS = 20.0
FRAMES = 12


class Case(msgspec.Struct):
    """A source and what is known of it beforehand."""

    source: Source
    width: int
    height: int
    clock: SourceClock
    frame_count: int | None

    feed: FrameFeed | None = None

    def open(self, first_unit: int = 0) -> FrameSource:
        opener: SourceOpener = GuardedOpener(SourceRules(), self.feed)
        return opener(self.source, FPS, first_unit)


def file_case(path: Path) -> Case:
    video = path / "video.mkv"
    fourcc = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(video), cv2.CAP_FFMPEG, fourcc, FPS, (80, 60))
    assert writer.isOpened()
    for index in range(FRAMES):
        writer.write(np.random.default_rng(index).integers(0, 256, (60, 80, 3), np.uint8))
    writer.release()
    return Case(FileSource(uri=str(video)), 80, 60, SourceClock.MEDIA, FRAMES)


def images_case(path: Path) -> Case:
    for index in range(FRAMES):
        picture = np.random.default_rng(index).integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(path / f"{index}.png"), picture)
    return Case(ImagesSource(uri=str(path)), 80, 60, SourceClock.MEDIA, FRAMES)


class EndlessFeed:
    """A publisher who has always one more frame; the subscription to him is he himself."""

    def subscribe(self, subject: str) -> FrameSubscription:
        assert subject == "source.test.frames"
        return self

    def take(self, wait_s: float) -> PublishedFrame | None:
        assert wait_s >= 0
        headers = {"Recorder-Width": "80", "Recorder-Height": "60", "Recorder-Format": "BGR"}
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        data = np.random.default_rng(now_ns).bytes(80 * 60 * 3)
        return PublishedFrame(data=data, headers=headers, arrived_ns=now_ns, answer=lambda _: None)

    def dropped(self) -> int:
        return 0

    def away(self) -> bool:
        return False

    def hold(self) -> None:
        raise AssertionError("nothing here pauses")

    go_on = hold

    def close(self) -> None:
        """Nothing is held."""


def nats_case() -> Case:
    source = NatsSource(uri="source.test.frames")
    return Case(source, 80, 60, SourceClock.LIVE, None, EndlessFeed())


def pattern_case() -> Case:
    source = PatternSource(width=333, height=207, frames=FRAMES, seed=5)
    return Case(source, 333, 207, SourceClock.MEDIA, FRAMES)


@pytest.fixture(params=["file", "images", "nats", "pattern", "x11"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    if request.param == "file":
        yield file_case(tmp_path)
    elif request.param == "images":
        yield images_case(tmp_path)
    elif request.param == "nats":
        yield nats_case()
    elif request.param == "pattern":
        yield pattern_case()
    else:
        with XServer(320, 200) as server:
            source = X11Source(uri=server.display)
            yield Case(source, 320, 200, SourceClock.LIVE, None)


def frames_of(source: FrameSource) -> Iterator[Frame]:
    while (frame := source.read()) is not None:
        yield frame


def pictures(case: Case, first_unit: int = 0) -> list[Picture]:
    source = case.open(first_unit)
    try:
        return [frame.picture for frame in frames_of(source)]
    finally:
        source.close()


def test_facts_are_true(case: Case) -> None:
    source = case.open()
    facts = source.facts
    assert facts.kind == type(case.source).__struct_config__.tag
    assert facts.uri == case.source.uri
    assert (facts.width, facts.height) == (case.width, case.height)
    assert (facts.clock, facts.frame_rate) == (case.clock, FPS)
    assert facts.frame_count == case.frame_count
    assert facts.description
    first = source.read()
    assert first is not None
    assert first.picture.shape == (facts.height, facts.width, 3)
    assert source.facts == facts
    source.close()


def test_frames_are_what_the_encoder_takes(case: Case) -> None:
    source, encoder = case.open(), FrameEncoder()
    for frame in islice(frames_of(source), 5):
        assert frame.picture.dtype == np.uint8
        assert frame.picture.flags.c_contiguous
        encoder.encode(frame.picture, unit=0, t_ns=frame.t_ns, wall_ns=0, keyframe=False)
    source.close()


def test_time_never_steps_back(case: Case) -> None:
    source = case.open()
    times = [frame.t_ns for frame in islice(frames_of(source), FRAMES)]
    source.close()
    assert all(before <= after for before, after in pairwise(times))
    if case.clock is SourceClock.MEDIA:
        assert times == [round(index * 1e9 / FPS) for index in range(FRAMES)]


def test_what_is_not_said_to_have_changed_is_as_in_the_frame_before(case: Case) -> None:
    source = case.open()
    before: Picture | None = None
    for frame in islice(frames_of(source), FRAMES):
        assert before is not None or frame.changed is None, "nothing was before the first"
        if before is not None and frame.changed is not None:
            for region in frame.changed:
                rows = slice(region.y, region.y + region.height)
                columns = slice(region.x, region.x + region.width)
                assert frame.picture[rows, columns].shape == (region.height, region.width, 3)
                before[rows, columns] = frame.picture[rows, columns]
            assert np.array_equal(frame.picture, before)
        before = frame.picture.copy()  # a frame is its reader's until the next one is read
    source.close()


def test_close_is_harmless_when_repeated_and_then_nothing_is_read(case: Case) -> None:
    source = case.open()
    source.close()
    source.close()
    with pytest.raises(SourceLostError, match="closed"):
        source.read()


def test_opening_at_a_unit_is_reading_up_to_it(case: Case) -> None:
    if case.clock is SourceClock.LIVE:
        source = case.open(first_unit=7)
        assert source.read() is not None
        source.close()
        return
    every = pictures(case)
    assert len(every) == FRAMES
    assert len({picture.tobytes() for picture in every}) > 1
    for first_unit in (1, 7, FRAMES - 1, FRAMES):
        rest = pictures(case, first_unit)
        assert len(rest) == FRAMES - first_unit
        assert all(np.array_equal(a, b) for a, b in zip(rest, every[first_unit:], strict=True))


def test_time_goes_on_where_a_source_is_opened_again(case: Case) -> None:
    if case.clock is SourceClock.LIVE:
        pytest.skip("a live source has no positions")
    source = case.open(first_unit=7)
    frame = source.read()
    source.close()
    assert frame is not None
    assert frame.t_ns == round(7e9 / FPS)


def test_the_end_stays_the_end(case: Case) -> None:
    if case.clock is SourceClock.LIVE:
        pytest.skip("a live source has no end")
    source = case.open(first_unit=FRAMES)
    assert source.read() is None
    assert source.read() is None
    source.close()


@pytest.mark.parametrize(
    ("fps", "first_unit", "text"),
    [(0.0, 0, "fps above 0"), (float("nan"), 0, "fps above 0"), (1.0, -1, "first_unit >= 0")],
)
def test_a_senseless_request_is_refused(fps: float, first_unit: int, text: str) -> None:
    opener: Callable[[Source, float, int], FrameSource] = GuardedOpener(SourceRules())
    with pytest.raises(SourceError, match=text):
        opener(PatternSource(), fps, first_unit)
