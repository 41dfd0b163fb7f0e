"""A command is authorised once, as of when it was stored: waiting, kills, a bus that is away."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from guarded_recorder import answer, audited, in_trail, send
from nats_process import NatsProcess
from running_recorder import POLL_S, RunningRecorder, settings_in, until
from tokens import JWKS, SECRET, key_token, secret_token
from worker_process import WorkerProcess, run_recorder

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.rights.token_lists import JWKS_KEY, RevocationList
from recorder_worker.bus.sessions.key_value import KeyValueBucket
from recorder_worker.bus.streams.topology import COMMANDS_STREAM
from recorder_worker.core.access.identity import Identity
from recorder_worker.core.access.revocation import Revocation, key_of_subject
from recorder_worker.core.errors import BusUnavailableError, RefusedError
from recorder_worker.core.events import (
    CommandAccepted,
    CommandDenied,
    Control,
    SessionRejected,
    SessionStarted,
)
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.ports import Delivery
from recorder_worker.service.authorisation import authoriser_for
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.settings.tree import (
    AuthSettings,
    CaptureSettings,
    NatsSettings,
    Settings,
)
from recorder_worker.stages.audit import AuditTrail
from recorder_worker.stages.control import ControlStage
from recorder_worker.stages.gate import CommandGate
from recorder_worker.stages.rejection import Rejections

DEADLINE_S = 60.0
LIVE = {"kind": "pattern", "width": 16, "height": 16}
SHORT = LIVE | {"pace": "fast", "frames": 3}
CAPTURE = CaptureSettings(segment_s=0.25, retry_s=1.0)
BUCKET = "recorder-revocations"
ROOT = "root"


AUTH = AuthSettings(mode="jwt", hs256_secret=SECRET, skew_s=0.0)


def guarded(folder: Path, *, capture: CaptureSettings = CAPTURE, **auth: Any) -> Settings:  # noqa: ANN401  (fields of the group)
    return settings_in(folder, capture=capture, auth=msgspec.structs.replace(AUTH, **auth))


def revocations(recorder: RunningRecorder) -> RevocationList:
    return RevocationList(KeyValueBucket(recorder.bus.jetstream, BUCKET))


def start_of(session_id: str, source: dict[str, Any]) -> bytes:
    return json.dumps({"session_id": session_id, "source": source}).encode()


async def stopped(recorder: RunningRecorder, session_id: str) -> None:
    found = await answer(
        recorder, Command.STOP, {"session_id": session_id}, secret_token(ROOT, "ADMIN")
    )
    assert isinstance(found, Control), found
    await recorder.sealed(session_id)


async def test_a_start_that_waits_for_longer_than_its_token_lasts_is_recorded(
    tmp_path: Path,
) -> None:
    one = CaptureSettings(segment_s=0.25, capacity=1)
    async with RunningRecorder(guarded(tmp_path, capture=one)) as recorder:
        busy, waits, late = (str(uuid.uuid4()) for _ in range(3))
        body = {"session_id": busy, "source": LIVE}
        assert isinstance(
            await answer(recorder, Command.START, body, secret_token("kim")), SessionStarted
        )
        while True:
            ends_s = int(time.time()) + 2
            token = secret_token("kim", exp=ends_s)
            await send(recorder, Command.START, start_of(waits, SHORT), token)
            if time.time() < ends_s:
                break
            waits = str(uuid.uuid4())  # that one was stored too late, perhaps
        await until(lambda: time.time() > ends_s)
        sent = await send(recorder, Command.START, start_of(late, SHORT), token)
        assert await recorder.client.last(Fact.STARTED, waits) is None
        await stopped(recorder, busy)
        assert (await recorder.sealed(waits)).frame_count == 3
        event = await in_trail(recorder, sent)
        assert isinstance(event, CommandDenied)
        assert "had run out" in event.reason
        assert await recorder.client.last(Fact.STARTED, late) is None


async def started_by_a_token_that_runs_out(url: str) -> tuple[str, int, SessionStarted]:
    """A session, the token of its start, and when that runs out: in seconds.

    Another one where the start was stored when its token had run out already.
    """
    while True:
        ends_s = int(time.time()) + 4
        token = key_token("kim", exp=ends_s)
        try:
            async with RecorderClient.connect(url, bearer=token) as kim:
                return token, ends_s, await kim.start(LIVE, timeout_s=DEADLINE_S)
        except RefusedError:
            assert time.time() > ends_s


async def test_a_session_is_taken_over_when_its_token_has_run_out_is_revoked_and_its_key_is_gone(
    tmp_path: Path,
) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(JWKS))
    auth = {"RECORDER_AUTH__MODE": "jwt", "RECORDER_AUTH__HS256_SECRET": SECRET}
    with NatsProcess(tmp_path / "nats") as server:
        env = auth | {
            "RECORDER_NATS__URL": server.url,
            "RECORDER_DATA_DIR": str(tmp_path / "data"),
            "RECORDER_CAPTURE__LEASE_S": "2",
            "RECORDER_CAPTURE__SEGMENT_S": "0.25",
            "RECORDER_DISK__FLOOR_BYTES": "1",
            "RECORDER_AUTH__JWKS_FILE": str(jwks),
        }
        short = msgspec.structs.replace(CAPTURE, lease_s=2.0)
        settings = msgspec.structs.replace(
            guarded(tmp_path / "data", capture=short, jwks_file=str(jwks)),
            nats=NatsSettings(url=server.url),
        )
        with WorkerProcess(tmp_path, "capture", env=env) as first:
            token, ends_s, started = await started_by_a_token_that_runs_out(server.url)
            async with RunningRecorder(settings) as recorder:
                await until(lambda: time.time() > ends_s)
                await revocations(recorder).enter(key_of_subject("kim"), Revocation())
                jwks.write_text(json.dumps({"keys": JWKS["keys"][1:]}))
                captured = await recorder.captured(started.session_id)
                await asyncio.to_thread(first.kill)
                assert not any(word in first.text for word in (*token.split("."), SECRET))
                await recorder.captured(started.session_id, captured.cursor.t_ns)
                await stopped(recorder, started.session_id)
                report = recorder.report(started.session_id)
                assert report.verdict is Verdict.COMPLETE_WITH_GAPS
                # One more where a machine stood still for longer than a lease.
                assert {gap.reason for gap in report.gaps} == {"crash"}
                assert await recorder.facts(Fact.REJECTED, started.session_id) == []
                trail = await audited(recorder, started.command_id)
                (event,) = trail[started.command_id]
                assert isinstance(event, CommandAccepted)
                assert event.actor == "kim"


async def test_what_was_accepted_is_in_the_trail_once_whatever_became_of_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus fails between a command's effect and its audit event, and the token is revoked."""
    accepted = AuditTrail.accepted
    failed: list[str] = []

    async with RunningRecorder(guarded(tmp_path)) as recorder:

        async def failing(
            self: AuditTrail, identity: Identity, delivery: Delivery, session_id: str
        ) -> None:
            if identity.actor == "kim" and delivery.command_id not in failed:
                failed.append(delivery.command_id)
                await revocations(recorder).enter(key_of_subject("kim"), Revocation())
                raise BusUnavailableError("the bus fails")
            await accepted(self, identity, delivery, session_id)

        monkeypatch.setattr(AuditTrail, "accepted", failing)
        session_id = str(uuid.uuid4())
        sent = [
            await send(recorder, Command.START, start_of(session_id, LIVE), secret_token("kim"))
        ]
        await recorder.captured(session_id)
        await revocations(recorder).remove(key_of_subject("kim"))
        body = json.dumps({"session_id": session_id}).encode()
        sent.append(await send(recorder, Command.STOP, body, secret_token("kim")))
        await recorder.sealed(session_id)
        for command_id in sent:
            event = await in_trail(recorder, command_id)
            assert isinstance(event, CommandAccepted)
            assert (event.actor, event.role) == ("kim", "USER")
        assert failed == sent
        assert len(await recorder.facts(Fact.STARTED, session_id)) == 1
        assert len(await recorder.facts(Fact.CONTROL, session_id)) == 1
        assert await recorder.facts(Fact.REJECTED, session_id) == []
        await recorder.nothing_is_left()


async def test_a_command_that_is_delivered_again_is_not_asked_again_but_one_that_repeats_it_is(
    tmp_path: Path,
) -> None:
    async with RunningRecorder(guarded(tmp_path)) as recorder:
        session_id = str(uuid.uuid4())
        token = secret_token("kim")
        body = {"session_id": session_id, "source": LIVE}
        assert isinstance(await answer(recorder, Command.START, body, token), SessionStarted)
        marks = []
        for text in ("first", "second"):
            said = {"session_id": session_id, "text": text}
            found = await answer(recorder, Command.MARK, said, token)
            assert isinstance(found, Control)
            marks.append(found)
        ids = [mark.command_id for mark in marks]
        await in_trail(recorder, ids[1])
        await revocations(recorder).enter(key_of_subject("kim"), Revocation())

        log = JetStreamEventLog(lambda: recorder.jetstream, EventHeaders("another"))
        clock = SystemClock()
        door = ControlStage(
            log,
            clock,
            CommandGate(
                authoriser_for(recorder.settings.auth, lambda: recorder.jetstream),
                AuditTrail(log, clock, "another"),
                Rejections(log, clock, Metrics(version="1", node="another")),
            ),
        )

        async def deliver(mark: Control, sequence: int) -> None:
            await door.handle(
                Delivery(
                    command=Command.MARK,
                    body=mark.body.encode(),
                    command_id=mark.command_id,
                    sequence=sequence,
                    received_ns=mark.command_received_ns,
                    deliveries=2,
                    bearer=token,
                )
            )

        for mark in marks:
            await deliver(mark, mark.command_sequence)
        assert await recorder.facts(Fact.REJECTED, session_id) == []
        trail = await audited(recorder, *ids)
        assert [type(event) for events in trail.values() for event in events] == [
            CommandAccepted,
            CommandAccepted,
        ]
        await deliver(marks[1], marks[1].command_sequence + 1)
        (refused,) = await recorder.facts(Fact.REJECTED, session_id)
        assert isinstance(refused, SessionRejected)
        assert refused.got.startswith("one that is")
        assert len(await recorder.facts(Fact.CONTROL, session_id)) == 2
        await stopped(recorder, session_id)


async def test_a_revocation_counts_for_what_waits_and_a_list_that_is_gone_lets_nobody_in(
    tmp_path: Path,
) -> None:
    async with RunningRecorder(guarded(tmp_path)) as recorder:
        session_id = str(uuid.uuid4())
        body = {"session_id": session_id, "source": LIVE}
        token = secret_token("kim", jti="7")
        assert isinstance(await answer(recorder, Command.START, body, token), SessionStarted)
        await recorder.jetstream.delete_stream(f"KV_{BUCKET}")
        mark = json.dumps({"session_id": session_id, "text": "t"}).encode()
        waits = await send(recorder, Command.MARK, mark, token)
        await delivered_again(recorder, "control")
        assert await audited(recorder, waits) == {}
        assert await recorder.facts(Fact.CONTROL, session_id) == []
        bucket = KeyValueBucket(recorder.bus.jetstream, BUCKET)
        await recorder.jetstream.create_key_value(bucket=BUCKET)
        assert isinstance(await in_trail(recorder, waits), CommandAccepted)

        await revocations(recorder).enter("7", Revocation(reason="stolen"))
        refused = await answer(recorder, Command.MARK, {"session_id": session_id}, token)
        assert isinstance(refused, SessionRejected)
        assert refused.got == "one that is: stolen"
        await bucket.put("7", b"not what we write")
        refused = await answer(recorder, Command.MARK, {"session_id": session_id}, token)
        assert isinstance(refused, SessionRejected)
        assert "cannot be read" in refused.got
        await revocations(recorder).remove("7")
        good = await answer(recorder, Command.MARK, {"session_id": session_id}, token)
        assert isinstance(good, Control)
        await stopped(recorder, session_id)


async def delivered_again(recorder: RunningRecorder, stage: str) -> None:
    """Wait until a command of a stage has been put off."""
    async with asyncio.timeout(DEADLINE_S):
        while not (await recorder.jetstream.consumer_info(COMMANDS_STREAM, stage)).num_redelivered:
            await asyncio.sleep(POLL_S)


async def test_keys_may_be_in_a_bucket_and_are_waited_for(tmp_path: Path) -> None:
    settings = guarded(tmp_path, hs256_secret="", jwks_bucket="recorder-keys")
    async with RunningRecorder(settings) as recorder:
        bucket = KeyValueBucket(recorder.bus.jetstream, "recorder-keys")
        session_id = str(uuid.uuid4())
        sent = await send(recorder, Command.START, start_of(session_id, SHORT), key_token("kim"))
        await delivered_again(recorder, "capture")
        assert await audited(recorder, sent) == {}
        await bucket.put(JWKS_KEY, json.dumps(JWKS).encode())
        await recorder.sealed(session_id)
        assert isinstance(await in_trail(recorder, sent), CommandAccepted)
        only = json.dumps({"keys": JWKS["keys"][1:]}).encode()
        await bucket.put(JWKS_KEY, only)
        body = {"session_id": str(uuid.uuid4()), "source": SHORT}
        found = await answer(recorder, Command.START, body, key_token("kim"))
        assert isinstance(found, SessionRejected)
        assert found.got == "the id of another"


@pytest.mark.parametrize(
    ("stages", "variables", "code", "says"),
    [
        (("capture",), {}, 78, "auth.mode: expected jwt, found open, with NATS on a network"),
        (("capture",), {"RECORDER_AUTH__ALLOW_OPEN_NETWORK": "true"}, 69, "no NATS server"),
    ],
)
def test_a_worker_that_is_open_on_a_network_does_not_start_unless_told_so(
    tmp_path: Path, stages: tuple[str, ...], variables: dict[str, str], code: int, says: str
) -> None:
    env = {
        "RECORDER_NATS__URL": "nats://192.0.2.1:4222",  # an address that nobody has (RFC 5737)
        "RECORDER_NATS__CONNECT_TIMEOUT_S": "0.5",
        "RECORDER_SIDECAR__PORT": "0",
    }
    ended = run_recorder("run", *stages, folder=tmp_path, env=env | variables)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
