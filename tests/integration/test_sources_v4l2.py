"""Cameras: OpenCV's own V4L2 backend, on devices that a library loaded before libc stands in for.

No camera and no module of the kernel is needed for these, and none was there: no real device was
recorded.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from v4l2_devices import V4l2Devices
from worker_process import WorkerProcess

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.adapters.sources.v4l2 import grabber
from recorder_worker.adapters.sources.v4l2.grabber import MOST_FRAMES, MOST_UNREADABLE
from recorder_worker.client import RecorderClient
from recorder_worker.core.errors import (
    RefusedError,
    SourceError,
    SourceForbiddenError,
    SourceLostError,
    UnitsMissingError,
)
from recorder_worker.core.events import Captured, SessionStarted
from recorder_worker.core.model import GapReason
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.sources.kinds import V4l2Source
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.ports import ArrivingSource

DEADLINE_S = 30.0
FRAMES = 12
STOOD_STILL = {"back_pressure"}
"""Of a device that gives fifty frames a second, eight wait for their reader."""


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> V4l2Devices:
    return V4l2Devices(tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def camera_worker(
    devices: V4l2Devices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    env = devices.env | {
        "RECORDER_CAPTURE__SEGMENT_S": "0.25",
        "RECORDER_CAPTURE__RETRY_S": "0.6",
        "RECORDER_DISK__FLOOR_BYTES": "1",
        "RECORDER_SOURCES__DEVICES": "/dev/video7*",
    }
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=env) as running:
        yield running
        assert running.terminate() == 0


@pytest_asyncio.fixture
async def client(camera_worker: WorkerProcess) -> AsyncIterator[RecorderClient]:
    async with RecorderClient.connect(camera_worker.nats_url) as connected:
        yield connected


async def start(client: RecorderClient, uri: str, **options: Any) -> SessionStarted:  # noqa: ANN401  (fields of the source)
    fps = options.pop("fps", None)
    source = {"kind": "v4l2", "uri": uri, "timeout_s": DEADLINE_S, **options}
    return await client.start(source, timeout_s=DEADLINE_S, **({"fps": fps} if fps else {}))


async def recorded(client: RecorderClient, session_id: str, frames: int) -> None:
    """Wait until so many units are durable."""
    last = await client.last(Fact.CAPTURED, session_id)
    if isinstance(last, Captured) and last.cursor.unit >= frames:
        return
    async with client.follow(session_id) as facts:
        async for seen in facts:
            if isinstance(seen.event, Captured) and seen.event.cursor.unit >= frames:
                return


async def sealed(worker: WorkerProcess, client: RecorderClient, session_id: str) -> Report:
    await client.wait_sealed(session_id, DEADLINE_S)
    return verify(FolderRecording(worker.data_dir / "sessions" / session_id))


def numbers(worker: WorkerProcess, session_id: str) -> list[int]:
    """Which frames of the device were recorded; each is of one colour, its number."""
    recording = FolderRecording(worker.data_dir / "sessions" / session_id)
    found = []
    for frame in recording_frames(recording):
        assert frame.picture.shape == (48, 64, 3)
        assert (frame.picture == frame.picture[0, 0, 0]).all()
        found.append(int(frame.picture[0, 0, 0]))
    return found


async def test_every_frame_of_a_device_is_recorded_at_its_own_rate(
    camera_worker: WorkerProcess, client: RecorderClient, devices: V4l2Devices
) -> None:
    wishes: dict[str, Any] = {"width": 1280, "height": 720, "fourcc": "MJPG"}
    started = await start(client, devices.plug(70), **wishes)
    facts = started.source
    assert (facts.width, facts.height, facts.frame_rate) == (64, 48, 50.0)
    assert "BGR3, 64x48 at 50 fps; wished for: 1280x720 MJPG" in facts.description
    await recorded(client, started.session_id, FRAMES)
    await client.stop(started.session_id)
    report = await sealed(camera_worker, client, started.session_id)
    found = numbers(camera_worker, started.session_id)
    assert len(found) >= FRAMES
    missing = sum(gap.lost_units for gap in report.gaps)  # a machine that stood still
    assert sum(b - a - 1 for a, b in pairwise(found)) == missing
    assert report.end_reason == "stopped"


async def test_at_a_lower_rate_frames_are_left_out_evenly(
    camera_worker: WorkerProcess, client: RecorderClient, devices: V4l2Devices
) -> None:
    started = await start(client, devices.plug(71), fps=10)
    assert started.source.frame_rate == 10
    await recorded(client, started.session_id, 5)
    await client.stop(started.session_id)
    report = await sealed(camera_worker, client, started.session_id)
    assert report.end_reason == "stopped"
    assert {gap.reason for gap in report.gaps} <= STOOD_STILL
    steps = [b - a for a, b in pairwise(numbers(camera_worker, started.session_id))]
    assert 3 <= median(steps) <= 7


async def test_a_device_of_unknown_rate_is_recorded_at_the_default(
    camera_worker: WorkerProcess, client: RecorderClient, devices: V4l2Devices
) -> None:
    started = await start(client, devices.plug(72, fault="unknown rate"))
    assert started.source.frame_rate == 0
    assert "of unknown rate" in started.source.description
    await recorded(client, started.session_id, 2)
    await client.stop(started.session_id)
    assert (await sealed(camera_worker, client, started.session_id)).end_reason == "stopped"


@pytest.mark.parametrize(
    ("fault", "timeout_s", "text"),
    [
        ("gone", DEADLINE_S, "it has gone, or gives none any more"),
        ("silent", 1.5, "found none for 1.5 s"),
    ],
)
async def test_a_device_that_goes_is_a_gap_and_one_that_stays_away_the_end(
    camera_worker: WorkerProcess,
    client: RecorderClient,
    devices: V4l2Devices,
    fault: str,
    timeout_s: float,
    text: str,
) -> None:
    uri = devices.plug(73, frames=FRAMES, fault=fault)
    started = await start(client, uri, timeout_s=timeout_s)
    await recorded(client, started.session_id, FRAMES + 5)  # it was opened again
    devices.unplug(73)
    report = await sealed(camera_worker, client, started.session_id)
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_lost")
    assert {gap.reason for gap in report.gaps} - STOOD_STILL == {"source_lost"}
    lost = [gap for gap in report.gaps if gap.reason == "source_lost"]
    assert text in lost[0].detail
    assert len(lost) >= 2


async def test_what_comes_in_a_pause_is_not_recorded(
    camera_worker: WorkerProcess, client: RecorderClient, devices: V4l2Devices
) -> None:
    started = await start(client, devices.plug(74))
    await client.pause(started.session_id)
    await client.resume(started.session_id)
    await recorded(client, started.session_id, FRAMES)
    await client.stop(started.session_id)
    report = await sealed(camera_worker, client, started.session_id)
    assert "pause" in {gap.reason for gap in report.gaps}
    assert report.end_reason == "stopped"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("busy", "expected a device"),
        ("hangs", "found no frame within 0.5 s"),
        ("", "found nothing"),
    ],
)
async def test_a_device_that_gives_nothing_is_refused_in_time(
    client: RecorderClient, devices: V4l2Devices, fault: str, text: str
) -> None:
    uri = devices.plug(75, fault=fault) if fault else "/dev/video79"
    with pytest.raises(RefusedError) as refused:
        await start(client, uri, timeout_s=0.5)
    assert refused.value.refusal.field == "source.uri"
    assert text in refused.value.refusal.hint


@pytest.mark.parametrize("uri", ["/dev/video0", "/dev/v4l/by-id/usb-camera-index0"])
async def test_a_device_that_is_not_listed_is_refused(client: RecorderClient, uri: str) -> None:
    with pytest.raises(RefusedError, match=r"sources\.devices of the worker"):
        await start(client, uri)


@pytest.mark.parametrize("uri", ["/dev/null", "/dev/video", "0", "/dev/v4l/by-id/../../sda"])
async def test_what_is_no_device_of_video_is_refused(client: RecorderClient, uri: str) -> None:
    with pytest.raises(RefusedError, match="expected a device such as /dev/video0"):
        await start(client, uri)


# --- what no device does on demand: here OpenCV's capture is stood in for ------------------------


class Capture:
    """As `cv2.VideoCapture` where it is used; gives frames as fast as it is asked, up to a gate."""

    def __init__(self, frames: int, unreadable: range = range(0)) -> None:
        self._frames = frames
        self._unreadable = unreadable
        self._count = 0
        self.over = threading.Event()
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def set(self, name: int, value: float) -> bool:
        return name > 0 and value > 0

    def get(self, name: int) -> float:
        return 30.0 if name == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        self._count += 1
        if self._count > self._frames:
            self.over.set()
            return not self.released.wait(DEADLINE_S)
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        if self._count - 1 in self._unreadable:
            return False, None
        return True, np.full((4, 4, 3), self._count % 256, np.uint8)

    def release(self) -> None:
        self.released.set()


def opened(monkeypatch: pytest.MonkeyPatch, capture: Capture, **source: Any) -> ArrivingSource:  # noqa: ANN401  (fields)
    monkeypatch.setattr(grabber, "open_device", lambda _: capture)
    made = GuardedOpener(SourceRules())(V4l2Source(uri="/dev/video0", **source), None, 0)
    assert isinstance(made, ArrivingSource)
    return made


def test_frames_that_are_not_read_in_time_are_counted_as_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = Capture(frames=MOST_FRAMES + 7)
    source = opened(monkeypatch, capture)
    assert capture.over.wait(DEADLINE_S)
    with pytest.raises(UnitsMissingError) as missing:
        source.read()
    assert (missing.value.unit_count, missing.value.reason) == (7, GapReason.BACK_PRESSURE)
    kept = [source.read() for _ in range(MOST_FRAMES)]
    assert [int(frame.picture[0, 0, 0]) for frame in kept if frame] == [*range(1, 9)]
    capture.released.set()
    source.close()


def test_frames_that_cannot_be_decoded_are_missing_and_too_many_are_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = Capture(frames=1000, unreadable=range(1, 1000))
    source = opened(monkeypatch, capture)
    missing, lost = 0, ""
    while not lost:
        try:
            assert source.read() is not None
        except UnitsMissingError as error:
            missing += error.unit_count
        except SourceLostError as error:
            lost = str(error)
    assert missing == MOST_UNREADABLE
    assert "30 frames in a row that OpenCV cannot decode" in lost
    source.close()
    assert capture.released.wait(DEADLINE_S)


def test_a_driver_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture(frames=2)
    source = opened(monkeypatch, capture, timeout_s=1.5)
    assert source.read() is not None
    assert source.read() is not None
    with pytest.raises(SourceLostError, match=r"found none for 1\.5 s"):
        source.read()
    source.close()
    with pytest.raises(SourceLostError, match="closed"):
        source.read()
    capture.released.set()


def test_a_picture_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, "open_device", lambda _: Capture(frames=5))
    with pytest.raises(SourceError, match=r"4x4, more than 15 pixels \(sources\.max_pixels\)"):
        GuardedOpener(SourceRules(max_pixels=15))(V4l2Source(uri="/dev/video0"), None, 0)


@pytest.mark.parametrize("patterns", [(), ("/dev/video1*",)])
def test_a_device_that_no_pattern_names_is_not_opened(patterns: tuple[str, ...]) -> None:
    with pytest.raises(SourceForbiddenError, match=r"sources\.devices"):
        GuardedOpener(SourceRules(devices=patterns))(V4l2Source(uri="/dev/video0"), None, 0)
