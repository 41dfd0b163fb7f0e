"""Tokens on commands, on a real server: who may do what, and what the audit trail has of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import pytest_asyncio
from blake3 import blake3
from guarded_recorder import answer, audited, in_trail, send
from nats.js.api import StreamInfo
from running_recorder import DEADLINE_S, RunningRecorder, settings_in
from tokens import ED25519, JWKS, SECRET, claims, forged, key_token, pem, public_pem, secret_token
from worker_process import run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus import codec
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.core.access.identity import ROLES, Identity
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import (
    CommandAccepted,
    CommandDenied,
    Control,
    RecordingExported,
    RecordingViewed,
    SessionRejected,
    SessionStarted,
)
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import MarkRecord
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.service.authorisation import access_rules
from recorder_worker.service.settings.tree import AuthSettings
from recorder_worker.stages.audit import AuditTrail

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIVE = {"kind": "pattern", "width": 16, "height": 16}
SHORT = LIVE | {"pace": "fast", "frames": 3}
SKEW_S = 30
MINUTES = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    """A recorder that asks for tokens, by a secret or by a key."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "jwks.json").write_text(json.dumps(JWKS))
    auth = AuthSettings(
        mode="jwt", hs256_secret=SECRET, jwks_file=str(folder / "jwks.json"), skew_s=SKEW_S
    )
    async with RunningRecorder(settings_in(folder / "data", auth=auth)) as running:
        yield running


async def begun(recorder: RunningRecorder, owner: str) -> str:
    """A session of somebody that runs until it is stopped."""
    session_id = str(uuid.uuid4())
    body = {"session_id": session_id, "source": LIVE}
    found = await answer(recorder, Command.START, body, key_token(owner, "ADMIN"))
    assert isinstance(found, SessionStarted)
    return session_id


async def ended(recorder: RunningRecorder, *session_ids: str) -> None:
    """Stop sessions as somebody who may, where they are not stopped yet."""
    for session_id in session_ids:
        body = {"session_id": session_id}
        await answer(recorder, Command.STOP, body, key_token("root", "SUPER_ADMIN"))
        await recorder.sealed(session_id)


# --- roles, commands, owners ---------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_may_send_the_commands_of_its_list(
    guarded: RunningRecorder, role: str
) -> None:
    rules = access_rules(guarded.settings.auth)
    may = rules.may[role]  # type: ignore[index]
    own_only = role in rules.own_only
    token = key_token("kim", role, jti=f"token of {role}")
    own, foreign = await begun(guarded, "kim"), await begun(guarded, "jo")
    expected: dict[str, bool] = {}

    async def hold(command: Command, body: dict[str, Any], *, good: bool) -> None:
        found = await answer(guarded, command, body, token)
        assert isinstance(found, SessionRejected) is not good, (command, body, found)
        if isinstance(found, SessionRejected):
            assert found.field == "authorization"
        else:
            assert found.identity.actor == "kim"
        expected[found.command_id] = good

    for owner in ("", "kim", "jo"):
        started = str(uuid.uuid4())
        body = {"session_id": started, "source": SHORT, "owner": owner}
        good = "start" in may and (owner != "jo" or not own_only)
        await hold(Command.START, body, good=good)
        manifest = guarded.folder(started) / "session.json"
        if good:
            await guarded.sealed(started)
            assert json.loads(manifest.read_bytes())["command"]["owner"] == (owner or "kim")
        else:
            assert not manifest.exists(), "nothing was recorded"
    order = (Command.MARK, Command.PAUSE, Command.RESUME, Command.STOP)
    for session_id, command in itertools.product((own, foreign), order):
        good = command.removeprefix("session.") in may and (session_id == own or not own_only)
        await hold(command, {"session_id": session_id}, good=good)
    await ended(guarded, own, foreign)
    for session_id in (own, foreign):
        assert guarded.report(session_id).verdict in (
            Verdict.COMPLETE,
            Verdict.COMPLETE_WITH_GAPS,
        )
    trail = await audited(guarded, *expected)
    assert trail.keys() == expected.keys()
    for command_id, events in trail.items():
        (event,) = events
        assert isinstance(event, CommandAccepted) is expected[command_id]
        assert (event.actor, event.role, event.token_id) == ("kim", role, f"token of {role}")


async def test_the_record_names_the_subject_of_the_token_and_nobody_else(
    guarded: RunningRecorder,
) -> None:
    session_id = await begun(guarded, "kim")
    token = secret_token("kim")
    body = {"session_id": session_id, "text": "valve", "by": "the boss"}
    refused = await answer(guarded, Command.MARK, body, token)
    assert isinstance(refused, SessionRejected)
    assert (refused.field, refused.got) == ("authorization", "the boss")
    for by in ("", "kim"):
        found = await answer(guarded, Command.MARK, body | {"by": by}, token)
        assert isinstance(found, Control)
        assert found.by == "kim"
    await ended(guarded, session_id)
    recording = guarded.folder(session_id)
    bodies = [
        json.loads(path.read_bytes())["by"] for path in sorted((recording / "marks").iterdir())
    ]
    assert bodies == ["", "kim"]
    assert [mark.by for mark in mark_records(guarded, session_id)] == ["kim", "kim"]


def mark_records(recorder: RunningRecorder, session_id: str) -> list[MarkRecord]:
    stream = FolderRecording(recorder.folder(session_id)).stream("records")
    records = [decode_record(record) for record in unframed(stream)]
    return [record for record in records if isinstance(record, MarkRecord)]


async def test_a_start_that_is_repeated_by_another_is_no_repetition(
    guarded: RunningRecorder,
) -> None:
    session_id = str(uuid.uuid4())
    body = {"session_id": session_id, "source": LIVE}
    started = await answer(guarded, Command.START, body, key_token("kim"))
    assert isinstance(started, SessionStarted)
    assert started.owner == "kim"
    found = await answer(guarded, Command.START, body, key_token("jo"))
    assert isinstance(found, SessionRejected)
    assert (found.field, found.expected) == ("session_id", "a session id that is not in use")
    again = await send(guarded, Command.START, json.dumps(body).encode(), key_token("kim"))
    assert isinstance(await in_trail(guarded, again), CommandAccepted)
    await ended(guarded, session_id)
    assert len(await guarded.facts(Fact.STARTED, session_id)) == 1


# --- tokens that do not count --------------------------------------------------------------------


async def test_what_carries_no_good_token_is_denied_and_does_nothing(
    guarded: RunningRecorder,
) -> None:
    session_id = await begun(guarded, "kim")
    now_s = int(time.time())
    good = claims("kim", "SUPER_ADMIN")
    tokens = {
        "none": None,
        "empty": "",
        "forged": forged({"alg": "none"}, good),
        "confused": forged({"alg": "HS256", "kid": "ed"}, good, key=public_pem(ED25519)),
        "late": key_token("kim", exp=now_s - SKEW_S - MINUTES),
        "early": key_token("kim", nbf=now_s + SKEW_S + MINUTES),
    }
    known = {"late", "early"}
    for name, token in tokens.items():
        start = {"session_id": str(uuid.uuid4()), "source": SHORT}
        for command, body in ((Command.STOP, {"session_id": session_id}), (Command.START, start)):
            found = await answer(guarded, command, body, token)
            assert isinstance(found, SessionRejected), name
            assert found.field == "authorization", name
            event = await in_trail(guarded, found.command_id)
            assert isinstance(event, CommandDenied)
            assert event.command_blake3 == blake3(json.dumps(body).encode()).hexdigest()
            assert (event.session_id, event.field) == (body["session_id"], "authorization")
            assert (event.actor, event.role) == (("kim", "USER") if name in known else ("", ""))
            assert not token or token not in event.reason
        assert await guarded.client.last(Fact.STARTED, str(start["session_id"])) is None
    for token in (
        key_token("kim", exp=int(time.time()) - 1),
        key_token("kim", nbf=int(time.time()) + SKEW_S // 2),
    ):
        body = {"session_id": session_id, "text": "within the skew"}
        assert isinstance(await answer(guarded, Command.MARK, body, token), Control)
    assert await guarded.facts(Fact.SEALED, session_id) == []
    await ended(guarded, session_id)


async def test_the_header_is_read_as_http_reads_it(guarded: RunningRecorder) -> None:
    session_id = await begun(guarded, "kim")
    token = key_token("kim")
    good = [{"authorization": f"bearer {token}"}, {"AUTHORIZATION": f"  BEARER   {token}"}]
    bad = [{"Authorization": token}, {"Authorization": f"Basic {token}"}, {"X-Token": token}]
    sent: dict[str, bool] = {}
    for header in (*good, *bad):
        command_id = uuid.uuid4().hex
        body = json.dumps({"session_id": session_id}).encode()
        await guarded.jetstream.publish(
            Command.MARK.value, body, headers={"Nats-Msg-Id": command_id} | header
        )
        sent[command_id] = header in good
    for command_id, accepted in sent.items():
        event = await in_trail(guarded, command_id)
        assert isinstance(event, CommandAccepted) is accepted
    await ended(guarded, session_id)


async def test_whoever_may_send_nothing_is_told_nothing_else(guarded: RunningRecorder) -> None:
    async def field(body: bytes, token: str | None) -> str:
        event = await in_trail(guarded, await send(guarded, Command.STOP, body, token))
        assert isinstance(event, CommandDenied)
        assert event.session_id == UNKNOWN_SESSION
        assert event.actor == ("kim" if token else "")
        return event.field

    bad = b'{"session_id": 7}'
    assert await field(bad, None) == "authorization"
    assert await field(bad, key_token("kim")) == "session_id"
    assert await field(b"{", None) == "authorization"
    assert await field(b"{", key_token("kim")) == "$"


# --- what a client has ---------------------------------------------------------------------------


async def test_a_client_with_a_token_does_what_its_role_may(guarded: RunningRecorder) -> None:
    async with (
        RecorderClient.connect(guarded.url, bearer=secret_token("kim")) as kim,
        RecorderClient.connect(guarded.url, bearer=secret_token("jo")) as jo,
    ):
        started = await kim.start(LIVE)
        assert (started.owner, started.identity.actor) == ("kim", "kim")
        with pytest.raises(RefusedError, match=r"jo's own to stop, got one that is not"):
            await jo.effect(
                lambda: jo.stop(started.session_id),
                started.session_id,
                lambda seen: seen.fact is Fact.SEALED,
                DEADLINE_S,
            )
        await kim.stop(started.session_id)
        assert (await kim.wait_sealed(started.session_id, DEADLINE_S)).reason.value == "stopped"
    with pytest.raises(RefusedError, match="a token, in the header"):
        await guarded.client.start(SHORT, timeout_s=DEADLINE_S)
    for bad in ("two words", "line\r\nNats-Msg-Id: 7", "é"):
        with pytest.raises(RefusedError, match="one word"):
            async with RecorderClient.connect(guarded.url, bearer=bad):
                pass


async def test_the_command_line_issues_sends_and_revokes(
    guarded: RunningRecorder, tmp_path: Path
) -> None:
    env = {"RECORDER_AUTH__HS256_SECRET": SECRET, "RECORDER_NATS__URL": guarded.url}

    async def recorder(*words: str, refused: str = "", **more: str) -> str:
        """Run a command in a process: its output, once it has ended as it should."""
        run = partial(run_recorder, *words, folder=tmp_path, env=env | more)
        ended = await asyncio.to_thread(run)
        assert refused in ended.stderr, (words, ended)
        assert (ended.returncode != 0) is bool(refused), (words, ended)
        return ended.stdout.strip()

    token = await recorder("token", "issue", "--subject", "kim", "--id", "t1")
    path = tmp_path / "token"
    path.write_text(f"{token}\n")
    file = ("--token-file", str(path))
    shown = await recorder("token", "inspect", *file)
    assert "kim" in shown
    assert "its own" in shown
    assert token not in shown
    session_id = await recorder("start", "pattern", *file)
    await recorder("mark", session_id, "by variable", RECORDER_AUTH__BEARER=token)
    await recorder("pause", session_id, RECORDER_AUTH__BEARER_FILE=str(path))
    await recorder("resume", session_id, refused="authorization: expected a token, in the header")
    await recorder("token", "revoke", *file, "--reason", "lost on a train")
    await recorder("resume", session_id, *file, refused="got one that is: lost on a train")
    await recorder("token", "revoke", "--subject", "kim", "--lasts", "3600")
    await recorder("token", "unrevoke", "--id", "t1")
    await recorder("resume", session_id, *file, refused="got one that is: no reason was given")
    await recorder("token", "unrevoke", "--subject", "kim")
    await recorder("token", "unrevoke", "--subject", "kim", refused="nothing was changed")
    await recorder("token", "revoke", refused="expected --id, --subject, or --token-file")
    await recorder("resume", session_id, *file)
    await recorder("stop", session_id, *file)
    await recorder("stop", session_id, "--token-file", "nowhere", refused="--token-file: expected")


async def test_an_ed25519_key_issues_what_its_jwk_set_checks(tmp_path: Path) -> None:
    key, jwks = tmp_path / "issuer.pem", tmp_path / "jwks.json"
    key.write_bytes(pem(ED25519))
    env = {"RECORDER_AUTH__AUDIENCE": "lab", "RECORDER_AUTH__JWKS_FILE": str(jwks)}

    async def recorder(*words: str, **more: str) -> CompletedProcess[str]:
        run = partial(run_recorder, *words, folder=tmp_path, env=env | more)
        return await asyncio.to_thread(run)

    made = await recorder("token", "jwks", str(key))
    assert "PRIVATE" not in made.stdout + made.stderr
    jwks.write_text(made.stdout)
    words = ("token", "issue", "--subject", "root", "--role", "ADMIN", "--key", str(key))
    token = (await recorder(*words)).stdout.strip()
    told = await recorder("token", "inspect", "--json", RECORDER_AUTH__BEARER=token)
    shown = json.loads(told.stdout)
    assert (shown["subject"], shown["role"], shown["sessions"]) == ("root", "ADMIN", "all")
    elsewhere = {"RECORDER_AUTH__BEARER": token, "RECORDER_AUTH__AUDIENCE": "plant"}
    refused = await recorder("token", "inspect", **elsewhere)
    assert "a token for this recorder (aud)" in refused.stderr


# --- the stream ----------------------------------------------------------------------------------


async def test_the_trail_cannot_be_cut_and_is_kept_for_its_time(guarded: RunningRecorder) -> None:
    info: StreamInfo = await guarded.jetstream.stream_info(AUDIT_STREAM)
    assert info.config.deny_delete
    assert info.config.deny_purge
    assert info.config.max_age == guarded.settings.audit.max_age_s == 90 * 24 * 3600
    token = secret_token("kim")
    await in_trail(guarded, await send(guarded, Command.STOP, b"stop!", token))
    stored = await guarded._stored(AUDIT_STREAM, "audit.>")
    ids = [(message.headers or {})["Nats-Msg-Id"] for message in stored]
    assert len(ids) == len(set(ids)) > 0
    for message in stored:
        headers = message.headers or {}
        assert headers["ce-type"] == f"{message.subject}.v1"
        assert SECRET.encode() not in (message.data or b"")
        assert token.encode() not in (message.data or b"")


async def test_a_view_and_an_export_are_in_the_trail_once_a_request(
    guarded: RunningRecorder,
) -> None:
    log = JetStreamEventLog(lambda: guarded.jetstream, EventHeaders("gateway"))
    trail = AuditTrail(log, SystemClock(), "gateway")
    root = Identity(actor="root", role="ADMIN", token_id="7")
    for key in ("one", "one", "two"):
        await trail.viewed(root, session_id="*", what="list", key=key)
        await trail.exported(root, session_id="*", what="proof", detail="chunk 3", key=key)
    for fact in (Fact.AUDIT_VIEWED, Fact.AUDIT_EXPORTED):
        stored = await guarded._stored(AUDIT_STREAM, fact.value)
        ids = [(message.headers or {})["Nats-Msg-Id"] for message in stored]
        assert ids == [f"{fact.value}:one", f"{fact.value}:two"]
        for message in stored:
            event = codec.decode(fact, message.data or b"")
            assert isinstance(event, RecordingViewed | RecordingExported)
            assert (event.actor, event.session_id, event.node) == ("root", "*", "gateway")


async def test_an_open_recorder_keeps_the_trail_too(recorder: RunningRecorder) -> None:
    started = await recorder.client.start(LIVE, owner="kim")
    session_id = started.session_id
    accepted = [started.command_id]
    accepted += [
        await recorder.client.mark(session_id, "t", by="jo"),
        await recorder.client.stop(session_id),
    ]
    await recorder.sealed(session_id)
    denied = await send(recorder, Command.STOP, b"stop!", secret_token("root", "ADMIN"))
    for command_id in accepted:
        event = await in_trail(recorder, command_id)
        assert isinstance(event, CommandAccepted)
        assert (event.actor, event.role, event.session_id) == ("", "", session_id)
    event = await in_trail(recorder, denied)
    assert isinstance(event, CommandDenied)
    assert (event.actor, event.field, event.session_id) == ("", "$", UNKNOWN_SESSION)
    assert [mark.by for mark in mark_records(recorder, session_id)] == ["jo"]
