"""Bad input: one clear message, the other sessions go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import nats.errors
import numpy as np
import pytest
import pytest_asyncio
from running_recorder import (
    DEADLINE_S,
    POLL_S,
    RunningRecorder,
    assert_pattern,
    settings_in,
)
from worker_process import run_recorder
from xserver import XServer

from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import (
    MarkCaptured,
    SegmentCaptured,
    SessionFailed,
    SessionRejected,
    SessionResumed,
    SessionStarted,
)
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.settings_tree import (
    ChunkSettings,
    DiskSettings,
    NatsSettings,
    RetrySettings,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}
RATE = 25


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def others_go_on(recorder: RunningRecorder) -> AsyncIterator[None]:
    """Beside every test a session runs on; behind it a good start works and nothing is left."""
    async with recorder.bystander():
        yield
    _, report = await recorder.record(SMALL)
    assert report.verdict is Verdict.COMPLETE
    await recorder.nothing_is_left()


def write_video(
    path: Path, codec: str, frames: int = 100, size: tuple[int, int] = (64, 48)
) -> Path:
    """Noise, so that every frame takes about as many bytes as the next."""
    random = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), RATE, size)
    assert writer.isOpened()
    for _ in range(frames):
        writer.write(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    writer.release()
    return path


def cut(path: Path, part: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def readable_frames(path: Path) -> int:
    """How many frames OpenCV gives when it is asked directly."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def file_source(path: Path | str) -> dict[str, Any]:
    return {"kind": "file", "uri": str(path), "pace": "fast"}


def only(events: list[Any]) -> Any:  # noqa: ANN401  (whatever kind it is)
    assert len(events) == 1, events
    return events[0]


# --- sources that cannot be opened ---------------------------------------------------------------


async def refused_source(recorder: RunningRecorder, source: dict[str, Any]) -> str:
    """The hint of the refusal, once the event of it says the same."""
    session_id = str(uuid.uuid4())
    error = await recorder.refusal(source, session_id=session_id)
    refusal = error.refusal
    assert (refusal.field, refusal.got) == ("source.uri", source["uri"])
    assert refusal.expected == "a source that can be opened"
    event = only(await recorder.facts(Fact.REJECTED, session_id))
    assert (event.hint, event.command) == (refusal.hint, "session.start")
    assert await recorder.facts(Fact.STARTED, session_id) == []
    assert not recorder.folder(session_id).exists(), "a refused session leaves nothing"
    return refusal.hint


async def test_a_missing_file_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    hint = await refused_source(recorder, file_source(tmp_path / "none.mkv"))
    assert "expected a video file, found nothing; the path is that of the worker's" in hint


async def test_a_relative_path_is_refused(recorder: RunningRecorder) -> None:
    hint = await refused_source(recorder, file_source("video.mkv"))
    assert "write the whole path" in hint


async def test_a_folder_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    hint = await refused_source(recorder, file_source(tmp_path))
    assert "expected a regular file, found a directory; name one video file" in hint


async def test_a_file_that_is_no_video_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = tmp_path / "notes.mkv"
    path.write_text("These are notes and no video.\n" * 100)
    hint = await refused_source(recorder, file_source(path))
    assert "expected a video that FFmpeg can open, found none in its 3000 bytes" in hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file, whatever its mode")
async def test_a_file_that_may_not_be_read_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "mine.avi", "MJPG", 3)
    path.chmod(0)
    hint = await refused_source(recorder, file_source(path))
    assert f"let user id {os.geteuid()} read the file" in hint


async def test_a_video_of_0_bytes_is_refused(recorder: RunningRecorder, tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    path.touch()
    hint = await refused_source(recorder, file_source(path))
    assert "expected a video, found 0 bytes; was it copied whole?" in hint


@pytest.mark.parametrize(("name", "codec"), [("no.avi", "MJPG"), ("no.mkv", "FFV1")])
async def test_a_video_without_a_frame_is_refused(
    recorder: RunningRecorder, tmp_path: Path, name: str, codec: str
) -> None:
    path = write_video(tmp_path / name, codec, frames=0)
    assert path.stat().st_size > 0, "it has a header"
    hint = await refused_source(recorder, file_source(path))
    assert "expected at least one frame" in hint or "expected a video that FFmpeg can open" in hint


async def test_a_display_that_is_not_there_is_refused(recorder: RunningRecorder) -> None:
    hint = await refused_source(recorder, {"kind": "x11", "uri": ":64999"})
    assert "display :64999: expected" in hint


async def test_a_display_that_is_no_display_is_refused(recorder: RunningRecorder) -> None:
    error = await recorder.refusal({"kind": "x11", "uri": "screen"})
    assert error.refusal.field == "source.uri"
    assert "a display such as :10" in error.refusal.hint


# --- videos that are damaged ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"), [("cut.avi", "MJPG"), ("cut.mkv", "MJPG"), ("cut.mkv", "FFV1")]
)
async def test_a_truncated_video_is_sealed_with_a_gap_for_what_it_had_declared(
    recorder: RunningRecorder, tmp_path: Path, name: str, codec: str
) -> None:
    path = cut(write_video(tmp_path / name, codec))
    read = readable_frames(path)
    assert 40 < read < 60
    session_id, report = await recorder.record(file_source(path))
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE_WITH_GAPS, "source_lost")
    gap = only(list(report.gaps))
    assert (gap.reason, gap.first_unit, gap.lost_units) == ("source_lost", read, 100 - read)
    assert "declares 100 frames but only" in gap.detail
    assert report.totals.frame_count == read
    assert len(recorder.pictures(session_id)) == read
    failed = only(await recorder.facts(Fact.FAILED, session_id))
    assert isinstance(failed, SessionFailed)
    assert "truncated or damaged" in failed.detail


async def test_a_truncated_video_that_declares_no_length_just_ends(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    # A row of JPEGs has no header: nothing says that there were more.
    path = tmp_path / "row.mjpeg"
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    read = readable_frames(cut(path))
    assert 40 < read < 60
    _, report = await recorder.record(file_source(path))
    assert (report.verdict, report.end_reason) == (Verdict.COMPLETE, "source_ended")
    assert report.totals.frame_count == read


async def test_a_truncated_video_whose_index_stood_at_its_end_is_refused(
    recorder: RunningRecorder, tmp_path: Path
) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", "mp4v"))
    hint = await refused_source(recorder, file_source(path))
    assert "or cut short before its index was written" in hint


# --- odd and changing sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 41), (7680, 4320)])
async def test_odd_sizes_are_recorded_bit_for_bit(
    recorder: RunningRecorder, width: int, height: int
) -> None:
    size = {"width": width, "height": height}
    session_id, report = await recorder.record(
        {"kind": "pattern", "pace": "fast", "frames": 2, **size}
    )
    assert report.verdict is Verdict.COMPLETE
    assert assert_pattern(recorder, session_id, **size) == 2


async def test_a_size_that_changes_in_mid_session_is_recorded_bit_for_bit(
    recorder: RunningRecorder,
) -> None:
    source = {"width": 200, "height": 120, "resize_every": 4}
    session_id, report = await recorder.record(
        {"kind": "pattern", "pace": "fast", "frames": 20, **source}
    )
    assert report.verdict is Verdict.COMPLETE
    assert assert_pattern(recorder, session_id, **source) == 20
    shapes = [picture.shape[:2] for picture in recorder.pictures(session_id)]
    assert shapes == ([(120, 200)] * 4 + [(90, 150)] * 4) * 2 + [(120, 200)] * 4


async def test_a_display_that_is_resized_in_mid_session_is_recorded_at_both_sizes(
    recorder: RunningRecorder,
) -> None:
    with XServer(320, 200) as server:
        server.paint(np.full((200, 320, 4), 77, np.uint8))
        source = {"kind": "x11", "uri": server.display}
        started = await recorder.client.start(source, fps=20)
        await recorder.captured(started.session_id)
        await asyncio.to_thread(server.resize, 250, 130)
        changed = await recorder.client.last(Fact.CAPTURED, started.session_id)
        assert isinstance(changed, SegmentCaptured)
        # Two on: the one that was being filled may have begun before the resize.
        beyond = await recorder.captured(started.session_id, changed.cursor.t_ns)
        await recorder.captured(started.session_id, beyond.cursor.t_ns)
        await recorder.client.stop(started.session_id)
        sealed = await recorder.sealed(started.session_id)
    assert sealed.reason.value == "stopped"
    report = recorder.report(started.session_id)
    # A machine that stops for a second loses frames of a live display: then that is recorded.
    assert {gap.reason for gap in report.gaps} <= {"back_pressure"}
    pictures = recorder.pictures(started.session_id)
    shapes = [picture.shape for picture in pictures]
    first_small = shapes.index((130, 250, 3))
    assert first_small > 0
    assert shapes == [(200, 320, 3)] * first_small + [(130, 250, 3)] * (len(shapes) - first_small)
    assert all((picture == 77).all() for picture in pictures[:first_small])


async def test_a_display_that_dies_in_mid_session_seals_what_there_is(
    recorder: RunningRecorder,
) -> None:
    with XServer(64, 48) as server:
        source = {"kind": "x11", "uri": server.display}
        started = await recorder.client.start(source, fps=20)
        await recorder.captured(started.session_id)
        server.kill()
        sealed = await recorder.sealed(started.session_id)
    assert sealed.reason.value == "source_lost"
    report = recorder.report(started.session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    gap = report.gaps[-1]
    assert (gap.reason, gap.t1_ns) == ("source_lost", report.t_end_ns)
    retry_s = recorder.settings.capture.retry_s
    assert (gap.t1_ns - gap.t0_ns) / 1e9 >= retry_s, "it was tried again for so long"
    assert gap.lost_units >= retry_s * 20 - 1
    failed = only(await recorder.facts(Fact.FAILED, started.session_id))
    assert f"display {server.display}" in failed.detail


# --- commands that are no commands ---------------------------------------------------------------

TOO_LONG = 65_536 + 1


def not_json() -> dict[str, bytes]:
    return {
        "nothing": b"",
        "text": b"please record my screen",
        "half": b'{"source": {"kind": "pattern"',
        "more": b'{"session_id": "x"} and more',
        "not UTF-8": b'{"by": "\xff\xfe"}',
        "bytes": bytes(range(256)),
        "open brackets": b"[" * 50_000,
        "open braces": b'{"a":' * 10_000,
        "deep": b"[" * 30_000 + b"]" * 30_000,
        "deep below a name": b'{"by": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "deep below no name": b'{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "a number that no machine holds": b'{"fps": 1e999}',
        "half a surrogate": b'{"by": "\\ud800"}',
        "200 kB": b'{"by": "' + b"x" * 200_000 + b'"}',
        "one byte too long": b" " * TOO_LONG,
        "list": b"[]",
        "string": b'"session"',
        "number": b"7",
        "null": b"null",
    }


@pytest.mark.parametrize("command", list(Command))
async def test_what_is_no_command_is_refused_with_its_reason(
    recorder: RunningRecorder, command: Command
) -> None:
    bodies = not_json()
    dead = await recorder.dead_letter_count()
    answers = await recorder.rejections(command.value, *bodies.values())
    for name, answer in zip(bodies, answers, strict=True):
        assert answer.session_id == UNKNOWN_SESSION, name
        assert answer.command == command.value, name
        assert all((answer.field, answer.expected, answer.hint)), name
        assert len(answer.got) <= 200, "what came is shown, not sent back"
    said = {
        name: (answer.field, answer.expected) for name, answer in zip(bodies, answers, strict=True)
    }
    assert said["text"] == ("$", "a JSON object")
    assert said["null"] == ("$", "object")
    assert said["200 kB"] == ("$", "at most 65536 bytes")
    assert await recorder.dead_letter_count() == dead


async def test_an_unknown_field_is_refused_by_name_with_a_guess(recorder: RunningRecorder) -> None:
    bodies: list[dict[str, Any]] = [
        {"source": SMALL, "max_duration": 3},
        {"source": {**SMALL, "heigth": 3}},
        {"source": SMALL, "colour": "red"},
    ]
    answers = await recorder.rejections("session.start", *(json.dumps(b).encode() for b in bodies))
    assert [(a.field, a.expected) for a in answers] == [
        ("max_duration", "a known field"),
        ("source.heigth", "a known field"),
        ("colour", "a known field"),
    ]
    assert answers[0].hint == "did you mean 'max_duration_s'?"
    assert answers[1].hint == "did you mean 'height'?"
    assert answers[2].hint == "see schemas/session.start.json"


async def test_a_refusal_is_addressed_to_the_session_that_the_command_names(
    recorder: RunningRecorder,
) -> None:
    session_id = str(uuid.uuid4())
    body = json.dumps({"session_id": session_id, "source": {"kind": "film"}}).encode()
    answer = only(await recorder.rejections("session.start", body, session_id=session_id))
    assert (answer.field, answer.got) == ("source.kind", '"film"')
    assert answer.expected == "one of file, x11, pattern"


@pytest.mark.parametrize(
    "session_id",
    ["7", "", "*", ">", "a b", "00000000-0000-0000-0000-00000000000A", f"{uuid.UUID(int=3)}\n"],
)
async def test_an_id_that_is_no_uuid_is_refused_and_gets_into_no_subject(
    recorder: RunningRecorder, session_id: str
) -> None:
    def is_told(refusal: Any) -> None:  # noqa: ANN401  (the event or the error)
        assert refusal.field == "session_id"
        assert refusal.expected == "a UUID in lower case with hyphens"

    for command in Command:
        body: dict[str, Any] = {"session_id": session_id}
        if command is Command.START:
            body["source"] = SMALL
        is_told(only(await recorder.rejections(command.value, json.dumps(body).encode())))
    with pytest.raises(RefusedError) as error:
        await recorder.client.start(SMALL, session_id=session_id or " ")
    is_told(error.value.refusal)
    for send in (recorder.client.stop, recorder.client.pause, recorder.client.resume):
        with pytest.raises(RefusedError) as error:
            await send(session_id)
        is_told(error.value.refusal)
    assert recorder.bus.is_connected


async def test_a_command_of_10_mb_is_refused_before_it_is_sent(recorder: RunningRecorder) -> None:
    owner = "x" * 10_000_000
    error = await recorder.refusal(SMALL, owner=owner)
    assert (error.refusal.field, error.refusal.expected) == ("$", "at most 1048576 bytes")
    assert int(error.refusal.got.removesuffix(" bytes")) > len(owner)
    with pytest.raises(nats.errors.MaxPayloadError):
        await recorder.jetstream.publish("session.start", json.dumps({"owner": owner}).encode())
    assert recorder.bus.is_connected


# --- commands to sessions that cannot obey -------------------------------------------------------


async def test_commands_for_a_session_that_nobody_started_are_refused(
    recorder: RunningRecorder,
) -> None:
    # One start may yet be on its way, so this takes some seconds; all four at once.
    session_id = str(uuid.uuid4())
    body = json.dumps({"session_id": session_id}).encode()

    async def answer(command: Command) -> SessionRejected:
        return (await recorder.rejections(command.value, body, session_id=session_id))[0]

    commands = (Command.STOP, Command.PAUSE, Command.RESUME, Command.MARK)
    answers = await asyncio.gather(*map(answer, commands))
    assert [a.command for a in answers] == [c.value for c in commands]
    for found in answers:
        assert (found.field, found.got) == ("session_id", session_id)
        assert found.expected == "a session that has started"
        assert "nobody has started it" in found.hint


async def commanded(recorder: RunningRecorder, command: Command, session_id: str) -> None:
    """Give a command to a session and wait for the refusal that must come."""
    body = json.dumps({"session_id": session_id}).encode()
    await recorder.rejections(command.value, body, session_id=session_id)


async def effect(recorder: RunningRecorder, command: str, session_id: str, fact: Fact) -> Any:  # noqa: ANN401  (the fact's own type)
    send = getattr(recorder.client, command)
    return await recorder.client.effect(
        lambda: send(session_id), session_id, lambda seen: seen.fact is fact, DEADLINE_S
    )


async def test_a_command_that_its_state_does_not_take_is_refused_and_changes_nothing(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE)).session_id
    await commanded(recorder, Command.RESUME, session_id)
    await effect(recorder, "pause", session_id, Fact.PAUSED)
    await commanded(recorder, Command.PAUSE, session_id)
    assert isinstance(await effect(recorder, "resume", session_id, Fact.RESUMED), SessionResumed)
    await commanded(recorder, Command.RESUME, session_id)
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)
    assert (sealed.reason.value, sealed.gap_count) == ("stopped", 1)
    for command in (Command.STOP, Command.MARK, Command.PAUSE, Command.RESUME):
        await commanded(recorder, command, session_id)

    answers = await recorder.facts(Fact.REJECTED, session_id)
    assert all(isinstance(answer, SessionRejected) for answer in answers)
    assert [(a.command, a.expected, a.got) for a in answers] == [  # type: ignore[attr-defined]
        ("session.resume", "a session that can resume", "one that is recording"),
        ("session.pause", "a session that can pause", "one that is paused"),
        ("session.resume", "a session that can resume", "one that is recording"),
        *(
            (f"session.{name}", "a session that is being recorded", "one that has ended: stopped")
            for name in ("stop", "mark", "pause", "resume")
        ),
    ]
    assert answers[0].hint == "in this state it takes: pause, mark, stop"  # type: ignore[attr-defined]
    assert recorder.report(session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_every_command_is_answered_also_right_behind_a_stop(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE)).session_id
    for _ in range(2):
        await recorder.client.stop(session_id)
    await recorder.client.mark(session_id, "too late?")
    await recorder.sealed(session_id)
    await recorder.commands_are_handled()
    marks = [
        event
        for event in await recorder.facts(Fact.CAPTURED, session_id)
        if isinstance(event, MarkCaptured)
    ]
    refusals = await recorder.facts(Fact.REJECTED, session_id)
    refused_marks = [r for r in refusals if r.command == "session.mark"]  # type: ignore[attr-defined]
    assert len(marks) + len(refused_marks) == 1, "in the record, or refused: never neither"


# --- the same start twice ------------------------------------------------------------------------


async def test_the_same_start_twice_is_one_session(recorder: RunningRecorder) -> None:
    session_id = str(uuid.uuid4())
    first = await recorder.client.start(LIVE, session_id=session_id, owner="me")
    assert await recorder.client.start(LIVE, session_id=session_id, owner="me") == first
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    assert await recorder.client.start(LIVE, session_id=session_id, owner="me") == first
    await recorder.commands_are_handled()
    assert [type(e) for e in await recorder.facts(Fact.STARTED, session_id)] == [SessionStarted]
    assert await recorder.facts(Fact.REJECTED, session_id) == []
    assert len(await recorder.facts(Fact.SEALED, session_id)) == 1
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
async def test_another_start_of_an_id_in_use_is_refused_and_the_first_goes_on(
    recorder: RunningRecorder, ended: bool
) -> None:
    session_id = str(uuid.uuid4())
    await recorder.client.start(LIVE, session_id=session_id, owner="me")
    if ended:
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
    body = json.dumps({"session_id": session_id, "source": LIVE, "owner": "you"}).encode()
    answer = only(await recorder.rejections("session.start", body, session_id=session_id))
    assert (answer.field, answer.expected) == ("session_id", "a session id that is not in use")
    if not ended:
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE
    manifest = json.loads((recorder.folder(session_id) / "session.json").read_bytes())
    assert manifest["command"]["owner"] == "me"


# --- garbage among the facts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "subject"),
    [
        ("chunk", f"session.captured.{uuid.UUID(int=1)}"),
        ("chunk", "session.captured.x"),
        ("compress", "session.chunked.x"),
        ("merkle", "session.compressed.x"),
    ],
)
@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"{}", b"[" * 50_000], ids=["bytes", "object", "deep"]
)
async def test_garbage_among_the_facts_becomes_a_dead_letter(
    recorder: RunningRecorder, stage: str, subject: str, data: bytes
) -> None:
    async with recorder.bystander():
        await recorder.jetstream.publish(subject, data)
        letters = await recorder.dead_letters(stage, subject, data)
    letter = only(letters)
    headers = letter.headers or {}
    assert letter.data == data, "the message itself is kept"
    assert headers["Recorder-Reason"]
    assert headers["Recorder-Deliveries"] == "1"
    assert headers["Recorder-Where"]


async def test_a_start_of_an_id_whose_log_somebody_scribbled_on_is_answered(
    recorder: RunningRecorder,
) -> None:
    session_id = str(uuid.uuid4())
    await recorder.jetstream.publish(f"session.captured.{session_id}", b"scribble")
    await recorder.dead_letters("chunk", f"session.captured.{session_id}", b"scribble")
    body = json.dumps({"session_id": session_id, "source": SMALL}).encode()
    await recorder.jetstream.publish("session.start", body)
    letter = only(await recorder.dead_letters("capture", "session.start", body))
    assert "JSON is malformed" in (letter.headers or {})["Recorder-Reason"]


DISK_BYTES = 16_000_000


# --- no room -------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system that can be filled; skips the test where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_start_is_refused_where_there_is_no_room_and_taken_when_there_is(
    tmp_path: Path,
) -> None:
    floor = 8_000_000
    with small_disk(tmp_path / "disk", 2 * floor) as disk:
        settings = settings_in(disk, disk=DiskSettings(floor_bytes=floor))
        async with RunningRecorder(settings) as full:
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(floor))
            error = await full.refusal(SMALL)
            assert error.refusal.field == "data_dir"
            assert error.refusal.expected == f"at least {floor} bytes free"
            assert error.refusal.got.endswith(" bytes free")
            assert "make room, or lower disk.floor_bytes" in error.refusal.hint
            await full.nothing_is_left()
            ballast.unlink()
            _, report = await full.record(SMALL)
            assert report.verdict is Verdict.COMPLETE


async def test_a_start_is_refused_below_the_floor(tmp_path: Path) -> None:
    floor = shutil.disk_usage(tmp_path).free * 2
    settings = settings_in(tmp_path, disk=DiskSettings(floor_bytes=floor))
    async with RunningRecorder(settings) as full:
        error = await full.refusal(SMALL)
        assert error.refusal.field == "data_dir"
        assert error.refusal.expected == f"at least {floor} bytes free"
        await full.nothing_is_left()


@asynccontextmanager
async def filling_disk(tmp_path: Path, floor: int) -> AsyncIterator[tuple[RunningRecorder, str]]:
    """A recorder and its session, which is larger than the recorder's disk."""
    video = write_video(tmp_path / "noise.avi", "MJPG", frames=200, size=(320, 240))
    server = NatsServer(NatsServerOptions(folder=tmp_path / "nats"))
    await server.start()
    try:
        with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
            settings = settings_in(
                disk,
                disk=DiskSettings(floor_bytes=floor),
                nats=NatsSettings(url=server.url),
                chunk=ChunkSettings(max_stored_bytes=1_000_000),
                retry=RetrySettings(backoff_s=(0.2, 0.5)),
            )
            async with RunningRecorder(settings) as full:
                yield full, (await full.client.start(file_source(video))).session_id
    finally:
        await server.stop()


async def check_ended_for_want_of_room(full: RunningRecorder, session_id: str) -> None:
    """What there was room for is sealed, whole, and the rest is a gap."""
    sealed = await full.sealed(session_id)
    assert sealed.reason.value == "disk_full"
    assert sealed.frame_count > 0
    report = full.report(session_id)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert [gap.reason for gap in report.gaps] == ["disk"]
    assert report.gaps[0].lost_units > 0
    assert len(full.pictures(session_id)) == sealed.frame_count
    failed = only(await full.facts(Fact.FAILED, session_id))
    assert failed.reason.value == "disk_full"
    assert "make room" in failed.detail
    await full.nothing_is_left()


async def test_a_disk_that_fills_up_to_its_floor_ends_the_session_with_a_gap_and_a_seal(
    tmp_path: Path,
) -> None:
    async with filling_disk(tmp_path, floor=DISK_BYTES // 3) as (full, session_id):
        await check_ended_for_want_of_room(full, session_id)


async def test_a_disk_that_fills_up_to_the_last_byte_is_sealed_once_there_is_room(
    tmp_path: Path,
) -> None:
    async with filling_disk(tmp_path, floor=0) as (full, session_id):
        async with asyncio.timeout(DEADLINE_S):
            while await full.client.last(Fact.FAILED, session_id) is None:
                await asyncio.sleep(POLL_S)
        more = f"remount,size={4 * DISK_BYTES}"
        disk = str(full.settings.data_path)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", more, disk], check=True)
        await check_ended_for_want_of_room(full, session_id)
        _, report = await full.record(SMALL)
        assert report.verdict is Verdict.COMPLETE


# --- a worker that cannot begin ------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    [{}, {"RECORDER_NATS__USER": "me", "RECORDER_NATS__PASSWORD": "wrong"}],
    ids=["none", "wrong"],
)
@pytest.mark.parametrize("arguments", [("run",), ("ls",), ("start", "pattern")], ids=" ".join)
async def test_a_nats_that_refuses_the_login_is_said_at_once(
    tmp_path: Path, arguments: tuple[str, ...], login: dict[str, str]
) -> None:
    options = NatsServerOptions(folder=tmp_path / "nats", user="me", password="right")
    server = NatsServer(options)
    await server.start()
    try:
        env = {"RECORDER_NATS__URL": server.url, "RECORDER_SIDECAR__PORT": "0", **login}
        ended = await asyncio.to_thread(run_recorder, *arguments, folder=tmp_path, env=env)
    finally:
        await server.stop()
    assert ended.returncode == 69, ended.stderr
    assert ended.stdout == ""
    last = ended.stderr.strip().splitlines()[-1]
    assert f"recorder: NATS at {server.url} refuses us" in last
    assert "Authorization Violation" in last
    assert "wrong" not in ended.stderr, "no secret in a message"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("run",), ("ls",)], ids=" ".join)
async def test_a_nats_that_is_not_there_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with socket.socket() as taken:  # bound, so that nobody else gets it, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{taken.getsockname()[1]}"
        env = {
            "RECORDER_NATS__URL": url,
            "RECORDER_NATS__CONNECT_TIMEOUT_S": "1",
            "RECORDER_SIDECAR__PORT": "0",
        }
        ended = await asyncio.to_thread(run_recorder, *arguments, folder=tmp_path, env=env)
    assert ended.returncode == 69, ended.stderr
    assert f"recorder: no NATS server answers at {url}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [("run",), ("ls",)], ids=" ".join)
async def test_a_typo_in_the_settings_is_named_with_a_guess(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def ends(env: dict[str, str]) -> str:
        ended = run_recorder(*arguments, folder=tmp_path, env=env)
        assert ended.returncode == 78, ended.stderr
        assert ended.stdout == ""
        assert len(ended.stderr.splitlines()) == 1, "one clear message"
        return ended.stderr

    said = await asyncio.to_thread(ends, {"RECORDER_NATS__PROT": "4333"})
    assert "nats.prot: there is no such setting, found in RECORDER_NATS__PROT" in said
    assert "did you mean RECORDER_NATS__PORT" in said
    said = await asyncio.to_thread(ends, {"RECORDER_SIDECAR__PORT": "eighty"})
    assert "sidecar.port: expected" in said
    assert "found 'eighty' in RECORDER_SIDECAR__PORT" in said
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("capture:\n  segmnet_s: 2\n")
    said = await asyncio.to_thread(ends, {})
    assert "capture.segmnet_s: there is no such setting" in said
    assert "did you mean capture.segment_s" in said
    assert "settings.yaml" in said
