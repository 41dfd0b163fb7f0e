"""Who holds a session: repeated starts, ids that were used before, sources that fail."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.js.errors import BadRequestError
from running_recorder import DEADLINE_S, RunningRecorder, settings_in

from recorder_worker.adapters.age import new_identity
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Event, SegmentCaptured, SessionFailed, SessionRetention
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service import policies
from recorder_worker.service.settings.tree import CaptureSettings, EncryptionSettings, NatsSettings

SMALL = {"kind": "pattern", "width": 64, "height": 48}


async def test_a_start_that_is_repeated_with_its_message_id_after_the_window_holds_no_place(
    tmp_path: Path,
) -> None:
    settings = settings_in(
        tmp_path,
        nats=NatsSettings(port=-1, duplicate_window_s=1),
        capture=CaptureSettings(capacity=2, segment_s=0.25),
    )
    async with RunningRecorder(settings) as recorder:
        session_id = str(uuid.uuid4())
        body = json.dumps({"session_id": session_id, "source": SMALL}).encode()
        headers = {"Nats-Msg-Id": "the client's own"}
        for _ in range(3):
            await repeat_until_stored(recorder, body, headers)
        await recorder.captured(session_id)
        # One place is taken; the other must be free although the start came three times.
        other, report = await recorder.record(SMALL | {"frames": 20, "pace": "fast"})
        assert (other != session_id, report.verdict) == (True, Verdict.COMPLETE)
        await recorder.client.stop(session_id)
        await recorder.sealed(session_id)
        report = recorder.report(session_id)
        assert (report.verdict, report.gaps) == (Verdict.COMPLETE, ())


async def repeat_until_stored(
    recorder: RunningRecorder, body: bytes, headers: dict[str, str]
) -> None:
    """Publish a command until JetStream has forgotten that it had it before."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            ack = await recorder.jetstream.publish("session.start", body, headers=headers)
            if not ack.duplicate:
                return
            await asyncio.sleep(0.1)


async def test_an_id_whose_events_are_forgotten_is_refused_and_its_recording_stays_whole(
    tmp_path: Path,
) -> None:
    source = SMALL | {"frames": 30, "pace": "fast"}
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        session_id, before = await recorder.record(source)
    shutil.rmtree(tmp_path / "nats")
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        with pytest.raises(RefusedError, match="data directory holds a recording of this id"):
            await recorder.client.start(source | {"frames": 60}, session_id=session_id)
        after = recorder.report(session_id)
    assert (after.verdict, after.root_hash) == (Verdict.COMPLETE, before.root_hash)


@pytest.mark.parametrize("left", ["seal", "retention"])
async def test_the_id_of_a_session_whose_key_was_deleted_is_refused(
    tmp_path: Path, left: str
) -> None:
    source = SMALL | {"frames": 30, "pace": "fast"}
    _, recipient = new_identity()
    settings = settings_in(tmp_path, encryption=EncryptionSettings(recipients=(recipient,)))
    async with RunningRecorder(settings) as recorder:
        session_id, before = await recorder.record(source)

        async def ends() -> str:
            return await recorder.client.delete(session_id, "the visitor asked")

        await recorder.client.effect(
            ends,
            session_id,
            lambda seen: (
                isinstance(seen.event, SessionRetention) and seen.event.kind == "tombstone"
            ),
            DEADLINE_S,
        )
        folder = recorder.folder(session_id)
        assert not (folder / "session.json").exists()
    # The events of its start have aged out of the stream.
    shutil.rmtree(tmp_path / "nats")
    if left == "retention":
        # A folder that somebody has cleared up by hand, but for what the tombstone says.
        for name in ("seal", "records"):
            (folder / name).rename(tmp_path / name)
    async with RunningRecorder(settings) as recorder:
        with pytest.raises(RefusedError, match="data directory holds a recording of this id"):
            await recorder.client.start(source | {"frames": 60}, session_id=session_id)
        assert not (folder / "session.json").exists()
        if left == "seal":
            after = recorder.report(session_id)
            assert (after.verdict, after.root_hash) == (Verdict.REDACTED, before.root_hash)


async def test_of_two_different_starts_of_one_id_at_once_one_is_recorded_and_one_refused(
    tmp_path: Path,
) -> None:
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        for _ in range(5):
            session_id = str(uuid.uuid4())
            results = await asyncio.gather(
                *(
                    recorder.client.start(
                        SMALL | {"frames": 10, "pace": "fast", "seed": seed},
                        session_id=session_id,
                    )
                    for seed in (1, 2)
                ),
                return_exceptions=True,
            )
            refused = [result for result in results if isinstance(result, RefusedError)]
            assert len(refused) == 1
            await recorder.sealed(session_id)
            report = recorder.report(session_id)
            assert report.verdict is Verdict.COMPLETE
            manifest = msgspec.json.decode(
                (recorder.folder(session_id) / "session.json").read_bytes()
            )
            started = next(result for result in results if not isinstance(result, RefusedError))
            assert not isinstance(started, BaseException)
            assert manifest["command_id"] == started.command_id


async def test_a_session_whose_file_vanishes_before_it_is_taken_over_fails_visibly(
    tmp_path: Path,
) -> None:
    clip = tmp_path / "clip.mkv"
    shutil.copy(Path(__file__).parents[2] / "demo" / "screen.mkv", clip)
    capture = CaptureSettings(segment_s=0.25, retry_s=0.5, lease_s=1.0)
    settings = settings_in(tmp_path / "data", capture=capture)
    async with RunningRecorder(settings) as recorder:
        started = await recorder.client.start({"kind": "file", "uri": str(clip)})
        await recorder.captured(started.session_id)
    clip.unlink()
    async with RunningRecorder(settings) as recorder:
        sealed = await recorder.sealed(started.session_id)
        assert sealed.reason == "source_lost"
        failed = await recorder.client.last(Fact.FAILED, started.session_id)
        assert isinstance(failed, SessionFailed)
        assert recorder.report(started.session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_a_session_ends_before_its_first_events_leave_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    # Below what settings allow, so that the test need not last an hour; and a share that leaves as
    # long for the seal as a busy machine may take.
    monkeypatch.setattr(policies, "SHARE_OF_MAX_AGE", 0.2)
    nats = msgspec.structs.replace(settings.nats, max_age_s=40, duplicate_window_s=2)
    async with RunningRecorder(msgspec.structs.replace(settings, nats=nats)) as recorder:
        started = await recorder.client.start(SMALL, fps=20)
        sealed = await recorder.sealed(started.session_id)
        assert sealed.reason == "max_duration"
        assert recorder.report(started.session_id).verdict is Verdict.COMPLETE


async def test_a_session_whose_segment_is_refused_by_the_bus_is_sealed_up_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = JetStreamEventLog.append
    segments: list[Event] = []

    async def refusing(self: JetStreamEventLog, fact: Fact, *args: Any, **keys: Any) -> int:  # noqa: ANN401  (passed on)
        if isinstance(args[1], SegmentCaptured):
            segments.append(args[1])
            if len(segments) == 3:
                raise BadRequestError(code=400, description="message size exceeds maximum allowed")
        return await append(self, fact, *args, **keys)

    monkeypatch.setattr(JetStreamEventLog, "append", refusing)
    async with RunningRecorder(settings_in(tmp_path)) as recorder:
        started = await recorder.client.start(SMALL, fps=20)
        sealed = await recorder.sealed(started.session_id)
        report = recorder.report(started.session_id)
    assert sealed.reason is EndReason.WORKER_LOST
    assert report.verdict is Verdict.COMPLETE
    assert report.totals.frame_count > 0
