"""The time-stamp engine on a real nats-server: kills, restarts, requests in any order."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats_process import NatsProcess
from time_stamp_authority import ServedTsa, Tsa

from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.topology import INTEGRATION_STREAM, StreamLimits, streams
from recorder_worker.core.errors import IncidentError
from recorder_worker.core.events import AnchorReceipt, AnchorRequested, AnchorState
from recorder_worker.core.merkle.proofs import ProofError, consistency_proof
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.tsa_anchor import TsaAnchor
from recorder_worker.integrations.tsa_client import Authority
from recorder_worker.ports import EventLog

ORIGIN = "lab7/log"
SESSION = "0190a0b0-0000-7000-8000-000000000001"

pytestmark = pytest.mark.asyncio(loop_scope="function")


class KilledError(Exception):
    """The engine dies here."""


class Bench:
    """An engine, its bus and its authority."""

    def __init__(self, js: JetStreamContext, served: ServedTsa) -> None:
        self.js = js
        self.served = served
        self.events = JetStreamEventLog(lambda: js, EventHeaders("test"))

    def engine(self, events: EventLog | None = None) -> TsaAnchor:
        """An engine that knows nothing but what is on the bus."""
        return TsaAnchor(events or self.events, Authority(url=self.served.url, timeout_s=30.0))

    async def receipts(self) -> list[AnchorReceipt]:
        found = [e.event async for e in self.events.read(Fact.ANCHOR_RECEIPT, SESSION)]
        return [event for event in found if isinstance(event, AnchorReceipt)]

    async def state(self) -> AnchorState | None:
        last = await self.events.last_of_all(Fact.ANCHOR_STATE)
        return last.event if last and isinstance(last.event, AnchorState) else None


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest_asyncio.fixture
async def bench(tsa: Tsa, tmp_path: Path) -> AsyncIterator[Bench]:
    with NatsProcess(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        limits = StreamLimits(replicas=1, max_age_s=3600, max_bytes=2**30, duplicate_window_s=120)
        wanted = tuple(s for s in streams(limits) if s.name == INTEGRATION_STREAM)
        await apply_topology(client.jetstream(), wanted, {})
        async with tsa.served() as served:
            yield Bench(client.jetstream(), served)
        await client.close()


def request(size: int, before: int, *, fork: bytes = b"") -> AnchorRequested:
    tree = Tree((SHA256.leaf(fork + bytes([index])) for index in range(40)), SHA256)
    root = tree.root(size)
    encoded = base64.b64encode(root).decode()
    return AnchorRequested(
        origin=ORIGIN,
        tree_size=size,
        root_hash=root.hex(),
        note=f"{ORIGIN}\n{size}\n{encoded}\n\n— {ORIGIN} AAAAAAA=\n",
        previous_size=before,
        previous_root_hash=tree.root(before).hex(),
        consistency_proof=tuple(h.hex() for h in consistency_proof(tree, before, size)),
        session_id=SESSION,
    )


async def test_every_request_gets_one_receipt(bench: Bench) -> None:
    for size in (1, 2, 3, 3, 2):
        await bench.engine().handle(request(size, size - 1))
    receipts = await bench.receipts()
    assert [receipt.tree_size for receipt in receipts] == [1, 2, 3]
    assert len(bench.served.queries) == 3
    for receipt in receipts:
        wanted = request(receipt.tree_size, receipt.tree_size - 1)
        assert verify_timestamp(receipt.receipt, wanted.note.encode()).time_ns
        assert (receipt.origin, receipt.root_hash) == (ORIGIN, wanted.root_hash)
        assert (receipt.kind, receipt.target) == ("rfc3161", bench.served.url)


async def test_a_request_that_comes_late_is_anchored(bench: Bench) -> None:
    for size in (1, 3, 2):
        await bench.engine().handle(request(size, size - 1))
    assert [receipt.tree_size for receipt in await bench.receipts()] == [1, 3, 2]


@pytest.mark.parametrize("effect", ["emit", "append"])
@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
async def test_a_kill_leaves_one_receipt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, effect: str, *, applied: bool
) -> None:
    """Killed at the receipt or at the state, before or behind it; then the message comes again."""
    await bench.engine().handle(request(1, 0))
    real = getattr(bench.events, effect)

    async def die(*args: object, **options: object) -> None:
        if applied:
            await real(*args, **options)
        raise KilledError

    monkeypatch.setattr(bench.events, effect, die)
    with pytest.raises(KilledError):
        await bench.engine().handle(request(2, 1))
    monkeypatch.undo()
    await bench.engine().handle(request(2, 1))
    await bench.engine().handle(request(3, 2))
    assert [receipt.tree_size for receipt in await bench.receipts()] == [1, 2, 3]
    state = await bench.state()
    assert state is not None
    assert [(seen.tree_size, seen.anchored) for seen in state.seen] == [
        (1, True),
        (2, True),
        (3, True),
    ]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (request(2, 0, fork=b"x"), IncidentError),
        (request(3, 2, fork=b"x"), IncidentError),
        (msgspec.structs.replace(request(3, 2), consistency_proof=()), ProofError),
    ],
    ids=["same size", "on a fork", "no proof"],
)
async def test_a_request_that_contradicts_is_not_anchored(
    bench: Bench, wrong: AnchorRequested, error: type[Exception]
) -> None:
    await bench.engine().handle(request(2, 0))
    before = await bench.state()
    with pytest.raises(error):
        await bench.engine().handle(wrong)
    assert len(bench.served.queries) == 1
    assert len(await bench.receipts()) == 1
    assert await bench.state() == before


async def test_a_foreign_message_in_place_of_the_state_holds_nothing_up(bench: Bench) -> None:
    await bench.engine().handle(request(1, 0))
    await bench.js.publish(Fact.ANCHOR_STATE.value, b"hello", stream=INTEGRATION_STREAM)
    await bench.engine().handle(request(2, 1))
    await bench.engine().handle(request(1, 0))
    assert [receipt.tree_size for receipt in await bench.receipts()] == [1, 2]
