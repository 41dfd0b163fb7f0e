"""The doctor: finds what is left over, missing, stuck or behind; repairs what is safe, and no more.

On a real recorder, while it records: none of what it does is a finding.
What has to be old for the doctor is made old by its times, or the doctor's patience is made short.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from dead_letters import Defect, letter_about
from nats_process import NatsProcess
from recordings import Recording
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in

from recorder_worker.adapters.attempt_files import AttemptFiles
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.inspection.inspector import QueueSeen
from recorder_worker.bus.streams.topology import StreamLimits, streams
from recorder_worker.core.errors import StoreError
from recorder_worker.core.findings import Examined, Finding, Severity
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.integrations.storage import StoredSessions
from recorder_worker.ports import MessagePlace, Tally
from recorder_worker.service.doctor import bus_checks, running_sessions
from recorder_worker.service.doctor.examine import examine
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    AuditSettings,
    ChunkSettings,
    NatsSettings,
    RetrySettings,
)
from recorder_worker.stages import chunk

QUICK = RetrySettings(backoff_s=(0.05,), max_deliver=2)
SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 32, "height": 32}
OLD_S = 3600.0
LIMITS = StreamLimits(replicas=1, max_age_s=1, max_bytes=1, duplicate_window_s=1, token_buckets=())


@pytest_asyncio.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[RunningRecorder]:
    # A look takes seconds: no chunk ends while a test has something of it in its hands.
    long = ChunkSettings(duration_s=600.0)
    settings = settings_in(tmp_path / "data", retry=QUICK, chunk=long)
    async with RunningRecorder(settings) as running:
        yield running


async def looked(recorder: RunningRecorder, *, repair: bool = False) -> Examined:
    """A look with the settings of the worker."""
    return await examine(recorder.settings, Login(servers=(recorder.url,)), repair=repair)


async def found(recorder: RunningRecorder, check: str, *, repair: bool = False) -> list[Finding]:
    """The findings of one check."""
    examined = await looked(recorder, repair=repair)
    assert examined.not_looked_at == ()
    return [finding for finding in examined.findings if finding.check == check]


def make_old(*paths: Path) -> None:
    for path in paths:
        then = time.time() - OLD_S
        os.utime(path, (then, then))


async def test_a_recorder_that_is_well_has_no_finding_while_it_records(
    recorder: RunningRecorder,
) -> None:
    async with recorder.bystander():
        await recorder.record(SMALL)
        examined = await looked(recorder)
        assert examined.findings == ()
        assert examined.not_looked_at == ()
        assert examined.clean


async def test_temporary_files_of_dead_writers_are_found_and_removed_and_no_others(
    recorder: RunningRecorder,
) -> None:
    spares = recorder.settings.data_path / ".tmp"
    (spares / "1-dead").write_bytes(b"half a file")
    (spares / "1-young").write_bytes(b"half a file")
    make_old(spares / "1-dead")
    (finding,) = await found(recorder, "temporary_files")
    assert (finding.severity, finding.repaired) == (Severity.WARNING, "")
    assert "1-dead" in finding.what
    assert "1-young" not in finding.what
    # The keeper and the patrol of the recorder write there meanwhile.
    assert (spares / "1-dead").exists(), "a look changes nothing"
    (finding,) = await found(recorder, "temporary_files", repair=True)
    assert finding.repaired.startswith("removed")
    assert not (spares / "1-dead").exists()
    assert await found(recorder, "temporary_files") == []


async def test_a_segment_is_an_orphan_when_no_event_names_it_and_it_is_not_young(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.client.start(LIVE, fps=20)
    await recorder.captured(started.session_id)
    segments = recorder.folder(started.session_id) / "segments"
    young = segments / "000000999998-0123456789abcdef.seg"
    old = segments / "000000999999-0123456789abcdef.seg"
    for path in (young, old):
        path.write_bytes(b"what a worker wrote and did not live to tell")
    make_old(old)
    (finding,) = await found(recorder, "segments.orphan", repair=True)
    assert old.name in finding.what
    assert (young.name in finding.what, finding.repair, finding.repaired) == (False, "", "")
    assert old.exists(), "what was captured is never removed"
    await recorder.client.stop(started.session_id)
    await recorder.sealed(started.session_id)
    assert await found(recorder, "segments.orphan") == []


async def test_a_segment_that_is_named_and_gone_is_missing_until_its_chunk_is_stored(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.client.start(LIVE, fps=20)
    event = await recorder.captured(started.session_id)
    lost = recorder.folder(started.session_id) / event.name
    kept = lost.read_bytes()
    lost.unlink()
    (finding,) = await found(recorder, "segments.missing")
    assert (finding.severity, event.name in finding.what) == (Severity.ERROR, True)
    lost.write_bytes(kept)
    assert await found(recorder, "segments.missing") == []
    await recorder.client.stop(started.session_id)
    await recorder.sealed(started.session_id)
    assert recorder.report(started.session_id).verdict is Verdict.COMPLETE


async def test_messages_at_which_workers_die_are_found_before_they_are_dead_letters(
    recorder: RunningRecorder,
) -> None:
    book = AttemptFiles(recorder.settings.data_path / "attempts")
    for sequence, tally in ((7, Tally(begun=2)), (8, Tally(begun=1)), (9, Tally(failed=5))):
        place = MessagePlace(consumer="capture", sequence=sequence, stored_ns=1)
        book.write(place, tally)
    (finding,) = await found(recorder, "consumer.deadly")
    assert (finding.where, finding.severity) == ("capture: message 7", Severity.WARNING)
    assert "2 workers died" in finding.what
    for path in (recorder.settings.data_path / "attempts").iterdir():
        path.unlink()


async def test_leftovers_of_a_sealed_session_go_only_behind_a_whole_verification(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SMALL)
    await recorder.nothing_is_left()
    folder = recorder.folder(session_id)
    (folder / "segments").mkdir()
    left = folder / "segments" / "000000000000-0123456789abcdef.seg"
    left.write_bytes(b"left")
    assert await found(recorder, "session.leftovers") == [], "a seal that is young is at work"
    make_old(folder / "seal")
    (finding,) = await found(recorder, "session.leftovers")
    assert finding.repair
    record = folder / "records"
    whole = record.read_bytes()
    record.chmod(0o640)
    record.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (finding,) = await found(recorder, "session.leftovers", repair=True)
    assert (finding.repaired, "TAMPERED" in finding.advice) == ("", True)
    assert left.exists()
    record.write_bytes(whole)
    (finding,) = await found(recorder, "session.leftovers", repair=True)
    assert "COMPLETE" in finding.repaired
    assert not (folder / "segments").exists()
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


async def test_leftovers_stay_where_another_whole_recording_is_in_the_place_of_the_sealed_one(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SMALL)
    await recorder.nothing_is_left()  # proofs come behind the seal
    folder = recorder.folder(session_id)
    left = folder / "segments" / "000000000000-0123456789abcdef.seg"
    left.parent.mkdir()
    left.write_bytes(b"perhaps all that is left of it")
    saved = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in saved:
        if path != left:
            path.unlink()
    for name, data in Recording(session_id).open().chunk(1).seal().sealed().items():
        (folder / name).write_bytes(data)
    assert recorder.report(session_id).verdict is Verdict.COMPLETE
    make_old(folder / "seal")
    (finding,) = await found(recorder, "session.leftovers", repair=True)
    assert (finding.repaired, "as session.sealed tells it" in finding.advice) == ("", True)
    assert left.exists()
    for path, data in saved.items():
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    left.unlink()


async def test_keys_that_should_be_erased_are_found_and_erased(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SMALL)
    make_old(recorder.folder(session_id) / "seal")
    keys = recorder.settings.keys_path
    epochs = keys / "epochs" / session_id
    async with asyncio.timeout(DEADLINE_S):
        while epochs.exists():  # erased a moment behind the fact of the seal
            await asyncio.sleep(POLL_S)
    epochs.mkdir(mode=0o700)
    (epochs / "secret").write_bytes(b"s" * 32)
    cipher = keys / "ciphers" / f"{session_id}.key"
    cipher.parent.mkdir(mode=0o700, exist_ok=True)
    cipher.write_bytes(b"k" * 32)
    for path in (epochs / "secret", cipher):
        path.chmod(0o600)
    assert len(await found(recorder, "keys.not_erased")) == 2
    assert cipher.exists()
    repaired = await found(recorder, "keys.not_erased", repair=True)
    assert {finding.repaired for finding in repaired} == {"overwritten and removed"}
    assert not cipher.exists()
    assert not epochs.exists()
    assert await found(recorder, "keys.not_erased") == []


async def test_the_key_of_an_ended_epoch_of_a_session_that_runs_is_erased_and_no_other(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.client.start(LIVE, fps=10)
    await recorder.captured(started.session_id)
    epochs = recorder.settings.keys_path / "epochs" / started.session_id
    running = epochs / "0.key"
    ended, mark = epochs / "7.key", epochs / "7.erased"
    ended.write_bytes(running.read_bytes())
    ended.chmod(0o600)
    mark.write_bytes(b"[]")
    mark.chmod(0o600)
    assert await found(recorder, "keys.not_erased") == [], "its maker may be at it"
    make_old(mark)
    (finding,) = await found(recorder, "keys.not_erased", repair=True)
    assert (finding.where, bool(finding.repaired)) == (str(ended), True)
    assert (ended.exists(), running.exists()) == (False, True)
    mark.unlink()
    await recorder.client.stop(started.session_id)
    await recorder.sealed(started.session_id)
    assert recorder.report(started.session_id).verdict is Verdict.COMPLETE


async def test_keys_that_are_open_to_others_are_closed(recorder: RunningRecorder) -> None:
    device = recorder.settings.device_key_path
    device.chmod(0o644)
    stray = device.parent / ".device.pem.00ff.new"
    stray.write_bytes(b"secret")
    stray.chmod(0o600)
    make_old(stray)
    (finding,) = await found(recorder, "keys.open", repair=True)
    assert (finding.where, finding.repaired) == (str(device), "mode 0600")
    assert device.stat().st_mode & 0o777 == 0o600
    assert not stray.exists(), "the same repair erased it"
    assert await found(recorder, "keys.stray") == []


async def test_streams_and_consumers_that_differ_are_mended_where_that_takes_nothing_away(
    recorder: RunningRecorder,
) -> None:
    js = recorder.jetstream
    dead = (await js.stream_info("DEAD")).config
    await js.update_stream(dead.evolve(max_bytes=1_000_000))
    sessions = (await js.stream_info("SESSIONS")).config
    longer = 2 * (sessions.max_age or 0)
    await js.update_stream(sessions.evolve(max_age=longer))
    await js.delete_consumer("SESSIONS", "owners")
    drifted = {f.where: f for f in await found(recorder, "stream.drift")}
    assert set(drifted) == {"DEAD", "SESSIONS"}
    assert drifted["SESSIONS"].repair == "", "a lower age would take events away"
    (missing,) = await found(recorder, "consumer.missing")
    assert missing.where == "SESSIONS/owners"
    assert (await js.stream_info("DEAD")).config.max_bytes == 1_000_000
    examined = await looked(recorder, repair=True)
    mended = {f.where for f in examined.findings if f.repaired}
    assert {"DEAD", "SESSIONS/owners"} <= mended
    assert not examined.clean, "the other is left to people"
    assert (await js.stream_info("DEAD")).config.max_bytes == dead.max_bytes
    assert (await js.stream_info("SESSIONS")).config.max_age == longer
    assert (await js.consumer_info("SESSIONS", "owners")).name == "owners"


async def test_dead_letters_are_told_by_what_failed_alike(recorder: RunningRecorder) -> None:
    for number in range(3):
        garbage = f"session.captured.{'0' * 8}-0000-4000-8000-00000000000{number}"
        await recorder.jetstream.publish(garbage, b"no event")
    async with asyncio.timeout(DEADLINE_S):
        while await recorder.dead_letter_count() < 3:
            await asyncio.sleep(POLL_S)
    (finding,) = await found(recorder, "dead_letters")
    first = await letter_about(recorder, "chunk")
    assert "3 messages failed alike" in finding.what
    assert first.letter.letter in finding.advice
    assert not (await looked(recorder)).clean


async def test_a_session_that_is_captured_to_its_end_and_not_sealed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = Defect(monkeypatch, chunk, "advance")
    monkeypatch.setattr(running_sessions, "YOUNG_S", 0.0)
    async with RunningRecorder(settings_in(tmp_path / "data", retry=QUICK)) as recorder:
        fold.there = True
        started = await recorder.client.start(SMALL)
        async with asyncio.timeout(DEADLINE_S):
            while not [f for f in await looked_at(recorder) if f.check == "session.unsealed"]:
                await asyncio.sleep(POLL_S)
        (finding,) = await found(recorder, "session.unsealed")
        assert finding.where == str(recorder.folder(started.session_id))


async def looked_at(recorder: RunningRecorder) -> tuple[Finding, ...]:
    return (await looked(recorder)).findings


async def test_a_sealed_session_that_is_not_in_the_log_and_one_that_is_gone_are_found(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_checks, "YOUNG_S", 0.0)
    kept, _ = await recorder.record(SMALL)
    gone, _ = await recorder.record(SMALL)
    unsealed, _ = await recorder.record(SMALL)
    async with asyncio.timeout(DEADLINE_S):
        for session_id in (kept, gone, unsealed):
            while len(await recorder.facts(Fact.LOGGED, session_id)) < 2:
                await asyncio.sleep(POLL_S)
    await recorder.nothing_is_left()  # a proof that comes late would make a folder again
    assert await found(recorder, "log.behind") == []
    shutil.rmtree(recorder.folder(gone))
    (recorder.folder(unsealed) / "seal").unlink()
    (finding,) = await found(recorder, "session.folder_missing")
    assert finding.where == str(recorder.folder(gone))
    (finding,) = await found(recorder, "session.seal_missing")
    assert finding.where == str(recorder.folder(unsealed))
    monkeypatch.setattr(bus_checks, "SessionLogged", Examined)  # as if nothing was entered
    assert {f.where for f in await found(recorder, "log.behind")} == {kept, gone, unsealed}


async def test_what_comes_again_and_again_and_what_waits_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Defect(monkeypatch, StoredSessions, "_look")
    storage.error = lambda: StoreError("the disk is away")  # tried for ever
    monkeypatch.setattr(bus_checks, "LATE_S", 0.2)
    async with RunningRecorder(settings_in(tmp_path / "data", retry=QUICK)) as recorder:
        storage.there = True
        await recorder.record(SMALL)
        async with asyncio.timeout(DEADLINE_S):
            # Others, too, where a message of theirs comes again on a machine that stands still.
            while [one.where for one in await found(recorder, "consumer.stuck")] != [
                "SESSIONS/storage"
            ]:
                await asyncio.sleep(POLL_S)
        storage.there = False
        async with asyncio.timeout(DEADLINE_S):
            while await found(recorder, "consumer.stuck"):
                await asyncio.sleep(POLL_S)


def test_how_a_queue_is_judged() -> None:
    hour_ago = time.time_ns() - 3600 * 10**9
    waits = QueueSeen(
        stage="chunk",
        stream="SESSIONS",
        pending=5,
        ack_pending=1,
        redelivered=0,
        oldest_ns=hour_ago,
        asked_for=True,
    )

    def checks(**change: object) -> list[str]:
        queue = msgspec.structs.replace(waits, **change)
        return [finding.check for finding in bus_checks._queue(queue)]

    assert checks() == ["consumer.lag"]
    assert checks(redelivered=2) == ["consumer.stuck"]
    assert checks(asked_for=False) == ["consumer.idle"]
    assert checks(oldest_ns=time.time_ns()) == []
    assert checks(oldest_ns=0) == []
    # A lease is a message that is delivered again at each hand-over, and kept for hours.
    assert checks(stage="capture", redelivered=2) == ["consumer.lag"]
    # Who copies waits for a second store that is away with his message in hand.
    assert checks(stage="upload", asked_for=False) == ["consumer.lag"]
    assert checks(stage="upload", asked_for=False, ack_pending=0) == ["consumer.idle"]


async def test_a_stream_and_a_disk_that_are_nearly_full_are_found(
    recorder: RunningRecorder,
) -> None:
    js = recorder.jetstream
    dead = (await js.stream_info("DEAD")).config
    await js.update_stream(dead.evolve(max_bytes=20_000))
    garbage = f"session.captured.{'0' * 8}-0000-4000-8000-000000000000"
    await js.publish(garbage, b"x" * 18_000)
    async with asyncio.timeout(DEADLINE_S):
        while not await recorder.dead_letter_count():
            await asyncio.sleep(POLL_S)
    (finding,) = await found(recorder, "stream.full")
    assert finding.where == "DEAD"
    assert await found(recorder, "disk") == []
    full = msgspec.structs.replace(recorder.settings, disk=DiskSettings(floor_bytes=2**60))
    (finding, *_) = (await examine(full, None, repair=True)).findings
    assert (finding.check, finding.severity, finding.repaired) == ("disk", Severity.ERROR, "")


async def test_without_nats_the_directory_is_looked_at_and_the_rest_is_said(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with RunningRecorder(settings_in(data, retry=QUICK)) as recorder:
        started = await recorder.client.start(LIVE, fps=10)
        await recorder.captured(started.session_id)
        settings = recorder.settings
    offline = await examine(settings, None, repair=True)
    assert [(f.check, f.severity) for f in offline.findings] == [
        ("session.unsealed", Severity.INFO)
    ]
    assert offline.clean
    assert offline.not_looked_at
    nowhere = Login(servers=("nats://127.0.0.1:1",), connect_timeout_s=1)
    away = await examine(settings, nowhere, repair=False)
    assert [f.check for f in away.findings if f.severity is Severity.ERROR] == ["nats"]
    absent = msgspec.structs.replace(settings, data_dir=str(tmp_path / "nothing"))
    (finding,) = (await examine(absent, None, repair=True)).findings
    assert (finding.check, (tmp_path / "nothing").exists()) == ("data_dir", False)


async def test_a_server_of_somebody_else_is_not_made_ours_by_a_look(tmp_path: Path) -> None:
    with NatsProcess(tmp_path / "nats") as server:
        (tmp_path / "data").mkdir()
        settings = settings_in(
            tmp_path / "data",
            nats=NatsSettings(url=server.url, max_bytes=10_000_000),
            audit=AuditSettings(max_bytes=10_000_000),
        )
        examined = await examine(settings, Login(servers=(server.url,)), repair=False)
        missing = [f for f in examined.findings if f.check == "stream.missing"]
        assert len(missing) == len(streams(LIMITS))
        assert all(finding.repair for finding in missing)
        assert not (tmp_path / "data" / "sessions").exists()
