"""The crash rule of the merkle stage: killed between every two steps, never two roots for a size.

Real JetStream, a real directory, real keys. A kill is an exception that nothing catches, right
before or right after one effect; what goes on is a stage that knows nothing of the one before.
The stream forgets message ids after 0.1 s, so every redelivery comes behind its window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from fresh_streams import BEHIND_WINDOW_S, LIMITS
from mortal import Axe, Killed, Mortal
from nats_process import NatsProcess
from recordings import Recording

from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.device_key.signer import FileSigner
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.apply import apply_topology
from recorder_worker.bus.streams.topology import streams
from recorder_worker.core import keys
from recorder_worker.core.errors import (
    FencedError,
    IncidentError,
    KeyErasedError,
    OutOfOrderError,
    SessionKeyMissingError,
    StoreError,
)
from recorder_worker.core.events import (
    Checkpoint,
    CompressedEvent,
    Head,
    SessionIncident,
    SessionSealed,
)
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.signing.note import parse_notes
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.merkle.stage import MerkleStage

EPOCHS = 3
AT_ONCE = 8
"""Sessions that are killed side by side: each waits for disks, the server and the window."""


@pytest_asyncio.fixture
async def broker(nats_process: NatsProcess) -> AsyncIterator[RecorderBroker]:
    login = Login(servers=(nats_process.url,))
    made = make_broker(login)
    await connect(made, login)
    await apply_topology(made.jetstream, streams(LIMITS), {})
    yield made
    await made.stop()


class Bench:
    """One session's leaves, and stages that bring them into the tree."""

    def __init__(self, broker: RecorderBroker, folder: Path, name: str, *, pq: bool) -> None:
        self.session_id = session_id_for(f"{folder} {name}", 1)
        self.log = JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))
        self.store = DirectoryStore(folder)
        self.signer = FileSigner(folder / "keys" / "device.pem", ml_dsa_44=pq)
        self.cipher_keys = CipherKeyFiles(folder / "keys" / "ciphers")
        self.cipher_keys.make(self.session_id)
        script = Recording(self.session_id).open().beat().epoch().mark().chunk().epoch().beat()
        self.leaves: list[CompressedEvent] = script.seal().events
        self.store.put(keys.blob_key(self.session_id, keys.MANIFEST), script.files[keys.MANIFEST])
        for name_, data in script.files.items():
            if name_.startswith(keys.CHUNKS):
                self.store.put(keys.blob_key(self.session_id, name_), data)

    def stage(self, axe: Axe | None = None) -> MerkleStage:
        axe = axe or Axe()
        return MerkleStage(
            log=Mortal(self.log, axe, "append", "emit"),
            store=Mortal(self.store, axe, "put", "delete_below"),
            signer=Mortal(
                self.signer, axe, "open_epoch", "sign_epoch", "close_epoch", "close_session"
            ),
            cipher_keys=Mortal(self.cipher_keys, axe, "erase"),
            clock=SystemClock(),
            metrics=Metrics(version="0", node="tests"),
            recorder="recorder-of-tests",
        )

    async def deliver(self, stage: MerkleStage) -> None:
        """Every leaf, as JetStream does: again, where its turn has not come.

        So, too, where a folder of keys went while it was used: another worker closed the session.
        """
        for leaf in self.leaves:
            while True:
                try:
                    await stage.handle(leaf)
                except (OutOfOrderError, FencedError, StoreError):
                    await asyncio.sleep(0.005)
                    continue
                break

    async def check(self) -> None:
        """One root for a size, everywhere; whole; and nothing left to sign with."""
        folder = FolderRecording(Path(self.store.location(f"sessions/{self.session_id}")))
        report = verify(folder)
        assert report.verdict is Verdict.COMPLETE, report
        roots: dict[int, set[str]] = {}
        for fact in (Fact.HEAD, Fact.CHECKPOINT):
            async for logged in self.log.read(fact, self.session_id):
                event = logged.event
                assert isinstance(event, Head | Checkpoint)
                roots.setdefault(event.tree_size, set()).add(event.root_hash)
        notes = parse_notes(self.store.get(keys.blob_key(self.session_id, keys.CHECKPOINTS)))
        for note in notes:
            roots[note.head.tree_size].add(note.head.root_hash.hex())
        assert [note.head.tree_size for note in notes] == list(range(1, len(self.leaves) + 1))
        assert all(len(found) == 1 for found in roots.values()), roots
        seals = [logged.event async for logged in self.log.read(Fact.SEALED, self.session_id)]
        assert [type(seal) for seal in seals] == [SessionSealed]
        for epoch in range(EPOCHS):
            with pytest.raises(KeyErasedError):
                self.signer.sign_epoch(self.session_id, epoch, KeyKind.ED25519, b"forged")
        with pytest.raises(SessionKeyMissingError):
            self.cipher_keys.get(self.session_id)


async def effects_of_a_session(broker: RecorderBroker, folder: Path, *, pq: bool) -> list[str]:
    bench, axe = Bench(broker, folder, "undisturbed", pq=pq), Axe()
    await bench.deliver(bench.stage(axe))
    await bench.check()
    return axe.effects


@pytest.mark.parametrize(
    ("after", "pq"),
    [(False, False), (True, False), (True, True)],
    ids=["before", "after", "after, with ml-dsa-44"],
)
async def test_killed_at_every_effect_and_taken_up_behind_the_window(
    broker: RecorderBroker, tmp_path: Path, *, after: bool, pq: bool
) -> None:
    effects = await effects_of_a_session(broker, tmp_path / "whole", pq=pq)
    assert {"put", "append", "sign_epoch", "close_epoch", "delete_below", "erase"} <= set(effects)
    turns = asyncio.Semaphore(AT_ONCE)

    async def killed_at(at: int) -> None:
        async with turns:
            name = f"killed {after} {pq} {at}"
            bench = Bench(broker, tmp_path / str(at), name, pq=pq)
            with pytest.raises(Killed):
                await bench.deliver(bench.stage(Axe(at, after=after)))
            await asyncio.sleep(BEHIND_WINDOW_S)
            await bench.deliver(bench.stage())
            await bench.check()

    async with asyncio.TaskGroup() as all_of_them:
        for at in range(1, len(effects) + 1):
            all_of_them.create_task(killed_at(at))


@pytest.mark.parametrize("pq", [False, True], ids=["ed25519", "ed25519 and ml-dsa-44"])
async def test_two_workers_race_and_one_is_killed_at_every_effect(
    broker: RecorderBroker, tmp_path: Path, *, pq: bool
) -> None:
    for at in range(1, 40, 3):
        bench = Bench(broker, tmp_path / str(at), f"raced {pq} {at}", pq=pq)
        one, other = bench.stage(Axe(at)), bench.stage()
        ends = await asyncio.gather(
            bench.deliver(one), bench.deliver(other), return_exceptions=True
        )
        assert all(end is None or isinstance(end, Killed) for end in ends), ends
        await bench.deliver(bench.stage())
        await bench.check()


async def test_a_tree_that_is_not_the_signed_one_is_an_incident_and_everything_is_kept(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    bench = Bench(broker, tmp_path, "tampered", pq=False)
    half = bench.stage()
    for leaf in bench.leaves[:4]:
        await half.handle(leaf)
    victim = tmp_path / keys.blob_key(bench.session_id, keys.leaf(3))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(IncidentError, match="the store was changed"):
        await bench.stage().handle(bench.leaves[4])
    incident = await bench.log.last(Fact.INCIDENT, bench.session_id)
    assert incident is not None
    assert isinstance(incident.event, SessionIncident)
    assert "was signed" in incident.event.detail
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_a_head_without_its_checkpoint_is_not_signed_by_a_later_epoch(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    """Who takes a closing checkpoint away does not get another one made."""
    bench = Bench(broker, tmp_path, "erased", pq=False)
    stage = bench.stage()
    for leaf in bench.leaves[:3]:
        await stage.handle(leaf)
    bench.store.delete(keys.blob_key(bench.session_id, keys.note(3)))
    last = await bench.log.last(Fact.HEAD, bench.session_id)
    assert last is not None
    assert isinstance(last.event, Head)
    assert (last.event.signing.number, last.event.epoch.number) == (0, 1)
    with pytest.raises(IncidentError, match="epoch 0 is closed"):
        stage._notary.note(last.event, Archive(bench.store, bench.session_id))
