"""Whoever can write into a session's folder cannot have the recorder delete it by its own rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in

from recorder_worker.bus.connection.broker import Login
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import SessionRetention
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.records.codec import decode_record, encode_record, frame_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import SealRecord
from recorder_worker.core.replay_outcome import Outcome
from recorder_worker.core.verify import Verdict
from recorder_worker.service.rebuilding import rebuild
from recorder_worker.service.settings.keeping import PatrolSettings, RetentionSettings
from recorder_worker.service.settings.tree import Settings

SHORT = {"kind": "pattern", "width": 64, "height": 48, "pace": "fast", "frames": 12}
YEAR_S = 31_536_000


def settings(folder: Path) -> Settings:
    """A recorder that keeps everything for a year, and sessions as long as their start says."""
    return settings_in(
        folder,
        retention=RetentionSettings(every_s=0.2, max_age_s=YEAR_S),
        patrol=PatrolSettings(bytes_per_s=0),
    )


def asked_to_go(folder: Path) -> None:
    """As if its start had asked that it goes at once."""
    path = folder / keys.MANIFEST
    said = json.loads(path.read_bytes())
    said["command"]["retain_s"] = 1
    path.write_text(json.dumps(said))


def said_to_be_encrypted(folder: Path) -> None:
    """As if there were a key in `session.json`, which then goes with the chunks."""
    path = folder / keys.MANIFEST
    said = json.loads(path.read_bytes())
    said |= {"encryption": {"cipher": "none"}, "command": said["command"] | {"retain_s": 1}}
    path.write_text(json.dumps(said))


def sealed_long_ago(folder: Path) -> None:
    """As if it had been sealed two years ago."""
    path = folder / keys.RECORDS
    *others, last = unframed([path.read_bytes()])
    seal = decode_record(last)
    assert isinstance(seal, SealRecord)
    old = encode_record(
        SealRecord(
            **{name: getattr(seal, name) for name in seal.__struct_fields__ if name != "wall_ns"},
            wall_ns=seal.wall_ns - 2 * YEAR_S * 1_000_000_000,
        )
    )
    path.write_bytes(b"".join(map(frame_record, [*others, old])))


@pytest.mark.parametrize("change", [asked_to_go, said_to_be_encrypted, sealed_long_ago])
async def test_who_changes_a_folder_does_not_have_its_bytes_removed_by_a_rule(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with RunningRecorder(settings(tmp_path)) as recorder:
        session_id, before = await recorder.record(SHORT)
        assert before.verdict is Verdict.COMPLETE
        folder = recorder.folder(session_id)
    saved = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    change(folder)
    async with RunningRecorder(settings(tmp_path)) as recorder:
        await said_in_health(recorder, session_id)
        with pytest.raises(RefusedError, match="as it was signed"):
            await recorder.client.effect(
                lambda: recorder.client.delete(session_id, "the visitor asked", by="kim"),
                session_id,
                lambda seen: isinstance(seen.event, SessionRetention),
                DEADLINE_S,
            )
        assert not (folder / keys.RETENTION).exists()
    for path, data in saved.items():
        path.write_bytes(data)
    async with RunningRecorder(settings(tmp_path)) as recorder:
        assert recorder.report(session_id).verdict is Verdict.COMPLETE


async def test_a_session_that_is_made_again_is_held_as_before(tmp_path: Path) -> None:
    async with RunningRecorder(settings(tmp_path / "data")) as recorder:
        session_id, _ = await recorder.record(SHORT)
        await recorder.client.effect(
            lambda: recorder.client.hold(session_id, "a court asked", name="court", by="kim"),
            session_id,
            lambda seen: isinstance(seen.event, SessionRetention),
            DEADLINE_S,
        )
        login = Login(servers=(recorder.url,))
        into = tmp_path / "rebuilt"
        for _ in range(2):
            made = await rebuild(
                recorder.settings, login, into, cipher_of=lambda _session_id: None, jobs=1
            )
            assert [one.outcome for one in made.sessions] == [Outcome.SAME]
    rebuilt = DataDirectory(into)
    report = audit_log(rebuilt.read, rebuilt)
    assert report.problems == ()
    assert report.held == (session_id,)


async def said_in_health(recorder: RunningRecorder, session_id: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while session_id not in await health(recorder):
            assert not (recorder.folder(session_id) / keys.RETENTION).exists(), "it goes"
            await asyncio.sleep(POLL_S)


async def health(recorder: RunningRecorder) -> str:
    url = f"http://127.0.0.1:{recorder.sidecar_port}/health"
    async with aiohttp.ClientSession() as web, web.get(url) as answer:
        return await answer.text()
