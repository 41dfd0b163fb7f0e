"""The gateway and the table of sessions, asked over NATS as any client would."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in

from recorder_worker.bus import micro_service
from recorder_worker.bus.sessions import batched_get
from recorder_worker.bus.streams.topology import AUDIT_STREAM, SESSIONS_STREAM
from recorder_worker.core.events import SessionSealed
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_file import InclusionFile, decode_proof
from recorder_worker.core.lifecycle import State
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import SESSIONS_BUCKET, Endpoint, Fact
from recorder_worker.integrations import gateway
from recorder_worker.service.settings.tree import CaptureSettings

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 16, "height": 16}
CODE = "Nats-Service-Error-Code"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRecorder]:
    capture = CaptureSettings(segment_s=0.25, retry_s=1.0, checkpoint_s=1.0)
    settings = settings_in(tmp_path_factory.mktemp("recorder"), capture=capture)
    async with RunningRecorder(settings) as running:
        yield running


async def ask(recorder: RunningRecorder, endpoint: Endpoint, request: object = None) -> Msg:
    body = b"" if request is None else json.dumps(request).encode()
    return await recorder.bus.request(endpoint.value, body, timeout=DEADLINE_S)


async def answer(recorder: RunningRecorder, endpoint: Endpoint, request: object = None) -> Any:  # noqa: ANN401  (JSON)
    message = await ask(recorder, endpoint, request)
    assert CODE not in (message.headers or {}), message.data
    return json.loads(message.data)


async def service(recorder: RunningRecorder, what: str) -> Any:  # noqa: ANN401  (JSON)
    """What the service says of itself; nats-py waits half a second for an answer unless told."""
    message = await recorder.bus.request(f"$SRV.{what}.session-recorder", b"", timeout=DEADLINE_S)
    return json.loads(message.data)


async def error(recorder: RunningRecorder, endpoint: Endpoint, request: object) -> dict[str, Any]:
    message = await ask(recorder, endpoint, request)
    headers = message.headers or {}
    found: dict[str, Any] = json.loads(message.data)
    assert headers[CODE] == str(found["code"])
    assert headers["Nats-Service-Error"]
    assert all(found[name] for name in ("field", "expected", "got", "hint"))
    return found


async def entry(
    recorder: RunningRecorder, session_id: str, wanted: Callable[[SessionEntry], bool]
) -> SessionEntry:
    """The entry in the bucket, once it is as wanted."""
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)
    watcher = await bucket.watch(session_id, ignore_deletes=True)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                update = await watcher.updates(timeout=DEADLINE_S)  # type: ignore[no-untyped-call]
                if update is None:
                    continue
                found = msgspec.json.decode(update.value, type=SessionEntry)
                if wanted(found):
                    return found
    finally:
        await watcher.stop()  # type: ignore[no-untyped-call]


async def recorded(recorder: RunningRecorder, **options: Any) -> SessionSealed:  # noqa: ANN401  (fields of session.start)
    started = await recorder.client.start(SMALL, **options)
    sealed = await recorder.sealed(started.session_id)
    await entry(recorder, started.session_id, lambda found: found.state is State.SEALED)
    return sealed


async def test_the_service_is_found_with_its_endpoints(recorder: RunningRecorder) -> None:
    ping = await service(recorder, "PING")
    info = await service(recorder, "INFO")
    assert ping["name"] == info["name"] == "session-recorder"
    assert {one["subject"] for one in info["endpoints"]} == set(Endpoint)
    assert {one["queue_group"] for one in info["endpoints"]} == {"q"}, "replicas share"
    names = {"list", "get", "proof", "stats", "dead-retry", "dead-drop"}
    assert {one["name"] for one in info["endpoints"]} == names
    before = await service(recorder, "STATS")
    await answer(recorder, Endpoint.STATS)
    after = await service(recorder, "STATS")
    counts = [
        {one["name"]: one["num_requests"] for one in stats["endpoints"]}
        for stats in (before, after)
    ]
    assert counts[1]["stats"] == counts[0]["stats"] + 1


async def test_get_tells_what_is_known_of_a_session(recorder: RunningRecorder) -> None:
    sealed = await recorded(recorder, owner="kim", labels={"ticket": "4711"})
    found = await answer(recorder, Endpoint.GET, {"session_id": sealed.session_id})
    assert found["state"] == "sealed"
    assert (found["owner"], found["labels"]) == ("kim", {"ticket": "4711"})
    assert (found["root_hash"], found["tree_size"]) == (sealed.root_hash, sealed.tree_size)
    assert (found["location"], found["reason"]) == (sealed.location, "source_ended")
    assert found["totals"]["frame_count"] == sealed.frame_count == 3
    assert found["source"]["kind"] == "pattern"


async def test_the_bucket_follows_a_session_as_it_goes(recorder: RunningRecorder) -> None:
    started = await recorder.client.start(LIVE, owner="ada")
    session_id = started.session_id
    await entry(recorder, session_id, lambda found: found.state is State.RECORDING)
    await recorder.client.pause(session_id)
    paused = await entry(recorder, session_id, lambda found: found.state is State.PAUSED)
    await recorder.client.resume(session_id)
    await entry(recorder, session_id, lambda found: found.state is State.RECORDING)
    await recorder.client.stop(session_id)
    ended = await entry(recorder, session_id, lambda found: found.state is State.SEALED)
    assert paused.owner == ended.owner == "ada"
    assert ended.reason == "stopped"
    assert ended.totals.gap_count == 1


async def test_an_armed_session_is_told_as_armed_until_it_is_triggered(
    recorder: RunningRecorder,
) -> None:
    session_id = (await recorder.client.start(LIVE, fps=20, pre_record_s=0.2)).session_id
    await entry(recorder, session_id, lambda found: found.state is State.ARMED)
    await recorder.client.mark(session_id, "somebody rang", type="bell")
    marked = await entry(recorder, session_id, lambda found: found.totals.mark_count >= 2)
    assert (marked.state, marked.pre_record_s) == (State.ARMED, 0.2)
    listed = await answer(recorder, Endpoint.LIST, {"state": "armed"})
    assert [one["session_id"] for one in listed["sessions"]] == [session_id]
    await recorder.client.mark(session_id, "the door opened", type="trigger")
    await entry(recorder, session_id, lambda found: found.state is State.RECORDING)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)


async def test_list_is_in_pages_newest_first_and_filters(recorder: RunningRecorder) -> None:
    owner = uuid.uuid4().hex
    made = [(await recorded(recorder, owner=owner)).session_id for _ in range(3)]
    await recorded(recorder, owner="somebody else")
    request: dict[str, Any] = {"owner": owner, "limit": 2}
    first = await answer(recorder, Endpoint.LIST, request)
    second = await answer(recorder, Endpoint.LIST, request | {"before": first["next"]})
    listed = [one["session_id"] for one in (*first["sessions"], *second["sessions"])]
    assert listed == made[::-1]
    assert (len(first["sessions"]), second["next"]) == (2, "")
    none = await answer(recorder, Endpoint.LIST, {"owner": owner, "state": "recording"})
    assert none == {"sessions": [], "next": ""}
    everything = await answer(recorder, Endpoint.LIST)
    assert len(everything["sessions"]) > len(listed)


async def test_a_proof_is_the_file_that_verify_proof_takes(recorder: RunningRecorder) -> None:
    sealed = await recorded(recorder)
    request = {"session_id": sealed.session_id, "chunk": 1}
    made = decode_proof((await ask(recorder, Endpoint.PROOF, request)).data)
    assert isinstance(made, InclusionFile)
    assert made.root_hash == sealed.root_hash
    assert check_proof(made).session_id == sealed.session_id
    leaf = {"session_id": sealed.session_id, "leaf": sealed.tree_size - 1}
    check_proof(decode_proof((await ask(recorder, Endpoint.PROOF, leaf)).data))
    between = {"session_id": sealed.session_id, "between": [1, sealed.tree_size]}
    check_proof(decode_proof((await ask(recorder, Endpoint.PROOF, between)).data))


async def test_stats_counts_sessions_and_what_waits(recorder: RunningRecorder) -> None:
    await recorded(recorder)
    # The table is written by several at once: also sessions of other tests may still come in.
    await recorder.nothing_is_left()
    before = await answer(recorder, Endpoint.STATS)
    await recorded(recorder)
    after = await answer(recorder, Endpoint.STATS)
    assert after["states"]["sealed"] == before["states"]["sealed"] + 1
    assert after["totals"]["frame_count"] == before["totals"]["frame_count"] + 3
    assert {one["stage"] for one in after["stages"]} >= {"capture", "chunk", "storage", "table"}
    assert {one["stream"] for one in after["streams"]} == {"COMMANDS", "SESSIONS"}
    assert all(one["stored_bytes"] for one in after["streams"])


@pytest.mark.parametrize(
    ("endpoint", "request_", "code", "field"),
    [
        (Endpoint.GET, {}, 400, "$"),
        (Endpoint.GET, {"session_id": "7"}, 400, "$"),
        (Endpoint.LIST, {"colour": "red"}, 400, "$"),
        (Endpoint.LIST, {"limit": 501}, 400, "$"),
        (Endpoint.GET, {"session_id": str(uuid.UUID(int=1))}, 404, "session_id"),
        (Endpoint.PROOF, {"session_id": str(uuid.UUID(int=1)), "chunk": 1}, 404, "session_id"),
        (Endpoint.PROOF, {"session_id": str(uuid.UUID(int=1))}, 400, "chunk"),
        (
            Endpoint.PROOF,
            {"session_id": str(uuid.UUID(int=1)), "chunk": 1, "leaf": 1},
            400,
            "chunk",
        ),
    ],
)
async def test_a_wrong_request_gets_a_clear_error(
    recorder: RunningRecorder, endpoint: Endpoint, request_: object, code: int, field: str
) -> None:
    found = await error(recorder, endpoint, request_)
    assert (found["code"], found["field"]) == (code, field)


async def test_no_json_at_all_gets_a_clear_error(recorder: RunningRecorder) -> None:
    for body in (b"\xff", b"[" * 100_000, b"7"):
        message = await recorder.bus.request(Endpoint.LIST.value, body, timeout=DEADLINE_S)
        assert (message.headers or {})[CODE] == "400"


async def test_what_cannot_be_proved_says_why(recorder: RunningRecorder) -> None:
    sealed = await recorded(recorder)
    for wanted in ({"chunk": 0}, {"leaf": 10_000}, {"between": [2, 1]}):
        found = await error(recorder, Endpoint.PROOF, {"session_id": sealed.session_id} | wanted)
        assert found["code"] == 400
    started = await recorder.client.start(LIVE)
    await entry(recorder, started.session_id, lambda found: found.tree_size > 0)
    running = {"session_id": started.session_id, "chunk": 1}
    assert (await error(recorder, Endpoint.PROOF, running))["code"] == 409
    await recorder.client.stop(started.session_id)
    await recorder.sealed(started.session_id)
    # A record that was changed gives no proof.
    records = recorder.folder(sealed.session_id) / "records"
    data = records.read_bytes()
    records.chmod(0o600)
    records.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    damaged = {"session_id": sealed.session_id, "leaf": sealed.tree_size - 1}
    assert (await error(recorder, Endpoint.PROOF, damaged))["code"] == 409


async def test_what_is_too_large_is_for_the_command(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = await recorded(recorder)
    request = {"session_id": sealed.session_id, "leaf": 0}
    monkeypatch.setattr(gateway, "MOST_RECORD_BYTES", 100)
    assert (await error(recorder, Endpoint.PROOF, request))["code"] == 413
    monkeypatch.undo()
    monkeypatch.setattr(micro_service, "_check_size", _too_large)
    found = await error(recorder, Endpoint.PROOF, request)
    assert (found["code"], found["hint"][:25]) == (413, "ask for less; `recorder p")


def _too_large(_size: int, limit: int, check: Any = micro_service._check_size) -> None:  # noqa: ANN401  (the one that is replaced)
    check(limit + 1, limit)


async def test_every_look_is_on_record_and_a_proof_is_an_export(recorder: RunningRecorder) -> None:
    sealed = await recorded(recorder)
    audit = await recorder.jetstream.subscribe(
        "audit.recording.*",
        stream=AUDIT_STREAM,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.NEW,
    )
    await answer(recorder, Endpoint.LIST)
    await answer(recorder, Endpoint.GET, {"session_id": sealed.session_id})
    await answer(recorder, Endpoint.GET, {"session_id": sealed.session_id})
    await answer(recorder, Endpoint.PROOF, {"session_id": sealed.session_id, "chunk": 1})
    await answer(recorder, Endpoint.STATS)
    seen = [await audit.next_msg(timeout=DEADLINE_S) for _ in range(4)]
    facts = [json.loads(message.data) for message in seen]
    assert [
        (message.subject, fact["session_id"]) for message, fact in zip(seen, facts, strict=True)
    ] == [
        (Fact.AUDIT_VIEWED, "unknown"),
        (Fact.AUDIT_VIEWED, sealed.session_id),
        (Fact.AUDIT_VIEWED, sealed.session_id),
        (Fact.AUDIT_EXPORTED, sealed.session_id),
    ]
    assert [fact["what"] for fact in facts] == ["list", "get", "get", "proof"]
    assert (facts[3]["detail"], facts[0]["actor"]) == ("chunk 1", "")
    await audit.unsubscribe()


async def test_a_lost_entry_is_made_again_by_the_next_fact(recorder: RunningRecorder) -> None:
    started = await recorder.client.start(LIVE, owner="eve")
    session_id = started.session_id
    await entry(recorder, session_id, lambda found: found.tree_size > 1)
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)
    await bucket.delete(session_id)
    again = await entry(recorder, session_id, lambda found: found.tree_size > 1)
    assert (again.state, again.owner, again.node) == (State.RECORDING, "eve", started.node)
    # What somebody else wrote there is nobody's entry.
    await bucket.put(session_id, b"mine")
    await recorder.client.stop(session_id)
    ended = await _decodes(recorder, session_id)
    assert ended.owner == "eve"


async def _decodes(recorder: RunningRecorder, session_id: str) -> SessionEntry:
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)

    async def sealed() -> SessionEntry | None:
        value = (await bucket.get(session_id)).value or b""
        if value == b"mine":
            return None
        found = msgspec.json.decode(value, type=SessionEntry)
        return found if found.state is State.SEALED else None

    return await polled(sealed)


async def polled(look: Callable[[], Awaitable[SessionEntry | None]]) -> SessionEntry:
    async with asyncio.timeout(DEADLINE_S):
        while (found := await look()) is None:
            await asyncio.sleep(POLL_S)
    return found


async def listed(recorder: RunningRecorder, owner: str) -> list[str]:
    page = await answer(recorder, Endpoint.LIST, {"owner": owner})
    return [one["session_id"] for one in page["sessions"]]


async def test_a_list_is_never_older_than_its_question(
    recorder: RunningRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the bucket since the last one: changed, deleted, full, made anew."""
    monkeypatch.setattr(batched_get, "BATCH", 2)
    owner = uuid.uuid4().hex
    ids = [str(uuid.UUID(int=2**80 + at)) for at in range(4)]
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)
    for at, session_id in enumerate(ids):
        made = SessionEntry(session_id=session_id, owner=owner, started_wall_ns=at + 1)
        await bucket.put(session_id, msgspec.json.encode(made))
        assert await listed(recorder, owner) == ids[: at + 1][::-1]
    await bucket.delete(ids[3])
    assert await listed(recorder, owner) == ids[:3][::-1]
    await bucket.purge(ids[2])
    assert await listed(recorder, owner) == ids[:2][::-1]
    stream = f"KV_{SESSIONS_BUCKET}"
    await recorder.jetstream.purge_stream(stream, keep=1)
    assert await listed(recorder, owner) == []
    config = (await recorder.jetstream.stream_info(stream)).config
    await bucket.put(ids[0], msgspec.json.encode(SessionEntry(session_id=ids[0], owner=owner)))
    assert await listed(recorder, owner) == ids[:1]
    await recorder.jetstream.delete_stream(stream)
    await recorder.jetstream.add_stream(config)
    assert await listed(recorder, owner) == []
    for other in range(5):
        made = SessionEntry(session_id=ids[other % 4], owner=f"{owner}{other}")
        await bucket.put(f"of-another.{other}", msgspec.json.encode(made))
    await bucket.put(ids[1], msgspec.json.encode(SessionEntry(session_id=ids[1], owner=owner)))
    assert await listed(recorder, owner) == ids[1:2]


async def test_the_whole_table_is_made_again_from_the_stream(recorder: RunningRecorder) -> None:
    """As docs/integrations.md tells: remove the consumer, which comes back by itself."""
    sealed = await recorded(recorder, owner="kim")
    await recorder.nothing_is_left()
    bucket = await recorder.jetstream.key_value(SESSIONS_BUCKET)
    before = msgspec.json.decode(
        (await bucket.get(sealed.session_id)).value or b"", type=SessionEntry
    )
    await bucket.purge(sealed.session_id)
    await recorder.jetstream.delete_consumer(SESSIONS_STREAM, "table")
    again = await entry(recorder, sealed.session_id, lambda found: found == before)
    assert again == before
