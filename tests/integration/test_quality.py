"""What a running recorder tells of pictures that go wrong, and what it keeps beside the chunks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from quality_pictures import SECOND_NS, blurred, flat, noisy, scene
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from typer.testing import CliRunner
from videos import file_source
from xserver import XServer

from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.main import app
from recorder_worker.core import keys, notes
from recorder_worker.core.events import MarkCaptured, SessionQuality
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.reading.frames import recording_frames, recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord, MarkRecord
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.settings.pictures import QualitySettings
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    EncryptionSettings,
    RetrySettings,
)

SIZE = (160, 90)
FPS = 5
STEPS: tuple[tuple[int, Condition | None], ...] = (
    (4, None),
    (5, Condition.BLACK),
    (6, None),
    (6, Condition.NO_SIGNAL),
    (4, None),
    (8, Condition.BLURRED),
    (14, Condition.FROZEN),
    (4, None),
)
"""Seconds of a camera that fails in every way."""


def pictures() -> list[Picture]:
    made: list[Picture] = []
    for seconds, condition in STEPS:
        for number in range(seconds * FPS):
            seed = len(made)
            alive = noisy(scene(SIZE), 3, seed)
            match condition:
                case Condition.BLACK:
                    alive = noisy(flat((3, 3, 3), SIZE), 1, seed)
                case Condition.NO_SIGNAL:
                    alive = noisy(flat((220, 30, 20), SIZE), 1, seed)
                case Condition.BLURRED:
                    alive = blurred(alive, 0.02)
                case Condition.FROZEN if number:
                    alive = made[-1]
                case _:
                    pass
            made.append(alive)
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "camera.mkv", pictures(), FPS)


def write_film(path: Path, shown: list[Picture], rate: int) -> Path:
    """Lossless, so that equal pictures are equal when they are read."""
    fourcc = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, rate, SIZE)
    assert writer.isOpened()
    for picture in shown:
        writer.write(picture)
    writer.release()
    return path


def told(change: QualityChange | SessionQuality) -> tuple[Condition, Turn, int]:
    return change.condition, change.state, change.since_ns // SECOND_NS


EXPECTED = [
    (Condition.BLACK, Turn.BEGUN, 4),
    (Condition.BLACK, Turn.ENDED, 9),
    (Condition.NO_SIGNAL, Turn.BEGUN, 15),
    (Condition.NO_SIGNAL, Turn.ENDED, 21),
    (Condition.BLURRED, Turn.BEGUN, 25),
    (Condition.BLURRED, Turn.ENDED, 33),
    (Condition.FROZEN, Turn.BEGUN, 33),
    (Condition.FROZEN, Turn.ENDED, 47),
]


def marked(folder: Path) -> list[QualityChange]:
    """What the leaves of a recording tell, in their order."""
    found = []
    for data in recording_records(FolderRecording(folder)):
        record = decode_record(data)
        if isinstance(record, MarkRecord) and record.kind == notes.QUALITY:
            assert record.by == notes.RECORDER
            body = (folder / keys.mark(record.index)).read_bytes()
            found.append(msgspec.json.decode(body, type=QualityChange))
    return found


def strange(report: Report) -> list[str]:
    """The files that a verification does not know."""
    said = "not part of the record: "
    return [text.removeprefix(said) for text in report.warnings if text.startswith(said)]


def thumbnails(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / keys.THUMBNAILS).iterdir())


async def test_a_camera_that_fails_is_told_in_the_record_and_on_the_bus_in_order(
    tmp_path: Path, film: Path
) -> None:
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        session_id, report = await recorder.record(file_source(film), owner="alice")
        facts = await recorder.facts(Fact.QUALITY, session_id)
        await recorder.nothing_is_left()
        copies = await recorder.jetstream.stream_info(
            "CLIENTS", subjects_filter=f"client.alice.session.quality.{session_id}"
        )
        captured = await recorder.facts(Fact.CAPTURED, session_id)
    folder = recorder.folder(session_id)
    assert report.verdict is Verdict.COMPLETE
    assert strange(report) == []
    assert [told(change) for change in marked(folder)] == EXPECTED
    found = [fact for fact in facts if isinstance(fact, SessionQuality)]
    assert [told(fact) for fact in found] == EXPECTED
    assert [fact.measures for fact in found] == [change.measures for change in marked(folder)]
    marks = [event for event in captured if isinstance(event, MarkCaptured)]
    assert [fact.t_ns for fact in found] == [mark.t_ns for mark in marks]
    assert all(fact.since_ns < fact.t_ns for fact in found)
    assert sum((copies.state.subjects or {}).values()) == len(EXPECTED)
    assert report.totals.mark_count == len(EXPECTED)


async def test_thumbnails_lie_beside_the_chunks_and_are_no_part_of_the_record(
    tmp_path: Path, film: Path
) -> None:
    small = settings_in(tmp_path, chunk=ChunkSettings(duration_s=5.0))
    async with RunningRecorder(small) as recorder:
        session_id, report = await recorder.record(file_source(film))
    folder = recorder.folder(session_id)
    names = thumbnails(folder)
    # Black comes too soon after the first one and is over when the next is due.
    assert names[0] == "000000000000.jpg"
    assert 3 <= len(names) <= 6
    shown = [frame.picture.copy() for frame in frames(folder)]
    for name in names:
        data = (folder / keys.THUMBNAILS / name).read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        wanted = shown[int(name.partition(".")[0])]
        assert float(np.abs(picture.astype(np.int16) - wanted).mean()) < 16, name
    assert every_chunk_has_one(folder, [int(name.partition(".")[0]) for name in names])
    assert report.verdict is Verdict.COMPLETE
    assert strange(report) == []
    said = f"what {len(names)} thumbnails show: they are no part of the record"
    assert said in report.not_proved
    for name in names:
        (folder / keys.THUMBNAILS / name).write_bytes(b"of something else")
    changed = recorder.report(session_id)
    assert (changed.verdict, changed.root_hash) == (Verdict.COMPLETE, report.root_hash)
    (folder / keys.THUMBNAILS / "evil.sh").write_bytes(b"")
    assert strange(recorder.report(session_id)) == ["thumbnails/evil.sh"]


def frames(folder: Path) -> Any:  # noqa: ANN401  (an iterator of decoded frames)
    return recording_frames(FolderRecording(folder))


def every_chunk_has_one(folder: Path, units: list[int]) -> bool:
    """By the rule of docs/format.md: the newest at or before its first unit."""
    first = [
        record.span.first_unit
        for data in recording_records(FolderRecording(folder))
        if isinstance(record := decode_record(data), ChunkRecord)
    ]
    assert len(first) > 5
    return all(any(unit <= of for unit in units) for of in first)


async def test_an_encrypted_session_leaks_no_thumbnail_and_decrypt_opens_them(
    tmp_path: Path, film: Path
) -> None:
    identity, recipient = new_identity()
    file = tmp_path / "auditor.txt"
    file.write_text(identity + "\n")
    settings = settings_in(
        tmp_path / "data", encryption=EncryptionSettings(recipients=(recipient,))
    )
    async with RunningRecorder(settings) as recorder:
        session_id, report = await recorder.record(file_source(film))
    folder = recorder.folder(session_id)
    names = thumbnails(folder)
    assert len(names) >= 3
    assert all(name.endswith(".jpg.enc") for name in names)
    readable = [
        path
        for path in settings.data_path.rglob("*")
        if path.is_file() and b"\xff\xd8\xff\xe0\x00\x10JFIF" in path.read_bytes()
    ]
    assert [path for path in readable if "nats" not in path.parts] == []
    assert (report.verdict, strange(report)) == (Verdict.COMPLETE, [])
    assert any(f"{len(names)} thumbnails" in text for text in report.not_proved)

    (folder / keys.THUMBNAILS / names[1]).write_bytes(b"SREE\x01" + bytes(100))
    out = tmp_path / "plain"
    command = ["decrypt", str(folder), "-i", str(file), "--out", str(out), "--json"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["thumbnails"] == len(names) - 1
    assert f"thumbnails/{names[1]}: left out" in ended.stderr
    opened = sorted(path.name for path in (out / keys.THUMBNAILS).iterdir())
    assert opened == [name.removesuffix(".enc") for name in names if name != names[1]]
    data = (out / keys.THUMBNAILS / opened[0]).read_bytes()
    assert data.startswith(b"\xff\xd8")

    (folder / keys.THUMBNAILS / opened[0]).write_bytes(data)
    assert strange(verify(FolderRecording(folder))) == [f"thumbnails/{opened[0]}"]


async def test_a_worker_that_takes_over_looks_anew_and_goes_on_with_the_thumbnails(
    tmp_path: Path,
) -> None:
    # Longer than anybody needs to look: it ends because it is stopped.
    dark = [noisy(flat((3, 3, 3), SIZE), 1, seed) for seed in range(600)]
    source = {"kind": "file", "uri": str(write_film(tmp_path / "dark.mkv", dark, 10))}
    settings = settings_in(
        tmp_path / "data",
        quality=QualitySettings(look_s=0.1, black_s=0.3),
        capture=CaptureSettings(segment_s=0.25),
        retry=RetrySettings(backoff_s=(0.2,)),
    )
    async with RunningRecorder(settings) as recorder:
        started = await recorder.client.start(source)
        await quality_is_told(recorder, started.session_id, 1)
    async with RunningRecorder(settings) as recorder:
        await quality_is_told(recorder, started.session_id, 2)
        await recorder.client.stop(started.session_id)
        await recorder.sealed(started.session_id)
        report = recorder.report(started.session_id)
    folder = recorder.folder(started.session_id)
    assert (report.verdict, strange(report)) == (Verdict.COMPLETE_WITH_GAPS, [])
    assert [(gap.reason, gap.lost_units) for gap in report.gaps] == [("handover", 0)]
    first, again = marked(folder)
    assert told(first) == (Condition.BLACK, Turn.BEGUN, 0)
    assert (again.condition, again.state) == (Condition.BLACK, Turn.BEGUN)
    assert again.since_ns >= report.gaps[0].t1_ns
    begun, taken_over = (int(name.partition(".")[0]) for name in thumbnails(folder))
    assert (begun, taken_over) == (0, report.gaps[0].first_unit)


async def quality_is_told(recorder: RunningRecorder, session_id: str, count: int) -> None:
    """Wait until so much has been told."""
    async with asyncio.timeout(DEADLINE_S):
        while len(await recorder.facts(Fact.QUALITY, session_id)) < count:
            await asyncio.sleep(POLL_S)


async def test_a_display_that_stands_still_is_told_of_only_when_it_is_black(
    tmp_path: Path,
) -> None:
    with XServer(320, 200) as server:
        async with RunningRecorder(settings_in(tmp_path)) as recorder:
            source = {"kind": "x11", "uri": server.display}
            started = await recorder.client.start(source, fps=10)
            await quality_is_told(recorder, started.session_id, 1)
            await recorder.captured(started.session_id, 5 * SECOND_NS)
            await recorder.client.stop(started.session_id)
            await recorder.sealed(started.session_id)
    changes = marked(recorder.folder(started.session_id))
    assert [(change.condition, change.state) for change in changes] == [
        (Condition.BLACK, Turn.BEGUN)
    ]
    assert changes[0].measures.peak == 0
