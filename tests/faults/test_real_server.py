"""A slice of the fault table on a real nats-server and on files: what depends on how they behave.

The same stages, faults and checker; messages come again after a second of the server's own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats_process import NatsProcess

from faults.brokers import REAL_ACK_WAIT_S, REAL_WINDOW_S, RealBroker, declared
from faults.clock import SetClock
from faults.collecting import collect, folder_in
from faults.injector import Effect, Fault, Kind
from faults.invariants import broken
from faults.keeping_table import keeping_faults
from faults.parts import FileParts
from faults.scenes import keep, record_uncopied, wake
from faults.table import faults, removal_faults
from faults.world import World
from recorder_worker.bus.streams.apply import apply_topology

SLICE = (
    Fault(Effect("control", "Delivery.ack", 2), Kind.NOT_APPLIED),
    Fault(Effect("capture", "EventLog.append session.started", 1), Kind.HELD_UP),
    Fault(Effect("capture", "EventLog.append session.captured", 3), Kind.DELAYED),
    Fault(Effect("capture", "EventLog.append session.captured", 5), Kind.KILLED),
    Fault(Effect("capture", "Delivery.ack", 1), Kind.DELAYED),
    Fault(Effect("chunk", "EventLog.append session.chunked", 2), Kind.REPORTED_FAILED),
    Fault(Effect("compress", "EventLog.emit session.compressed", 2), Kind.HELD_UP),
    Fault(Effect("compress", "Delivery.term", 1), Kind.NOT_APPLIED),
    Fault(Effect("merkle", "EventLog.append session.head", 2), Kind.DELAYED),
    Fault(Effect("merkle", "Signer.sign_epoch", 2), Kind.HELD_UP),
    Fault(Effect("merkle", "EventLog.append session.checkpoint", 7), Kind.KILLED),
    Fault(Effect("merkle", "Delivery.nak", 1), Kind.NOT_APPLIED),
    Fault(Effect("log", "EventLog.append_to_all session.logged", 2), Kind.DELAYED),
    Fault(Effect("table", "EntryTable.put", 2), Kind.DELAYED),
    Fault(Effect("upload", "BlobWriter.commit second/chunks", 1), Kind.HELD_UP),
    Fault(Effect("upload", "EventLog.emit integration.storage.archived", 1), Kind.KILLED),
)
REMOVALS = (
    Fault(Effect("retention", "EventLog.append session.retention", 3), Kind.KILLED),
    Fault(Effect("keeper", "EventLog.append_to_all session.logged", 1), Kind.DELAYED),
    Fault(Effect("keeper", "BlobStore.delete_below second/chunks", 1), Kind.HELD_UP),
)

KEPT = (
    Fault(Effect("sweep", "BlobStore.delete chunks", 1), Kind.KILLED),
    Fault(Effect("patrol", "EventLog.emit integration.storage.integrity_failed", 1), Kind.DELAYED),
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsProcess]:
    with NatsProcess(tmp_path / "nats") as running:
        yield running


@pytest_asyncio.fixture
async def broker(server: NatsProcess) -> AsyncIterator[RealBroker]:
    streams, consumers = declared(REAL_ACK_WAIT_S, REAL_WINDOW_S)
    client = await nats.connect(server.url)
    jetstream = client.jetstream()
    await apply_topology(jetstream, streams, consumers)
    yield RealBroker(jetstream, consumers)
    await client.close()


def test_the_slice_is_one_of_the_table() -> None:
    assert set(SLICE) <= set(faults())
    assert set(REMOVALS) <= set(removal_faults())
    assert set(KEPT) <= set(keeping_faults())


@pytest.mark.parametrize(
    "fault", [None, *SLICE], ids=lambda fault: fault.id if fault else "nothing"
)
async def test_on_a_real_server_nothing_is_lost_either(
    tmp_path: Path, broker: RealBroker, fault: Fault | None
) -> None:
    folder = folder_in(tmp_path)
    world = World(folder, fault, broker, SetClock(time.time_ns()), FileParts(folder))
    await world.record()
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", REMOVALS, ids=lambda fault: fault.id)
async def test_on_a_real_server_too_the_held_stays_and_the_deleted_goes(
    tmp_path: Path, broker: RealBroker, fault: Fault
) -> None:
    folder = folder_in(tmp_path)
    world = World(folder, None, broker, SetClock(time.time_ns()), FileParts(folder))
    await world.record()
    await world.remove(fault)
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", KEPT, ids=lambda fault: fault.id)
async def test_on_a_real_server_too_a_chunk_leaves_behind_its_copy_alone(
    tmp_path: Path, broker: RealBroker, fault: Fault
) -> None:
    folder = folder_in(tmp_path)
    world = World(folder, None, broker, SetClock(time.time_ns()), FileParts(folder))
    await record_uncopied(world)
    await keep(world, fault)
    await wake(world)
    assert broken(await collect(world)) == []
