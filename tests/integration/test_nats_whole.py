"""All that a recorder does, on a server on which everybody has the rights of his user alone.

Tokens, encryption, gateway, audit trail, heartbeats, `/status`: every part at once, and nothing is
refused that a part needs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyrage
import pytest
import pytest_asyncio
from running_recorder import DEADLINE_S, POLL_S
from secured_nats import SecuredNats
from tokens import JWKS, SECRET, key_token, secret_token
from worker_process import WorkerProcess, run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.objects.store import ObjectStore
from recorder_worker.bus.rights import stage_rights
from recorder_worker.bus.rights.permissions import API_PREFIX
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import AnchorReceipt, NodeHeartbeat, SessionRetention
from recorder_worker.core.keys import AUDIT
from recorder_worker.core.subjects import SESSIONS_BUCKET, Endpoint, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

PATTERN = {"kind": "pattern", "width": 32, "height": 32, "frames": 20, "pace": "fast"}
LIVE = {"kind": "pattern", "width": 32, "height": 32}
ALICE = key_token("alice", "USER", jti="of-alice")
KEYS = "recorder-keys"
NOBODYS = "00000000-0000-4000-8000-00000000dead"
BOSS = secret_token("boss", "ADMIN")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNats]:
    folder = tmp_path_factory.mktemp("whole")
    tokens = {
        "RECORDER_AUTH__MODE": "jwt",
        "RECORDER_AUTH__HS256_SECRET": SECRET,
        "RECORDER_AUTH__JWKS_BUCKET": KEYS,
        "RECORDER_STORAGE__KIND": "nats",
        "RECORDER_STORAGE__BUCKET": "copies",
        "RECORDER_STORAGE__SWEEP_S": "0.5",
    }
    with SecuredNats(folder, "--client", "alice", "--client", "bob", env=tokens) as nats:
        nats.apply_streams()
        asyncio.run(put_keys(nats))
        yield nats


async def put_keys(secured: SecuredNats) -> None:
    """As the user deploy, who alone may."""
    bus = await secured.connect("deploy", [])
    await (await bus.jetstream().key_value(KEYS)).put("jwks", json.dumps(JWKS).encode())
    await bus.close()


@pytest.fixture(scope="module")
def workers(secured: SecuredNats) -> Iterator[dict[str, WorkerProcess]]:
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    quick = {
        "RECORDER_CAPTURE__SEGMENT_S": "0.25",
        "RECORDER_ENCRYPTION__RECIPIENTS": recipient,
        "RECORDER_NODES__HEARTBEAT_S": "0.5",
        "RECORDER_AUDIT__DIGEST_S": "0.5",
    }
    with ExitStack() as stack:
        yield {
            stage: stack.enter_context(
                WorkerProcess(secured.folder, stage, env=secured.variables(stage) | quick)
            )
            for stage in stage_rights.workers()
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session_id(secured: SecuredNats, workers: dict[str, WorkerProcess]) -> AsyncIterator[str]:
    """A session of alice, recorded to its end."""
    async with RecorderClient.connect(secured.login("alice"), bearer=ALICE) as client:
        started = await client.start(PATTERN, timeout_s=DEADLINE_S)
        await client.wait_sealed(started.session_id, DEADLINE_S)
    report = verify(FolderRecording(workers["merkle"].data_dir / "sessions" / started.session_id))
    assert report.verdict is Verdict.COMPLETE
    yield started.session_id


async def ask(
    secured: SecuredNats, user: str, endpoint: Endpoint, token: str, **request: object
) -> dict[str, Any]:
    """One request to the gateway."""
    refusals: list[str] = []
    bus = await secured.connect(user, refusals)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        body = json.dumps(request).encode()
        answer = await bus.request(endpoint.value, body, timeout=DEADLINE_S, headers=headers)
        found: dict[str, Any] = json.loads(answer.data)
    finally:
        await bus.close()
    assert refusals == []
    return found


async def becomes(what: Callable[[], Any]) -> Any:  # noqa: ANN401  (whatever it waits for)
    """What a coroutine function gives, once that is something."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if found := await what():
                return found
            await asyncio.sleep(POLL_S)


async def test_a_client_and_an_admin_ask_the_gateway(secured: SecuredNats, session_id: str) -> None:
    async def listed() -> list[str]:
        answer = await ask(secured, "alice", Endpoint.LIST, ALICE)
        return [one["session_id"] for one in answer["sessions"] if one["state"] == "sealed"]

    assert await becomes(listed) == [session_id]
    proof = await ask(secured, "admin", Endpoint.PROOF, BOSS, session_id=session_id, leaf=0)
    assert "code" not in proof
    stats = await ask(secured, "admin", Endpoint.STATS, BOSS)
    assert stats["states"] == {"sealed": 1}
    assert {"capture", "tsa", "table"} <= {stage["stage"] for stage in stats["stages"]}
    # He has rights on the bus, and no token that says more of him than that he is bob.
    bob = secret_token("bob", "USER")
    assert (await ask(secured, "bob", Endpoint.LIST, bob))["sessions"] == []
    assert (await ask(secured, "bob", Endpoint.GET, bob, session_id=session_id))["code"] in {
        403,
        404,
    }
    assert (await ask(secured, "bob", Endpoint.LIST, "none"))["code"] == 403


async def test_the_example_of_a_gateway_client_works_with_a_user(
    secured: SecuredNats, session_id: str
) -> None:
    """As docs/nats.md says it: the login in the URL."""
    login = secured.login("alice")
    url = login.servers[0].replace("://", f"://{login.user}:{login.password}@")
    example = Path(__file__).parents[2] / "examples" / "gateway_client.py"
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, str(example), "--nats", url, "--token", ALICE, "get", session_id),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asking.communicate()
    assert asking.returncode == 0
    assert json.loads(said)["session_id"] == session_id


async def test_the_service_is_found_by_its_name(secured: SecuredNats, session_id: str) -> None:
    del session_id
    for user in ("alice", "admin", "observer"):
        bus = await secured.connect(user, [])
        for subject in ("$SRV.PING", "$SRV.INFO.session-recorder", "$SRV.STATS.session-recorder"):
            answer = json.loads((await bus.request(subject, b"", timeout=DEADLINE_S)).data)
            assert answer["name"] == "session-recorder"
        one = f"$SRV.PING.session-recorder.{answer['id']}"
        assert (await bus.request(one, b"", timeout=DEADLINE_S)).data
        await bus.close()


async def test_a_revoked_token_counts_at_once_and_the_audit_trail_has_it(
    secured: SecuredNats, workers: dict[str, WorkerProcess], session_id: str
) -> None:
    del session_id
    token = secret_token("alice", "USER", jti="lost")
    async with RecorderClient.connect(secured.login("alice"), bearer=token) as client:
        running = await client.start(LIVE, timeout_s=DEADLINE_S)
        revoked = run_recorder(
            *("token", "revoke", "--id", "lost", "--reason", "lost on a train"),
            folder=secured.folder,
            env=secured.variables("admin"),
        )
        assert revoked.returncode == 0, revoked.stderr
        with pytest.raises(RefusedError, match="lost on a train"):
            await client.start(PATTERN, timeout_s=DEADLINE_S)
    back = run_recorder(
        "token", "unrevoke", "--id", "lost", folder=secured.folder, env=secured.variables("admin")
    )
    assert back.returncode == 0, back.stderr
    async with RecorderClient.connect(secured.login("admin"), bearer=BOSS) as admin:
        await admin.stop(running.session_id)
        await admin.wait_sealed(running.session_id, DEADLINE_S)

    trail = workers["merkle"].data_dir / AUDIT

    async def entered() -> bool:
        return any(b"lost on a train" in bundle.read_bytes() for bundle in trail.glob("0*"))

    await becomes(entered)


async def test_an_observer_hears_heartbeats_and_watches_the_table(
    secured: SecuredNats, workers: dict[str, WorkerProcess], session_id: str
) -> None:
    del workers
    refusals: list[str] = []
    bus = await secured.connect("observer", refusals)
    beats = await bus.subscribe(Fact.NODE_HEARTBEAT.wildcard)
    stages: set[tuple[str, ...]] = set()
    async with asyncio.timeout(DEADLINE_S):
        while len(stages) < 4:
            message = await beats.next_msg(timeout=DEADLINE_S)
            beat = codec.decode(Fact.NODE_HEARTBEAT, message.data)
            assert isinstance(beat, NodeHeartbeat)
            stages.add(beat.stages)
    entries = await bus.subscribe(f"$KV.{SESSIONS_BUCKET}.>")
    await bus.flush()
    bucket = await bus.jetstream(prefix=API_PREFIX).key_value(SESSIONS_BUCKET)
    assert (await bucket.get(session_id)).value
    async with RecorderClient.connect(secured.login("alice"), bearer=ALICE) as client:
        started = await client.start(PATTERN, timeout_s=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        # What becomes of sessions before may still be written to the table.
        while not (await entries.next_msg(DEADLINE_S)).subject.endswith(started.session_id):
            pass
    await bus.close()
    assert refusals == []


async def test_an_admin_holds_releases_and_deletes_and_the_owner_hears_of_it(
    secured: SecuredNats, workers: dict[str, WorkerProcess], session_id: str
) -> None:
    del session_id
    root = secret_token("root", "SUPER_ADMIN")
    async with (
        RecorderClient.connect(secured.login("alice"), bearer=ALICE) as alice,
        RecorderClient.connect(secured.login("admin"), bearer=root) as admin,
    ):
        started = await alice.start(PATTERN, timeout_s=DEADLINE_S)
        name = started.session_id
        await alice.wait_sealed(name, DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S), alice.follow(name, history=False) as facts:
            await admin.hold(name, "case 12/26")
            await admin.release(name, "closed")
            await admin.delete(name, "asked for")
            heard: list[str] = []
            async for seen in facts:
                if isinstance(seen.event, SessionRetention):
                    heard.append(seen.event.kind)
                if "tombstone" in heard:
                    break
    assert heard == ["hold", "release", "delete", "tombstone"]
    report = verify(FolderRecording(workers["merkle"].data_dir / "sessions" / name))
    assert report.verdict is Verdict.REDACTED
    assert report.retention.removal is not None
    assert (report.retention.removal.by, report.retention.removal.key_removed) == ("root", True)


async def test_the_status_of_every_worker_is_complete(
    workers: dict[str, WorkerProcess], session_id: str
) -> None:
    for worker in workers.values():

        async def complete(port: int = worker.sidecar_port) -> dict[str, Any] | None:
            status: dict[str, Any] = await asyncio.to_thread(_status, port)
            return status if not status["missing"] else None

        status = await becomes(complete)
        assert session_id in [one["session_id"] for one in status["sessions"]]


def _status(port: int) -> Any:  # noqa: ANN401  (JSON)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=30) as answer:
        return json.load(answer)


async def test_copies_in_a_bucket_of_nats_are_made_deleted_and_fetched_by_the_user_merkle(
    secured: SecuredNats, workers: dict[str, WorkerProcess], session_id: str, tmp_path: Path
) -> None:
    marker = workers["merkle"].data_dir / "copies" / session_id

    async def archived() -> bool:
        return marker.exists()

    await becomes(archived)
    fetch = ("fetch", session_id, str(tmp_path / "back"))
    back = run_recorder(*fetch, folder=secured.folder, env=secured.variables("merkle"))
    assert back.returncode == 0, back.stdout + back.stderr
    refused = run_recorder(
        "fetch", "--list", folder=secured.folder, env=secured.variables("observer")
    )
    assert refused.returncode == 74
    assert "refuses this user" in refused.stderr
    store = ObjectStore(secured.login("merkle"), "copies")
    store.put("sessions/other/seal", b"seal")
    store.delete_below("sessions/other")
    store.clear_leftovers(older_than_s=86_400.0)
    assert session_id in store.children("sessions")
    assert "other" not in store.children("sessions")
    store.close()


async def test_an_admin_looks_at_dead_letters_and_settles_them(
    secured: SecuredNats, session_id: str
) -> None:
    """A receipt of nobody we know, by an engine that may publish receipts."""
    del session_id
    engine = await secured.connect("anchor", [])
    receipt = AnchorReceipt(
        origin="somebody/else",
        tree_size=1,
        root_hash="0" * 64,
        session_id=NOBODYS,
        kind="rfc3161",
        target="nowhere",
        receipt=b"none",
    )
    await engine.publish(Fact.ANCHOR_RECEIPT.value, codec.encode(receipt))
    await engine.close()
    admin = secured.variables("admin") | {"RECORDER_AUTH__BEARER": BOSS}

    def run(*arguments: str, code: int = 0) -> Any:  # noqa: ANN401  (JSON)
        ended = run_recorder(*arguments, "--json", folder=secured.folder, env=admin)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    async def letters(count: int) -> Any:  # noqa: ANN401  (JSON)
        async def enough() -> Any:  # noqa: ANN401  (JSON)
            found = await asyncio.to_thread(run, "dead", "ls", "--all")
            return found if len(found) >= count else None

        return await becomes(enough)

    (letter,) = await letters(1)
    assert (letter["stage"], letter["error"]) == ("receipts", "BlobMissingError")
    told = run("dead", "retry", letter["letter"], "--why", "to see it fail")
    assert (told["first"], told["settled"]["actor"]) == (True, "boss")
    _, again = await letters(2)
    assert (again["retry_of"], again["stack"]) == (letter["letter"], letter["stack"])
    told = run("dead", "drop", again["letter"], "--why", "of nobody")
    assert told["settled"]["action"] == "dropped"
    shown = run("dead", "show", letter["letter"])
    assert shown["failed_again_as"] == [again["letter"]]
    looked = run("doctor")
    assert (looked["findings"], looked["not_looked_at"]) == ([], [])


async def test_nothing_was_refused_to_any_worker(
    secured: SecuredNats, workers: dict[str, WorkerProcess], session_id: str
) -> None:
    """The last one of this file: it looks at what all the others left in the logs."""
    del session_id
    for name, worker in workers.items():
        events = {line.get("event") for line in worker.lines}
        assert "WorkerStarted" in events
        told = [line for line in worker.lines if line.get("level") in {"error", "critical"}]
        assert not [line for line in told if NOBODYS not in json.dumps(line)], name
        assert not events & {"BusPermissionDenied", "IntegrationLeftOut", "NodeFactNotTold"}, name
    # But for the observer, who has tried to list copies above.
    lines = [line for line in secured.server.log.splitlines() if "Violation" in line]
    assert [line for line in lines if "OBJ_copies" not in line] == []
