"""`recorder nats-conf`: every user can do its work, and nothing else. On that very server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec
import nats
import pytest
from frame_publisher import FramePublisher, picture_of
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from nats_process import NatsProcess
from running_recorder import until
from secured_nats import SecuredNats
from worker_process import WorkerProcess, run_recorder

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.fact_stream import FactSeen
from recorder_worker.bus.frame_feed import NatsFrameFeed
from recorder_worker.bus.rights import permissions, stage_rights
from recorder_worker.bus.rights.permissions import API_PREFIX, TokenLists
from recorder_worker.bus.streams.consumers import ConsumerLimits, consumers
from recorder_worker.bus.streams.topology import DEAD_STREAM, NODES_STREAM, StreamLimits, streams
from recorder_worker.core.errors import BusUnavailableError, RefusedError, SourceError
from recorder_worker.core.events import AnchorRequested
from recorder_worker.core.frame_messages import FrameStatus
from recorder_worker.core.pipeline import CONSUMERS
from recorder_worker.core.subjects import SESSIONS_BUCKET, Command, Endpoint, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

TOKENS = TokenLists(revocations="recorder-revocations", jwks="of-keys")
LIMITS = StreamLimits(
    replicas=1,
    max_age_s=3600,
    max_bytes=1,
    duplicate_window_s=1,
    token_buckets=("recorder-revocations",),
)
WAITS = ConsumerLimits(lease_s=1, chunk_ack_wait_s=1, compress_ack_wait_s=1, merkle_ack_wait_s=1)
DEADLINE_S = 60.0
PATTERN = {"kind": "pattern", "width": 32, "height": 32, "frames": 20, "pace": "fast"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNats]:
    folder = tmp_path_factory.mktemp("secured")
    keys = {"RECORDER_AUTH__JWKS_BUCKET": "of-keys"}
    with SecuredNats(folder, "--client", "alice", "--client", "bob", env=keys) as server:
        server.apply_streams()
        yield server


@pytest.fixture(scope="module")
def workers(secured: SecuredNats) -> Iterator[dict[str, WorkerProcess]]:
    """Four processes, each with the user of its stage."""
    with ExitStack() as stack:
        yield {
            stage: stack.enter_context(
                WorkerProcess(
                    secured.folder,
                    stage,
                    env=secured.variables(stage) | {"RECORDER_CAPTURE__SEGMENT_S": "0.25"},
                )
            )
            for stage in stage_rights.workers()
        }


async def test_every_stage_works_with_the_rights_of_its_user(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    async with RecorderClient.connect(secured.login("admin")) as client:
        started = await client.start(PATTERN, timeout_s=DEADLINE_S)
        sealed = await client.wait_sealed(started.session_id, DEADLINE_S)
        assert started.session_id in await client.sessions()
    report = verify(FolderRecording(workers["merkle"].data_dir / "sessions" / started.session_id))
    assert report.verdict is Verdict.COMPLETE
    assert sealed.frame_count == 20
    assert "Violation" not in secured.server.log


async def test_a_client_publishes_frames_on_subjects_of_its_own_name(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    """It is answered across accounts; of another's subjects it may publish on none."""
    refusals: list[str] = []
    bus = await secured.connect("alice", refusals)
    publisher = FramePublisher(bus, "source.alice.cam.frames")
    source = {"kind": "nats", "uri": publisher.subject}
    async with RecorderClient.connect(secured.login("alice")) as client:
        async with publisher.until_recorded():
            started = await client.start(source, fps=20, timeout_s=DEADLINE_S)
        for index in range(1, 5):
            answer = await publisher.png(picture_of(index))
            assert (answer.status, answer.frame) == (FrameStatus.ACCEPTED, index + 1)
        await bus.publish("source.bob.cam.frames", b"")
        await bus.flush()
        assert (await publisher.end()).status is FrameStatus.ACCEPTED
        await client.wait_sealed(started.session_id, DEADLINE_S)
    await bus.close()
    folder = workers["merkle"].data_dir / "sessions" / started.session_id
    assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
    assert refusals == ['nats: permissions violation for publish to "source.bob.cam.frames"']


async def test_a_worker_that_may_not_subscribe_says_so(secured: SecuredNats) -> None:
    feed = NatsFrameFeed(secured.login("chunk"))
    feed.start()
    with pytest.raises(SourceError, match="permissions violation for subscription"):
        await asyncio.to_thread(feed.subscribe, "source.alice.frames")


# --- what each may do, and nothing else ---------------------------------------------------------


def subjects_of_all() -> set[str]:
    """Every subject that matters, as the recorder's account and as the others know it."""
    one = str(uuid.UUID(int=7))
    plain = {*Command, *(fact.of(one) for fact in Fact), "session.sealed.elsewhere", "anything"}
    plain |= {f"session.dead.{stage.name}" for stage in CONSUMERS}
    plain |= {"client.alice.session.sealed.x", "client.bob.session.sealed.x", "$KV.bucket.key"}
    plain |= {"source.alice.frames", "source.bob.cam.frames", "source.frames"}
    plain |= {*Endpoint, "$SRV.PING", "$SRV.INFO.session-recorder", "_R_.of.somebody"}
    plain |= {f"$KV.{bucket}.key" for bucket in (SESSIONS_BUCKET, *TOKENS.buckets)}
    plain |= {f"stored.session.sealed.{one}", "stored.client.bob.session.sealed.x"}
    plain |= {"$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.recorder.CONNZ", "_INBOX.somebody.else"}
    calls = {"INFO", "STREAM.LIST", "STREAM.NAMES", "STREAM.CREATE.OTHER", "STREAM.DELETE.OTHER"}
    names = [str(stream.name) for stream in streams(LIMITS)] + ["KV_bucket", "KV_of-keys"]
    for stream in names:
        for call in ("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "MSG.GET", "MSG.DELETE"):
            calls.add(f"STREAM.{call}.{stream}")
        calls |= {f"CONSUMER.{c}.{stream}" for c in ("CREATE", "LIST", "NAMES")}
        calls |= {f"CONSUMER.CREATE.{stream}.mine", f"CONSUMER.CREATE.{stream}.mine.session.*.*"}
        calls |= {f"DIRECT.GET.{stream}", f"DIRECT.GET.{stream}.client.bob.session.sealed.{one}"}
        calls |= {f"DIRECT.GET.{stream}.{fact.of(one)}" for fact in Fact}
        calls |= {f"DIRECT.GET.{stream}.$KV.{stream.removeprefix('KV_')}.key"}
    for name, consumer in consumers(WAITS).items():
        queue = f"{consumer.stream}.{name}"
        for call in ("DURABLE.CREATE", "CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE", "RESET"):
            calls.add(f"CONSUMER.{call}.{queue}")
        plain.add(f"$JS.ACK.{queue}.1.1.1.1.1")
    prefixes = (stage_rights.JETSTREAM_API, permissions.API_PREFIX)
    return plain | {f"{prefix}.{call}" for prefix in prefixes for call in calls}


def matches(pattern: str, subject: str) -> bool:
    """Whether a NATS subject falls under a pattern."""
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(found) >= len(wanted) and matches(
            ".".join(wanted[:-1]), ".".join(found[: len(wanted) - 1])
        )
    return len(wanted) == len(found) and all(
        w in ("*", f) for w, f in zip(wanted, found, strict=True)
    )


GRANTS = {grant.user: grant for grant in permissions.grants(["alice", "bob"], tokens=TOKENS)}


@pytest.mark.parametrize("user", GRANTS)
async def test_every_subject_that_is_not_its_own_is_refused(
    secured: SecuredNats, user: str
) -> None:
    allowed = (*GRANTS[user].own_asks.values(), *GRANTS[user].calls)
    forbidden = {s for s in subjects_of_all() if not any(matches(a, s) for a in allowed)}
    assert len(forbidden) > 200, "the table of subjects is not what it was"
    refusals: list[str] = []
    bus = await secured.connect(user, refusals)
    for subject in sorted(forbidden):
        await bus.publish(subject, b"{}", reply="_INBOX.answer")
        await bus.flush()
    # nats-py passes the server's words on in small letters.
    wanted = {f'nats: permissions violation for publish to "{s.lower()}"' for s in forbidden}
    await until(lambda: len(refusals) >= len(wanted))
    assert set(refusals) == wanted
    refusals.clear()
    heard = GRANTS[user].hears
    for subject in HEARABLE:
        if not any(matches(pattern, subject) for pattern in (*heard, *GRANTS[user].serves)):
            await bus.subscribe(subject)
            await bus.flush()
            await until(lambda: bool(refusals))
            assert f'subscription to "{subject.lower()}"' in refusals.pop()
    await bus.close()


HEARABLE = (
    ">",
    "session.>",
    "session.start",
    "session.stop",
    "session.sealed.x",
    "integration.anchor.requested",
    "audit.command.denied",
    "client.alice.session.sealed.x",
    "client.bob.session.sealed.x",
    "client.>",
    "$SYS.>",
    "$JS.>",
    "$JS.EVENT.ADVISORY.>",
    "$KV.>",
    "stored.>",
    "stored.session.sealed.x",
    "recorder.api.list",
    "$SRV.PING",
    "integration.node.heartbeat.x",
)
"""What somebody could want to listen to."""


async def test_jetstream_does_not_publish_for_whoever_may_not(secured: SecuredNats) -> None:
    """The attack that permissions inside one account do not stop: an answer as a forged fact."""
    victim, own = str(uuid.uuid4()), str(uuid.uuid4())
    forged = b'{"forged": true}'
    refusals: list[str] = []
    async with AsyncExitStack() as stack:
        bus, deploy = [await secured.connect(user, refusals) for user in ("chunk", "deploy")]
        stack.push_async_callback(bus.close)
        stack.push_async_callback(deploy.close)
        await bus.jetstream(prefix=API_PREFIX).publish(f"session.chunked.{own}", forged)
        ask = f"{API_PREFIX}.DIRECT.GET.SESSIONS.session.chunked.{own}"
        assert (await bus.request(ask, b"", timeout=DEADLINE_S)).data == forged
        before = await stored(deploy)
        for subject in (f"session.sealed.{victim}", f"session.captured.{victim}", "session.start"):
            await bus.publish(ask, b"", reply=subject)
            await bus.publish(f"{API_PREFIX}.STREAM.INFO.SESSIONS", b"", reply=subject)
            next_one = f"{API_PREFIX}.CONSUMER.MSG.NEXT.SESSIONS.chunk"
            await bus.publish(next_one, b'{"batch":1,"no_wait":true}', reply=subject)
        # The server answers requests of a connection in their order.
        assert (await bus.request(ask, b"", timeout=DEADLINE_S)).data == forged
        assert await stored(deploy) == before
    assert refusals == []


async def stored(deploy: Client) -> dict[str, int]:
    """How much each stream holds. What workers tell meanwhile does not count."""
    made = streams(msgspec.structs.replace(LIMITS, token_buckets=()))
    names = {str(stream.name) for stream in made} - {DEAD_STREAM, NODES_STREAM}
    infos = [await deploy.jetstream().stream_info(name) for name in names]
    return {name: info.state.last_seq for name, info in zip(names, infos, strict=True)}


async def test_nobody_hears_the_answers_of_others(secured: SecuredNats) -> None:
    async with AsyncExitStack() as stack:
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        for user in ("anchor", "observer", "bob"):
            bus = await secured.connect(user, [])
            stack.push_async_callback(bus.close)
            await bus.subscribe("_INBOX.>", cb=hear)
            await bus.flush()
        async with RecorderClient.connect(secured.login("admin")) as admin:
            await admin.sessions()
    assert heard == []


async def collect(facts: AsyncIterator[FactSeen], into: list[FactSeen]) -> None:
    async for seen in facts:
        into += [seen]


async def test_whoever_may_hear_does_and_at_once(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    """By plain subscriptions; what polls beside them would hide that nothing comes."""
    del workers
    refusals: list[str] = []
    heard: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        for user, subject in (
            ("observer", "session.*.*"),
            ("admin", "audit.command.accepted"),
            ("alice", "client.alice.>"),
            ("anchor", "integration.anchor.requested"),
            ("capture", "session.control.*"),
        ):
            bus = await secured.connect(user, refusals)
            stack.push_async_callback(bus.close)

            async def hear(message: Msg, user: str = user) -> None:
                heard.setdefault(user, []).append(message.subject)

            await bus.subscribe(subject, cb=hear)
            await bus.flush()
        alice = await stack.enter_async_context(RecorderClient.connect(secured.login("alice")))
        admin = await stack.enter_async_context(RecorderClient.connect(secured.login("admin")))
        live = {"kind": "pattern", "width": 32, "height": 32}
        session_id = (await alice.start(live, timeout_s=DEADLINE_S)).session_id
        await admin.stop(session_id)
        await admin.wait_sealed(session_id, DEADLINE_S)
        await until(lambda: len(heard) == 5)
        await until(lambda: f"client.alice.session.sealed.{session_id}" in heard["alice"])
        # Each has a connection of his own: one may hear before another does.
        await until(lambda: f"session.sealed.{session_id}" in heard["observer"])
    assert set(heard["capture"]) == {f"session.control.{session_id}"}
    assert not [s for subjects in heard.values() for s in subjects if s.startswith("stored.")]
    assert refusals == []


# --- clients ------------------------------------------------------------------------------------


async def test_a_client_starts_sessions_and_hears_of_its_own(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    del workers
    async with AsyncExitStack() as stack:
        alice, bob, admin = [
            await stack.enter_async_context(RecorderClient.connect(secured.login(name)))
            for name in ("alice", "bob", "admin")
        ]
        session_id = str(uuid.uuid4())
        spying = await stack.enter_async_context(bob.follow(session_id))
        heard: list[FactSeen] = []
        spied = asyncio.create_task(collect(spying, heard))
        started = await alice.start(PATTERN, session_id=session_id, timeout_s=DEADLINE_S)
        sealed = await alice.wait_sealed(session_id, DEADLINE_S)
        assert started.owner == "alice"
        assert sealed == await admin.last(Fact.SEALED, session_id)
        assert sealed == await alice.last(Fact.SEALED, session_id)
        # Long behind the seal: nothing came to bob, and nothing is there for him.
        assert await bob.last(Fact.SEALED, session_id) is None
        assert (heard, spied.done()) == ([], False)
        spied.cancel()

        with pytest.raises(RefusedError, match=r"source\.uri"):
            await alice.start({"kind": "file", "uri": "/nowhere.mp4"}, timeout_s=DEADLINE_S)

        # Who names another as the owner tells that one, and hears nothing himself.
        given = str(uuid.uuid4())
        await bob._send(Command.START, {"session_id": given, "source": PATTERN, "owner": "alice"})
        await alice.wait_sealed(given, DEADLINE_S)
        assert await bob.last(Fact.SEALED, given) is None


def test_commands_say_what_a_user_may_not(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    del workers
    recorder = partial(run_recorder, folder=secured.folder)
    made = recorder("start", "pattern", "--frames", "5", env=secured.variables("alice"))
    assert made.returncode == 0, made.stderr
    session_id = made.stdout.strip()
    stop = recorder("stop", session_id, env=secured.variables("alice"))
    assert stop.returncode == 69
    assert 'refuses this user: permissions violation for publish to "session.stop"' in stop.stderr
    listed = recorder("ls", env=secured.variables("alice"))
    assert listed.returncode == 65
    assert "a user who may read all facts" in listed.stderr
    seen = recorder("ls", env=secured.variables("observer"))
    assert session_id in seen.stdout
    start = recorder("start", "pattern", env=secured.variables("observer"))
    assert start.returncode == 69
    assert 'publish to "session.start"' in start.stderr


# --- engines ------------------------------------------------------------------------------------


async def test_an_engine_takes_requests_and_gives_receipts(
    secured: SecuredNats, workers: dict[str, WorkerProcess]
) -> None:
    del workers
    refusals: list[str] = []
    async with RecorderClient.connect(secured.login("admin")) as admin:
        started = await admin.start(PATTERN, timeout_s=DEADLINE_S)
        await admin.wait_sealed(started.session_id, DEADLINE_S)
    engine = await secured.connect("anchor", refusals)
    jetstream = engine.jetstream(prefix=API_PREFIX)
    requests = await jetstream.pull_subscribe(
        Fact.ANCHOR_REQUESTED.value, durable="anchor", stream="INTEGRATION"
    )
    (request,) = await requests.fetch(1, timeout=DEADLINE_S)
    assert isinstance(codec.decode(Fact.ANCHOR_REQUESTED, request.data), AnchorRequested)
    await request.ack_sync()
    stored = await jetstream.publish(Fact.ANCHOR_RECEIPT.value, b"{}", stream="INTEGRATION")
    assert stored.seq > 0
    await engine.close()
    assert refusals == []


# --- who makes the streams ----------------------------------------------------------------------


def test_streams_are_made_by_deploy_alone_and_a_worker_says_so(tmp_path: Path) -> None:
    with SecuredNats(tmp_path) as secured:
        recorder = partial(run_recorder, folder=tmp_path)
        deploy = secured.variables("deploy")
        early = recorder("run", "chunk", env=quiet(secured.variables("chunk")))
        assert early.returncode == 69
        assert "stream SESSIONS is not there" in early.stderr
        assert "run `recorder streams apply` as the user deploy" in early.stderr

        checked = recorder("streams", "apply", "--check", env=deploy)
        assert checked.returncode == 10
        assert "stream SESSIONS is not there\n" in checked.stdout
        secured.apply_streams()
        again = recorder("streams", "apply", "--check", env=deploy)
        assert (again.returncode, again.stdout) == (0, "everything is as declared\n")

        # A worker with other settings works all the same, and says what differs.
        other = secured.variables("chunk") | {"RECORDER_NATS__MAX_AGE_S": "7200"}
        with WorkerProcess(tmp_path, "chunk", env=other) as worker:
            differs = worker.logged("TopologyDiffers", what="SESSIONS")
            assert differs["fields"] == ["max_age"]

        refused = recorder("streams", "apply", env=quiet(secured.variables("observer")))
        assert refused.returncode == 69
        assert "this user may not manage streams" in refused.stderr


async def test_a_worker_that_may_make_nothing_says_who_makes_a_consumer_again(
    tmp_path: Path,
) -> None:
    """On a server without users, where somebody can take it away."""
    with NatsProcess(tmp_path / "nats") as server:
        where = {"RECORDER_NATS__URL": server.url, "RECORDER_NATS__MANAGE": "false"}
        apply = partial(run_recorder, "streams", "apply", folder=tmp_path, env=where)
        assert apply().returncode == 0
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        with WorkerProcess(tmp_path, "merkle", env=where) as worker:
            await jetstream.delete_consumer("SESSIONS", "table")
            gone = await asyncio.to_thread(worker.logged, "ConsumerGone", stage="table")
            assert "run `recorder streams apply` as the user deploy" in gone["error"]
            with pytest.raises(NotFoundError):
                await jetstream.consumer_info("SESSIONS", "table")
            made = apply()
            assert made.stdout == "consumer SESSIONS/table is not there: made\n", made.stderr
            assert not [line for line in worker.lines if line.get("event") == "ConsumerRestored"]
        await client.close()


async def test_a_running_server_takes_new_rights_and_keeps_who_is_connected(
    tmp_path: Path,
) -> None:
    with SecuredNats(tmp_path, "--client", "alice") as secured:
        secured.apply_streams()
        refusals: list[str] = []
        alice = await secured.connect("alice", refusals)
        async with RecorderClient.connect(secured.login("observer")) as observer:
            secured.write("--keep", "--client", "bob")
            secured.server.reload()
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    with suppress(BusUnavailableError):
                        async with RecorderClient.connect(secured.login("bob")):
                            break
                    await asyncio.sleep(0.1)
            # She is not named any more, and he was not disturbed.
            await until(lambda: not alice.is_connected)
            assert await observer.sessions() == []
        await alice.close()


async def test_one_process_runs_all_stages_as_the_user_together(tmp_path: Path) -> None:
    with SecuredNats(tmp_path, "--together") as secured:
        secured.apply_streams()
        with WorkerProcess(tmp_path, env=secured.variables("together")) as worker:
            async with RecorderClient.connect(secured.login("admin")) as client:
                started = await client.start(PATTERN, timeout_s=DEADLINE_S)
                await client.wait_sealed(started.session_id, DEADLINE_S)
            folder = worker.data_dir / "sessions" / started.session_id
            assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
        assert "Violation" not in secured.server.log


def quiet(variables: dict[str, str]) -> dict[str, str]:
    """A worker that is to fail needs no port that another may have."""
    return variables | {"RECORDER_SIDECAR__PORT": "-1"}
