"""What a running recorder tells of packets that it copies: of a camera, a file and a subject."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest
from camera import Camera
from films import packets
from packet_publisher import PacketPublisher, units_of
from quality_pictures import SECOND_NS, blurred, flat, noisy, scene
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from typer.testing import CliRunner

from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.main import app
from recorder_worker.core import keys, notes
from recorder_worker.core.events import SessionQuality
from recorder_worker.core.frame_messages import FrameStatus
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, MarkRecord
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings.pictures import QualitySettings
from recorder_worker.service.settings.tree import (
    ChunkSettings,
    EncryptionSettings,
    Settings,
    SourceSettings,
)

SIZE = (160, 96)
FPS = 5
STEPS: tuple[tuple[int, Condition | None], ...] = (
    (5, None),
    (6, Condition.BLACK),
    (6, None),
    (7, Condition.NO_SIGNAL),
    (6, None),
    (10, Condition.BLURRED),
    (5, None),
)
"""Seconds of a camera that fails."""
EXPECTED = [
    (Condition.BLACK, Turn.BEGUN, 5),
    (Condition.BLACK, Turn.ENDED, 11),
    (Condition.NO_SIGNAL, Turn.BEGUN, 17),
    (Condition.NO_SIGNAL, Turn.ENDED, 24),
    (Condition.BLURRED, Turn.BEGUN, 30),
    (Condition.BLURRED, Turn.ENDED, 40),
]
CODECS = ("libx264", "libx265", "mjpeg")


def pictures() -> list[Picture]:
    made: list[Picture] = []
    for seconds, condition in STEPS:
        for _ in range(seconds * FPS):
            seed = len(made)
            shown = noisy(scene(SIZE), 3, seed)
            match condition:
                case Condition.BLACK:
                    shown = noisy(flat((3, 3, 3), SIZE), 1, seed)
                case Condition.NO_SIGNAL:
                    shown = noisy(flat((220, 30, 20), SIZE), 1, seed)
                case Condition.BLURRED:
                    shown = blurred(shown, 0.02)
                case _:
                    pass
            made.append(shown)
    return made


def write_film(path: Path, shown: Sequence[Picture], codec: str = "libx264") -> Path:
    """A keyframe a second, of a quality at which a camera is."""
    options = {
        "libx264": {"preset": "ultrafast", "crf": "20", "sc_threshold": "0"},
        "libx265": {
            "preset": "ultrafast",
            "x265-params": f"keyint={FPS}:scenecut=0:log-level=0",
        },
        "mjpeg": {"qmin": "3", "qmax": "3"},
    }[codec]
    with av.open(str(path), "w") as film:
        track: Any = film.add_stream(codec, rate=FPS, options=options)
        track.width, track.height = SIZE
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track.gop_size = FPS
        for number, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            film.mux(track.encode(frame))
        film.mux(track.encode())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "camera.mp4", pictures())


def copied(film: Path) -> dict[str, Any]:
    return {"kind": "file", "uri": str(film), "pace": "fast"}


def told(change: QualityChange | SessionQuality) -> tuple[Condition, Turn, int]:
    return change.condition, change.state, change.since_ns // SECOND_NS


def marked(folder: Path) -> list[QualityChange]:
    """What the leaves of a recording tell, in their order."""
    records = [decode_record(data) for data in recording_records(FolderRecording(folder))]
    return [
        msgspec.json.decode((folder / keys.mark(record.index)).read_bytes(), type=QualityChange)
        for record in records
        if isinstance(record, MarkRecord) and record.kind == notes.QUALITY
    ]


def thumbnails(folder: Path) -> list[str]:
    made = folder / keys.THUMBNAILS
    return sorted(path.name for path in made.iterdir()) if made.exists() else []


@pytest.mark.parametrize("codec", CODECS)
async def test_a_film_of_a_camera_that_fails_is_told_of_and_its_packets_stay_as_they_are(
    tmp_path: Path, codec: str
) -> None:
    shown = pictures()
    film = write_film(tmp_path / "camera.mkv", shown, codec)
    settings = settings_in(tmp_path / "data", chunk=ChunkSettings(duration_s=5.0))
    async with RunningRecorder(settings) as recorder:
        session_id, report = await recorder.record(copied(film), profile="copy")
        facts = await recorder.facts(Fact.QUALITY, session_id)
        chunks = recorder.chunks(session_id)
    folder = recorder.folder(session_id)
    assert report.verdict is Verdict.COMPLETE
    assert len(packets(b"".join(chunks))) == len(packets(film)) == len(shown)
    assert [told(change) for change in marked(folder)] == EXPECTED
    found = [fact for fact in facts if isinstance(fact, SessionQuality)]
    assert [told(fact) for fact in found] == EXPECTED
    units = [int(name.partition(".")[0]) for name in thumbnails(folder)]
    first = [
        record.span.first_unit
        for data in recording_records(FolderRecording(folder))
        if isinstance(record := decode_record(data), ChunkRecord)
    ]
    assert len(first) > 5
    assert (units[0], len(units) > 3) == (0, True)
    for unit in units:
        data = (folder / keys.THUMBNAILS / f"{unit:012d}.jpg").read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert float(np.abs(picture.astype(np.int16) - shown[unit]).mean()) < 16, unit
        assert unit % FPS == 0 or codec == "mjpeg"


async def test_of_an_encrypted_session_thumbnails_are_encrypted_and_open_with_its_key(
    tmp_path: Path, film: Path
) -> None:
    identity, recipient = new_identity()
    file = tmp_path / "auditor.txt"
    file.write_text(identity + "\n")
    settings = settings_in(
        tmp_path / "data", encryption=EncryptionSettings(recipients=(recipient,))
    )
    async with RunningRecorder(settings) as recorder:
        session_id, report = await recorder.record(copied(film), profile="copy")
    folder = recorder.folder(session_id)
    names = thumbnails(folder)
    assert (len(names) > 3, report.verdict) == (True, Verdict.COMPLETE)
    assert all(name.endswith(".jpg.enc") for name in names)
    assert not any(b"JFIF" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    out = tmp_path / "plain"
    command = ["decrypt", str(folder), "-i", str(file), "--out", str(out), "--json"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["thumbnails"] == len(names)
    for name in names:
        data = (out / keys.THUMBNAILS / name.removesuffix(".enc")).read_bytes()
        assert data.startswith(b"\xff\xd8")


async def test_pictures_that_may_not_be_decoded_are_recorded_all_the_same(
    tmp_path: Path, film: Path
) -> None:
    small = msgspec.structs.replace(
        settings_in(tmp_path / "data"), sources=SourceSettings(max_pixels=1000)
    )
    async with RunningRecorder(small) as recorder:
        session_id, report = await recorder.record(copied(film), profile="copy")
        chunks = recorder.chunks(session_id)
        counted = await metric(recorder, 'recorder_keyframe_looks_total{outcome="undecodable"}')
    folder = recorder.folder(session_id)
    assert (report.verdict, marked(folder), thumbnails(folder)) == (Verdict.COMPLETE, [], [])
    assert packets(b"".join(chunks)) == packets(film)
    assert counted > 0


async def metric(recorder: RunningRecorder, name: str) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", recorder.sidecar_port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    found = [line for line in text.splitlines() if line.startswith(name)]
    assert found, text
    return float(found[0].rpartition(" ")[2])


def watchful(folder: Path) -> Settings:
    """Looks five times a second, and says at once what it is sure of."""
    quality = QualitySettings(look_s=0.2, black_s=0.4, clear_s=0.4, conditions=("black",))
    return settings_in(folder, quality=quality)


async def turned(recorder: RunningRecorder, session_id: str, count: int) -> list[SessionQuality]:
    """What was told, as soon as it is so much."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            facts = await recorder.facts(Fact.QUALITY, session_id)
            found = [fact for fact in facts if isinstance(fact, SessionQuality)]
            if len(found) >= count:
                return found
            await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("video", ["h264", "h265", "jpeg"])
async def test_a_camera_that_is_covered_is_told_of_and_that_it_sees_again(
    tmp_path: Path, video: str
) -> None:
    with Camera(video=video) as camera:
        async with RunningRecorder(watchful(tmp_path)) as recorder:
            source = {"kind": "rtsp", "uri": camera.uri(), "open_s": 30.0, "stall_s": 30.0}
            started = await recorder.client.start(source, profile="copy", timeout_s=DEADLINE_S)
            await recorder.captured(started.session_id, SECOND_NS)
            assert await recorder.facts(Fact.QUALITY, started.session_id) == []
            camera.cover()
            (begun,) = await turned(recorder, started.session_id, 1)
            camera.cover()
            _, ended = await turned(recorder, started.session_id, 2)
            await recorder.client.stop(started.session_id)
            await recorder.sealed(started.session_id)
            report = recorder.report(started.session_id)
    folder = recorder.folder(started.session_id)
    assert (begun.condition, begun.state) == (Condition.BLACK, Turn.BEGUN)
    assert (ended.condition, ended.state) == (Condition.BLACK, Turn.ENDED)
    assert begun.since_ns < begun.t_ns < ended.t_ns
    assert report.verdict is Verdict.COMPLETE
    assert [told(change) for change in marked(folder)] == [told(begun), told(ended)]
    assert thumbnails(folder)[0] == "000000000000.jpg"


async def test_published_packets_that_go_black_are_told_of(tmp_path: Path) -> None:
    light = [noisy(scene(SIZE), 3, seed) for seed in range(10)]
    dark = [noisy(flat((3, 3, 3), SIZE), 1, seed) for seed in range(60)]
    units = units_of(write_film(tmp_path / "a.mp4", [*light, *dark]))
    async with RunningRecorder(watchful(tmp_path / "data")) as recorder:
        publisher = PacketPublisher(recorder.bus, f"source.test.{uuid.uuid4().hex}")
        async with publisher.until_recorded_of(units[0]):
            source = {"kind": "nats", "uri": publisher.subject}
            started = await recorder.client.start(source, profile="copy", timeout_s=60)
        publisher.begin_ns = time.time_ns()
        for unit in units[1:]:
            while time.time_ns() < publisher.begin_ns + unit.dts_ns:
                await asyncio.sleep(POLL_S)
            assert (await publisher.packet(unit)).status is FrameStatus.ACCEPTED
            if await recorder.facts(Fact.QUALITY, started.session_id):
                break
        (begun,) = await turned(recorder, started.session_id, 1)
        await publisher.end()
        await recorder.sealed(started.session_id)
        report = recorder.report(started.session_id)
    folder = recorder.folder(started.session_id)
    assert (begun.condition, begun.state) == (Condition.BLACK, Turn.BEGUN)
    assert begun.since_ns >= 2 * SECOND_NS
    assert report.verdict is Verdict.COMPLETE
    assert [told(change) for change in marked(folder)] == [told(begun)]
    assert thumbnails(folder)[0] == "000000000000.jpg"
