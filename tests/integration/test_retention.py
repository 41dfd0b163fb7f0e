"""Hold, release and delete on a running recorder, the rules of age and size, and the patrol."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import reference
import reference_log
from guarded_recorder import in_trail, send
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from tokens import SECRET, secret_token

from recorder_worker.adapters.age import new_identity
from recorder_worker.bus.sessions.session_bucket import SessionBucket
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core.errors import Refusal, RefusedError
from recorder_worker.core.events import (
    CommandAccepted,
    CommandDenied,
    IntegrityFailed,
    SessionRejected,
    SessionRetention,
)
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.core.verify import Verdict
from recorder_worker.service.settings.keeping import PatrolSettings, RetentionSettings
from recorder_worker.service.settings.tree import (
    AuthSettings,
    ChunkSettings,
    EncryptionSettings,
    Settings,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT: dict[str, Any] = {"kind": "pattern", "width": 64, "height": 48, "pace": "fast", "frames": 12}
LIVE: dict[str, Any] = {"kind": "pattern", "width": 64, "height": 48}
SOON = RetentionSettings(every_s=0.2)
NO_PATROL = PatrolSettings(bytes_per_s=0)
CHUNKS = ChunkSettings(duration_s=0.3)


def settings(folder: Path, **groups: Any) -> Settings:  # noqa: ANN401  (groups of settings)
    return settings_in(folder, **{"retention": SOON, "patrol": NO_PATROL, "chunk": CHUNKS} | groups)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    async with RunningRecorder(settings(tmp_path_factory.mktemp("recorder"))) as running:
        yield running


async def told(
    recorder: RunningRecorder,
    session_id: str,
    send_it: Callable[[], Awaitable[str]],
    shows: Callable[[SessionRetention], bool],
) -> SessionRetention:
    event = await recorder.client.effect(
        send_it,
        session_id,
        lambda seen: isinstance(seen.event, SessionRetention) and shows(seen.event),
        DEADLINE_S,
    )
    assert isinstance(event, SessionRetention)
    return event


async def hold(recorder: RunningRecorder, session_id: str, name: str = "hold") -> SessionRetention:
    return await told(
        recorder,
        session_id,
        lambda: recorder.client.hold(session_id, "a court asked", name=name, by="kim"),
        lambda fact: name in fact.holds,
    )


async def release(
    recorder: RunningRecorder, session_id: str, name: str = "hold"
) -> SessionRetention:
    return await told(
        recorder,
        session_id,
        lambda: recorder.client.release(session_id, "it is over", name=name, by="kim"),
        lambda fact: name not in fact.holds,
    )


async def delete(recorder: RunningRecorder, session_id: str) -> SessionRetention:
    return await told(
        recorder,
        session_id,
        lambda: recorder.client.delete(session_id, "the visitor asked", by="kim"),
        lambda fact: fact.kind == "tombstone",
    )


async def refusal(ask: Awaitable[SessionRetention]) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        await ask
    return caught.value.refusal


def chunks(recorder: RunningRecorder, session_id: str) -> list[Path]:
    return sorted((recorder.folder(session_id) / "chunks").glob("*"))


def at_once(path: Path, data: bytes) -> None:
    """Give a file other bytes; nobody finds some of them, or none."""
    spare = path.parents[4] / "spare"
    spare.write_bytes(data)
    spare.rename(path)


async def tombstone(recorder: RunningRecorder, session_id: str) -> SessionRetention:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            last = await recorder.client.last(Fact.RETENTION, session_id)
            if isinstance(last, SessionRetention) and last.kind == "tombstone":
                return last
            await asyncio.sleep(POLL_S)


def check_log(recorder: RunningRecorder) -> None:
    """By the product and by the second implementation."""
    data = DataDirectory(recorder.settings.data_path)
    report = audit_log(data.read, data, bundles=data)
    assert report.exit_code == 0, report.problems
    found = reference_log.check_log(recorder.settings.data_path)
    assert found["verdict"] == "COMPLETE", found


# --- commands -------------------------------------------------------------------------------------


async def test_a_deleted_session_is_redacted_and_the_log_proves_that_it_was(
    recorder: RunningRecorder,
) -> None:
    session_id, before = await recorder.record(SHORT)
    assert before.verdict is Verdict.COMPLETE
    assert chunks(recorder, session_id)
    end = await delete(recorder, session_id)
    assert (end.by, end.rule, end.reason) == ("kim", "command", "the visitor asked")
    assert (end.number, end.chunk_count) == (2, before.totals.chunk_count)
    assert not chunks(recorder, session_id)
    assert not (recorder.folder(session_id) / "thumbnails").exists()
    after = recorder.report(session_id)
    assert (after.verdict, after.exit_code) == (Verdict.REDACTED, 12)
    assert (after.root_hash, after.tree_size) == (before.root_hash, before.tree_size)
    assert after.chunk_map == "-" * len(before.chunk_map)
    removal = after.retention.removal
    assert removal is not None
    assert (removal.by, removal.reason, removal.rule) == ("kim", "the visitor asked", "command")
    assert (removal.finished, removal.logged, removal.key_removed) == (True, True, False)
    assert removal.removed_count == removal.chunk_count == before.totals.chunk_count
    theirs = reference.check(recorder.folder(session_id))
    assert (theirs["verdict"], theirs["root_hash"]) == ("REDACTED", before.root_hash)
    check_log(recorder)


async def test_the_entry_of_a_session_folds_what_is_said_of_it(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    await hold(recorder, session_id, "court")
    await hold(recorder, session_id, "audit")
    bucket = SessionBucket(lambda: recorder.jetstream)

    async def entry() -> Any:  # noqa: ANN401  (an entry of the bucket)
        found, _ = await bucket.get(session_id)
        assert found is not None
        return found

    await until(lambda: _is(entry, lambda found: found.holds == ("court", "audit")))
    assert (await entry()).retention.reason == "a court asked"
    await release(recorder, session_id, "court")
    await release(recorder, session_id, "audit")
    await delete(recorder, session_id)
    await until(lambda: _is(entry, lambda found: found.removal == "tombstone"))
    assert ((await entry()).holds, (await entry()).state) == ((), "sealed")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(POLL_S)


async def _is(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> bool:
    return holds(await ask())


async def page(recorder: RunningRecorder, path: str) -> str:
    url = f"http://127.0.0.1:{recorder.sidecar_port}{path}"
    async with aiohttp.ClientSession() as web, web.get(url) as answer:
        return await answer.text()


async def test_what_is_under_hold_is_not_deleted_until_every_hold_is_released(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SHORT)
    await hold(recorder, session_id, "court")
    await hold(recorder, session_id, "audit")
    error = await refusal(delete(recorder, session_id))
    assert error.field == "session_id"
    assert "under hold 'court', by kim: a court asked" in error.got
    await release(recorder, session_id, "court")
    error = await refusal(delete(recorder, session_id))
    assert "under hold 'audit'" in error.got
    await release(recorder, session_id, "audit")
    assert recorder.report(session_id).verdict is Verdict.COMPLETE
    await delete(recorder, session_id)
    report = recorder.report(session_id)
    assert (report.verdict, report.retention.statements) == (Verdict.REDACTED, 6)
    check_log(recorder)


async def test_a_session_that_still_records_can_be_held_and_is_not_deleted(
    recorder: RunningRecorder,
) -> None:
    started = await recorder.client.start(LIVE)
    session_id = started.session_id
    await recorder.captured(session_id)
    error = await refusal(delete(recorder, session_id))
    assert error.expected == "a sealed session"
    assert "stop it" in error.hint
    await until(lambda: _opened(recorder, session_id))
    held = await hold(recorder, session_id)
    assert held.holds == ("hold",)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    report = recorder.report(session_id)
    assert report.verdict is Verdict.COMPLETE
    assert [found.name for found in report.retention.held] == ["hold"]
    check_log(recorder)


async def _opened(recorder: RunningRecorder, session_id: str) -> bool:
    return bool(await recorder.facts(Fact.LOGGED, session_id))


async def test_the_same_again_changes_nothing_and_is_answered(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    first, again = await hold(recorder, session_id), await hold(recorder, session_id)
    assert (first.number, again.number) == (1, 1)
    await release(recorder, session_id)
    assert (await release(recorder, session_id)).number == 2
    done = await delete(recorder, session_id)
    assert (await delete(recorder, session_id)).number == done.number == 4
    assert sorted(path.name for path in (recorder.folder(session_id) / "retention").iterdir()) == [
        f"{number:04d}" for number in (1, 2, 3, 4)
    ]


async def test_a_hold_that_is_not_there_cannot_be_released(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    await hold(recorder, session_id, "court-case")
    error = await refusal(release(recorder, session_id, "cort-case"))
    assert (error.field, error.got) == ("name", "cort-case")
    assert "'court-case'" in error.expected


async def test_nothing_is_held_behind_a_deletion(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    await delete(recorder, session_id)
    error = await refusal(hold(recorder, session_id))
    assert "kim has deleted" in error.got


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"session_id": "not a session", "reason": "x"}, "session_id"),
        ({"session_id": str(uuid.uuid4())}, "reason"),
        ({"session_id": str(uuid.uuid4()), "reason": ""}, "reason"),
        ({"session_id": str(uuid.uuid4()), "reason": "nobody knows it"}, "session_id"),
    ],
)
async def test_a_bad_deletion_is_refused_with_what_was_expected(
    recorder: RunningRecorder, body: dict[str, Any], field: str
) -> None:
    (refused,) = await recorder.rejections(
        Command.DELETE,
        json.dumps(body).encode(),
        session_id=body["session_id"]
        if field != "session_id" or " " not in body["session_id"]
        else "unknown",
    )
    assert (refused.field, bool(refused.hint)) == (field, True)


async def test_the_command_line_holds_releases_and_deletes(recorder: RunningRecorder) -> None:
    session_id, _ = await recorder.record(SHORT)
    program = Path(sys.executable).parent / "recorder"

    async def call(*words: str) -> tuple[int, str, str]:
        started = await asyncio.create_subprocess_exec(
            program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, problems = await started.communicate()
        return started.returncode or 0, said.decode(), problems.decode()

    nats = ("--nats", recorder.url)
    code, said, _ = await call(
        "hold", session_id, "--reason", "a court asked", "--name", "court", *nats
    )
    assert (code, said) == (0, f"{session_id} is under hold 'court'\n")
    _, said, _ = await call("show", session_id, "--json", *nats)
    assert (json.loads(said)["holds"], json.loads(said)["removed"]) == (["court"], "")
    code, _, problem = await call("delete", session_id, "--reason", "it is old", *nats)
    assert code != 0
    assert "release it first" in " ".join(problem.split())
    _, said, _ = await call("release", session_id, "--reason", "over", "--name", "court", *nats)
    assert said == f"{session_id} is released of 'court'; held by: nothing\n"
    _, said, _ = await call("delete", session_id, "--reason", "it is old", "--json", *nats)
    assert json.loads(said)["kind"] == "tombstone"
    _, said, _ = await call("show", session_id, *nats)
    assert "all, by nobody named (command): it is old" in said
    code, said, _ = await call("verify", str(recorder.folder(session_id)))
    assert code == 12
    for text in ("REDACTED", "it is old", "- removed by its owner"):
        assert text in said, said


# --- who may --------------------------------------------------------------------------------------


async def test_roles_and_owners_decide_who_may_and_all_of_it_is_on_record(tmp_path: Path) -> None:
    auth = AuthSettings(mode="jwt", hs256_secret=SECRET, own_only=("USER",))
    may = {"user_may": ("start", "stop", "hold", "view"), "admin_may": ("hold", "release")}
    auth = type(auth)(**{**{f: getattr(auth, f) for f in auth.__struct_fields__}, **may})
    async with RunningRecorder(settings(tmp_path, auth=auth)) as recorder:
        session_id = str(uuid.uuid4())
        body = {"session_id": session_id, "source": SHORT}
        await send(recorder, Command.START, json.dumps(body).encode(), secret_token("kim", "USER"))
        await recorder.sealed(session_id)

        async def asked(
            command: Command, token: str, **more: str
        ) -> CommandAccepted | CommandDenied:
            said = {"session_id": session_id, "reason": "because", **more}
            sent = await send(recorder, command, json.dumps(said).encode(), token)
            found = await in_trail(recorder, sent)
            assert isinstance(found, CommandAccepted | CommandDenied)
            return found

        bob, kim = secret_token("bob", "USER"), secret_token("kim", "USER")
        admin, root = secret_token("eve", "ADMIN"), secret_token("root", "SUPER_ADMIN")
        denied = await asked(Command.HOLD, bob)
        assert isinstance(denied, CommandDenied)
        assert "own" in denied.reason
        assert isinstance(await asked(Command.DELETE, admin), CommandDenied)
        assert isinstance(await asked(Command.HOLD, kim), CommandAccepted)
        assert isinstance(await asked(Command.DELETE, root), CommandDenied)
        assert isinstance(await asked(Command.RELEASE, admin, by="root"), CommandDenied)
        assert isinstance(await asked(Command.RELEASE, admin), CommandAccepted)
        accepted = await asked(Command.DELETE, root)
        assert (accepted.actor, accepted.role) == ("root", "SUPER_ADMIN")
        end = await tombstone(recorder, session_id)
        assert end.by == "root"
        removal = recorder.report(session_id).retention.removal
        assert removal is not None
        assert removal.by == "root"


# --- rules ----------------------------------------------------------------------------------------


async def test_what_is_too_old_goes_and_what_is_held_stays(tmp_path: Path) -> None:
    async with RunningRecorder(settings(tmp_path)) as recorder:
        old, _ = await recorder.record(SHORT)
        held, _ = await recorder.record(SHORT)
        kept, _ = await recorder.record(SHORT, retain_s=86_400)
        await hold(recorder, held)
    rules = RetentionSettings(max_age_s=1, every_s=0.2)
    async with RunningRecorder(settings(tmp_path, retention=rules)) as recorder:
        end = await tombstone(recorder, old)
        assert (end.by, end.rule) == ("recorder", "max_age_s")
        assert recorder.report(old).verdict is Verdict.REDACTED
        assert recorder.report(held).verdict is Verdict.COMPLETE
        assert recorder.report(kept).verdict is Verdict.COMPLETE
        await release(recorder, held)
        await tombstone(recorder, held)
        assert recorder.report(kept).verdict is Verdict.COMPLETE
        check_log(recorder)


async def test_a_session_goes_when_the_time_that_its_start_asked_for_is_over(
    recorder: RunningRecorder,
) -> None:
    session_id, _ = await recorder.record(SHORT, retain_s=1)
    end = await tombstone(recorder, session_id)
    assert (end.by, end.rule) == ("recorder", "retain_s")
    assert recorder.report(session_id).verdict is Verdict.REDACTED


async def test_the_oldest_go_until_the_others_fit_and_holds_are_said_to_prevent_it(
    tmp_path: Path,
) -> None:
    async with RunningRecorder(settings(tmp_path)) as recorder:
        made = [(await recorder.record(SHORT))[0] for _ in range(4)]
        size = sum(path.stat().st_size for path in chunks(recorder, made[0]))
        await hold(recorder, made[0])
    rules = RetentionSettings(max_total_bytes=2 * size + size // 2, every_s=0.2)
    async with RunningRecorder(settings(tmp_path, retention=rules)) as recorder:
        await tombstone(recorder, made[1])
        await tombstone(recorder, made[2])
        assert recorder.report(made[0]).verdict is Verdict.COMPLETE
        assert recorder.report(made[3]).verdict is Verdict.COMPLETE
        await hold(recorder, made[3])
    rules = RetentionSettings(max_total_bytes=size, every_s=0.2)
    async with RunningRecorder(settings(tmp_path, retention=rules)) as recorder:

        async def says() -> bool:
            health, metrics = await page(recorder, "/health"), await page(recorder, "/metrics")
            above = "recorder_retention_above_bytes 0" not in metrics
            return above and "under hold" in health and "above retention.max_total_bytes" in health

        await until(says)
        assert recorder.report(made[0]).verdict is Verdict.COMPLETE
        check_log(recorder)


# --- keys -----------------------------------------------------------------------------------------


async def test_the_key_of_an_encrypted_session_goes_with_its_chunks(tmp_path: Path) -> None:
    _, recipient = new_identity()
    groups = {"encryption": EncryptionSettings(recipients=(recipient,))}
    async with RunningRecorder(settings(tmp_path, **groups)) as recorder:
        session_id, before = await recorder.record(SHORT)
        assert before.closed_count
        await delete(recorder, session_id)
        folder = recorder.folder(session_id)
        assert not (folder / "session.json").exists()
        left = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert b"BEGIN AGE" not in left
        report = recorder.report(session_id)
        assert report.verdict is Verdict.REDACTED
        assert report.retention.removal is not None
        assert report.retention.removal.key_removed
        assert reference.check(folder)["verdict"] == "REDACTED"
        check_log(recorder)


# --- patrol ---------------------------------------------------------------------------------------


async def test_the_patrol_finds_a_flipped_bit_and_tells_it_once(tmp_path: Path) -> None:
    groups = {"patrol": PatrolSettings(bytes_per_s=2**30, pause_s=0.1)}
    async with RunningRecorder(settings(tmp_path, **groups)) as recorder:
        session_id, _ = await recorder.record(SHORT)
        other, _ = await recorder.record(SHORT)
        chunk = chunks(recorder, session_id)[-1]
        data = chunk.read_bytes()
        at_once(chunk, data[:-1] + bytes([data[-1] ^ 1]))
        key = f"sessions/{session_id}/chunks/{chunk.name}"

        async def damage() -> list[IntegrityFailed]:
            facts = await recorder.facts(Fact.INTEGRITY_FAILED, session_id)
            found = [fact for fact in facts if isinstance(fact, IntegrityFailed)]
            return [fact for fact in found if fact.stage == "patrol"]

        await until(lambda: _is(damage, bool))
        (told_once,) = await damage()
        assert (told_once.chunk, told_once.problem) == (key, "damaged")
        assert told_once.expected.startswith(f"{len(data)} bytes of BLAKE3 ")
        assert told_once.found.startswith(f"{len(data)} bytes of BLAKE3 ")
        assert told_once.found != told_once.expected

        async def metric(name: str) -> float:
            text = await page(recorder, "/metrics")
            return float(
                next(line.split()[1] for line in text.splitlines() if line.startswith(name))
            )

        looked = await metric('recorder_patrol_chunks_total{outcome="good"}')
        await until(
            lambda: _grown(
                lambda: metric('recorder_patrol_chunks_total{outcome="good"}'), looked + 9
            )
        )
        assert len(await damage()) == 1
        assert await metric("recorder_patrol_damaged_known") == 1
        at_once(chunk, data)
        await until(lambda: _zero(lambda: metric("recorder_patrol_damaged_known")))
        await delete(recorder, other)
        looked = await metric('recorder_patrol_chunks_total{outcome="good"}')
        await until(
            lambda: _grown(
                lambda: metric('recorder_patrol_chunks_total{outcome="good"}'), looked + 9
            )
        )
        assert len(await damage()) == 1, "what was deleted is no damage"


async def _grown(ask: Callable[[], Awaitable[float]], beyond: float) -> bool:
    return await ask() > beyond


async def _zero(ask: Callable[[], Awaitable[float]]) -> bool:
    return await ask() == 0


async def test_a_refusal_is_told_to_who_sent_it(recorder: RunningRecorder) -> None:
    session_id = str(uuid.uuid4())
    (refused,) = await recorder.rejections(
        Command.HOLD,
        json.dumps({"session_id": session_id, "reason": "x"}).encode(),
        session_id=session_id,
    )
    assert isinstance(refused, SessionRejected)
    assert refused.expected == "a session in the log of sessions"
