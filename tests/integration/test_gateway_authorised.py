"""The gateway where tokens are asked for: who is told what, and what the audit trail has of it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from guarded_recorder import answer
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from tokens import SECRET, claims, forged, secret_token

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.bus import StreamFill
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import (
    CommandDenied,
    Event,
    RecordingExported,
    RecordingViewed,
    SessionStarted,
)
from recorder_worker.core.subjects import SETTLING, Command, Endpoint, Fact
from recorder_worker.integrations.audit_room import LOOK_NS, AuditRoom
from recorder_worker.service.settings.tree import AuthSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
KIM, ROBIN = secret_token("kim", "USER"), secret_token("robin", "USER")
ADMIN = secret_token("root", "ADMIN")
FORGED = forged(
    {"alg": "HS256"}, claims("root", "ADMIN"), key=b"a secret that is not the recorder's"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    auth = AuthSettings(mode="jwt", hs256_secret=SECRET)
    async with RunningRecorder(settings_in(folder, auth=auth)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kims(guarded: RunningRecorder) -> str:
    """A sealed session of Kim's, once the gateway knows it."""
    session_id = str(uuid.uuid4())
    body = {"session_id": session_id, "source": SHORT}
    assert isinstance(await answer(guarded, Command.START, body, KIM), SessionStarted)
    await guarded.sealed(session_id)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            _, found = await ask(guarded, Endpoint.GET, ADMIN, session_id=session_id)
            if found.get("state") == "sealed":
                return session_id
            await asyncio.sleep(POLL_S)


class FixedClock(SystemClock):
    """A clock that is moved by hand."""

    now_ns = LOOK_NS

    def monotonic_ns(self) -> int:
        return self.now_ns


async def ask(
    recorder: RunningRecorder, endpoint: Endpoint, token: str, **request: object
) -> tuple[int, dict[str, Any]]:
    """The code (0: it was answered) and the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else None
    message = await recorder.bus.request(
        endpoint.value, json.dumps(request).encode(), timeout=DEADLINE_S, headers=headers
    )
    code = (message.headers or {}).get("Nats-Service-Error-Code", "0")
    return int(code), json.loads(message.data)


async def trail(recorder: RunningRecorder, fact: Fact, actor: str) -> list[Event]:
    """What the audit trail has of somebody."""
    found = await recorder.facts(fact, "")
    return [event for event in found if getattr(event, "actor", None) == actor]


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("token", ["", FORGED, secret_token("kim", "GUEST")])
async def test_nobody_without_a_good_token_is_told_anything(
    guarded: RunningRecorder, kims: str, endpoint: Endpoint, token: str
) -> None:
    request: dict[str, object] = {}
    if endpoint in {Endpoint.GET, Endpoint.PROOF}:
        request["session_id"] = kims
    if endpoint is Endpoint.PROOF:
        request["chunk"] = 1
    if endpoint in SETTLING:
        request |= {"letter": "0" * 16, "why": "a reason"}
    code, found = await ask(guarded, endpoint, token, **request)
    assert (code, found["field"]) == (403, "authorization")
    assert kims not in json.dumps(found)


async def test_a_user_sees_what_is_his_and_does_not_learn_of_the_rest(
    guarded: RunningRecorder, kims: str
) -> None:
    assert (await ask(guarded, Endpoint.GET, KIM, session_id=kims))[1]["owner"] == "kim"
    _, listed = await ask(guarded, Endpoint.LIST, KIM)
    assert kims in [session["session_id"] for session in listed["sessions"]]

    absent = str(uuid.uuid4())
    theirs = await ask(guarded, Endpoint.GET, ROBIN, session_id=kims)
    missing = await ask(guarded, Endpoint.GET, ROBIN, session_id=absent)
    assert theirs[0] == missing[0] == 404
    assert json.dumps(theirs[1]).replace(kims, absent) == json.dumps(missing[1])
    _, listed = await ask(guarded, Endpoint.LIST, ROBIN)
    assert listed["sessions"] == []
    _, counted = await ask(guarded, Endpoint.STATS, ROBIN)
    assert counted["totals"]["frame_count"] == 0

    denied = await trail(guarded, Fact.AUDIT_DENIED, "robin")
    assert kims in {event.session_id for event in denied if isinstance(event, CommandDenied)}
    seen = await trail(guarded, Fact.AUDIT_VIEWED, "robin")
    assert kims not in {event.session_id for event in seen if isinstance(event, RecordingViewed)}


async def test_an_admin_sees_all_and_what_he_takes_is_on_record(
    guarded: RunningRecorder, kims: str
) -> None:
    assert (await ask(guarded, Endpoint.PROOF, ADMIN, session_id=kims, chunk=1))[0] == 0
    (exported,) = await trail(guarded, Fact.AUDIT_EXPORTED, "root")
    assert isinstance(exported, RecordingExported)
    assert (exported.role, exported.session_id, exported.what) == ("ADMIN", kims, "proof")


async def test_a_user_is_given_no_proofs_unless_his_role_may_export(
    guarded: RunningRecorder, kims: str
) -> None:
    code, found = await ask(guarded, Endpoint.PROOF, KIM, session_id=kims, chunk=1)
    assert (code, found["field"]) == (403, "authorization")
    assert "export" in found["expected"]
    assert any(
        isinstance(event, CommandDenied) and (event.command, event.session_id) == ("proof", kims)
        for event in await trail(guarded, Fact.AUDIT_DENIED, "kim")
    )


async def test_however_often_nobody_asks_the_trail_has_an_event_in_a_while(
    guarded: RunningRecorder, kims: str
) -> None:
    """There is no limit to how often: they would fill the stream, and then commands wait."""
    before = len(await trail(guarded, Fact.AUDIT_DENIED, ""))
    for _ in range(50):
        code, _ = await ask(guarded, Endpoint.GET, FORGED, session_id=kims)
        assert code == 403
    assert len(await trail(guarded, Fact.AUDIT_DENIED, "")) - before <= 1


async def test_the_last_part_of_the_trail_is_for_commands() -> None:
    """Full for whoever asks is not full for whoever commands."""
    fill = StreamFill(stored_bytes=899, max_bytes=1000)
    clock = FixedClock()

    async def seen() -> StreamFill:
        return fill

    room = AuditRoom(seen, clock)
    await room.check()
    fill = StreamFill(stored_bytes=900, max_bytes=1000)
    await room.check()  # it was looked up a moment ago
    clock.now_ns += LOOK_NS + 1
    with pytest.raises(BusUnavailableError, match=r"audit\.max_bytes"):
        await room.check()
    fill = StreamFill(stored_bytes=10**9, max_bytes=-1)
    clock.now_ns += LOOK_NS + 1
    await room.check()
