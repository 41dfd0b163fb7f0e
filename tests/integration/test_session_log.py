"""The log of sessions on a real nats-server: killed at every step, raced, and with a lost register.

A kill is an exception that nothing catches, right before or right after one effect; what goes on is
a stage that knows nothing of the one before. The streams forget message ids after 0.1 s.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from fresh_streams import BEHIND_WINDOW_S, forget_all
from memory_signer import MemorySigner
from mortal import Axe, Killed, Mortal
from recordings import Recording

from recorder_worker.adapters.device_key import DeviceKeyFiles, FileSigner, PrivateKeys
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import RecorderBroker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import REGISTER_STREAM
from recorder_worker.core import keys
from recorder_worker.core.errors import (
    FencedError,
    IncidentError,
    PermanentError,
    StoreError,
    StoreFullError,
)
from recorder_worker.core.events import (
    AnchorRequested,
    Checkpoint,
    SessionIncident,
    SessionLogged,
    SessionNumbered,
    Totals,
)
from recorder_worker.core.ids import session_id_for
from recorder_worker.core.merkle.proofs import verify_consistency
from recorder_worker.core.merkle.tree import SHA256
from recorder_worker.core.receipts.beacon import Beacon, encode_beacon
from recorder_worker.core.session_log.entries import EntryKind, encode_entry, entry_hash
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.session_log.stored_log import (
    StoredLog,
    check_log,
    read_checkpoint,
    verify_log_note,
)
from recorder_worker.core.signing.note import SignedNote, parse_note
from recorder_worker.core.signing.rotation import Rotation, sign_rotation
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.session_log.log_files import LogFiles
from recorder_worker.stages.session_log.numbering import number
from recorder_worker.stages.session_log.stage import SessionLogStage

RECORDER = "recorder-of-tests"
ORIGIN = f"{RECORDER}/log"


class Bench:
    """One recorder's register and log, and stages that write it."""

    def __init__(self, broker: RecorderBroker, folder: Path) -> None:
        self.broker = broker
        self.log = JetStreamEventLog(lambda: broker.jetstream, EventHeaders("node"))
        self.store = DirectoryStore(folder)
        self.signer: MemorySigner | FileSigner = MemorySigner()
        self.files = LogFiles(self.store)

    def stage(self, axe: Axe | None = None, recorder: str = RECORDER) -> SessionLogStage:
        axe = axe or Axe()
        return SessionLogStage(
            log=Mortal(self.log, axe, "append", "append_to_all", "emit"),
            store=Mortal(self.store, axe, "put", "replace", "delete"),
            signer=Mortal(self.signer, axe, "sign_device"),
            clock=SystemClock(),
            recorder=recorder,
        )

    async def session(self, name: str, leaves: int = 3) -> list[Checkpoint]:
        """A session that was numbered and signed: its checkpoints, as the merkle stage says."""
        session_id = session_id_for(name, 1)
        self.store.put(keys.blob_key(session_id, keys.MANIFEST), b"{}")
        numbered = await number(self.log, self.store, session_id)
        signed, after = [], 0
        for size in range(1, leaves + 1):
            event = Checkpoint(
                session_id=session_id,
                session_counter=numbered.counter,
                tree_size=size,
                root_hash=hashlib.sha256(f"{name} {size}".encode()).hexdigest(),
                note=f"the signed checkpoint of {name}, size {size}",
                totals=Totals(),
                sealed=size == leaves,
            )
            key = f"checkpoint {name} {size}"
            after = await self.log.append(Fact.CHECKPOINT, session_id, event, key=key, after=after)
            signed.append(event)
        return signed

    async def deliver(self, stage: SessionLogStage, signed: list[Checkpoint]) -> None:
        """Every checkpoint, as JetStream does: again, where another worker was quicker, or the
        store failed.
        """
        for event in signed:
            while True:
                try:
                    await stage.handle(event)
                except (FencedError, StoreError):
                    await asyncio.sleep(0.005)
                    continue
                break

    def checkpoint(self) -> SignedNote:
        found = read_checkpoint(self.files.read)
        assert found is not None
        return found

    async def heads(self) -> list[SessionLogged]:
        found = [
            logged.event async for logged in self.log._read(Fact.LOGGED, Fact.LOGGED.wildcard, 0)
        ]
        assert all(isinstance(event, SessionLogged) for event in found)
        return [event for event in found if isinstance(event, SessionLogged)]

    async def check(self, *sessions: list[Checkpoint], heads: bool = True) -> StoredLog:
        """Whole, signed, every session in it once, one root for a size, proofs and anchors."""
        note = self.checkpoint()
        verify_log_note(note, ORIGIN, self.signer.device_keys()[0].data)
        log = check_log(self.files.read, note)
        found = [(e.kind, e.session_id, e.counter, e.note_sha256) for e in log.entries]
        assert len(found) == len(set(found))
        for signed in sessions:
            for kind, event, name in (
                (EntryKind.OPEN, signed[0], keys.PROOF_OPEN),
                (EntryKind.SEAL, signed[-1], keys.PROOF_SEAL),
            ):
                digest = hashlib.sha256(event.note.encode()).digest()
                assert (kind, event.session_id, event.session_counter, digest) in found
                proof = parse_log_proof(self.store.get(keys.blob_key(event.session_id, name)))
                verify_log_note(proof.checkpoint, ORIGIN, self.signer.device_keys()[0].data)
                proof.verify(entry_hash(encode_entry(log.entries[proof.index])))
                assert log.entries[proof.index].note_sha256 == digest
        assert len(found) == 2 * len(sessions)
        if heads:
            sizes = [head.size for head in await self.heads()]
            assert sizes == list(range(1, len(found) + 1))
            assert (await self.heads())[-1].root_hash == note.head.root_hash.hex()
        await self._check_anchors(log)
        return log

    async def _check_anchors(self, log: StoredLog) -> None:
        requests = [
            logged.event async for logged in self.log.read(Fact.ANCHOR_REQUESTED, "any session")
        ]
        mine = [r for r in requests if isinstance(r, AnchorRequested)]
        assert [r.tree_size for r in mine] == sorted({r.tree_size for r in mine})
        assert mine[-1].tree_size == len(log.entries)
        assert mine[-1].note == log.checkpoint.raw.decode()
        for request in mine:
            assert parse_note(request.note.encode()).head.tree_size == request.tree_size
            verify_consistency(
                first=request.previous_size,
                second=request.tree_size,
                first_root=bytes.fromhex(request.previous_root_hash),
                second_root=bytes.fromhex(request.root_hash),
                proof=[bytes.fromhex(value) for value in request.consistency_proof],
                hasher=SHA256,
            )


@pytest.fixture
def bench(broker: RecorderBroker, tmp_path: Path) -> Bench:
    return Bench(broker, tmp_path / "data")


# --- in good order --------------------------------------------------------------------------------


async def test_a_session_is_entered_when_it_opens_and_when_it_is_sealed(bench: Bench) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    stage = bench.stage()
    await bench.deliver(stage, one[:2])
    assert len(await bench.heads()) == 1
    await bench.deliver(stage, [*two, *one[2:]])
    log = await bench.check(one, two)
    assert [(entry.kind.name, entry.counter) for entry in log.entries] == [
        ("OPEN", 1),
        ("OPEN", 2),
        ("SEAL", 2),
        ("SEAL", 1),
    ]


async def test_a_redelivery_changes_nothing(bench: Bench) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    before = bench.checkpoint()
    await asyncio.sleep(BEHIND_WINDOW_S)
    for _ in range(2):
        await bench.deliver(bench.stage(), one)
    assert bench.checkpoint() == before
    await bench.check(one)


async def test_a_seal_that_comes_before_its_open_enters_both(bench: Bench) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), [one[-1], one[0]])
    log = await bench.check(one)
    assert [entry.kind.name for entry in log.entries] == ["OPEN", "SEAL"]


async def test_a_seal_whose_first_checkpoint_is_gone_is_said_and_not_entered(bench: Bench) -> None:
    one = await bench.session("one")
    stranger = msgspec.structs.replace(one[-1], session_id=session_id_for("stranger", 1))
    with pytest.raises(PermanentError, match="expected its first checkpoint"):
        await bench.stage().handle(stranger)
    await bench.stage().give_up(stranger, "it is gone")
    incident = await bench.log.last(Fact.INCIDENT, stranger.session_id)
    assert incident is not None
    assert isinstance(incident.event, SessionIncident)
    assert "not in the log of sessions: it is gone" in incident.event.detail


async def test_partial_tiles_go_when_the_full_one_is_there(bench: Bench) -> None:
    stage, sessions = bench.stage(), []
    for n in range(130):
        sessions.append(await bench.session(f"s{n}", leaves=2))
        await bench.deliver(stage, sessions[-1])
    log = await bench.check(*sessions)
    assert len(log.entries) == 260
    names = [key.removeprefix("log/") for key in bench.store.keys("log/tile")]
    assert {"tile/0/000", "tile/entries/000", "tile/1/000.p/1"} <= set(names)
    assert not [name for name in names if name.startswith(("tile/0/000.p", "tile/entries/000.p"))]
    # A worker that starts cold reads all of it, and goes on.
    late = await bench.session("late")
    await bench.deliver(bench.stage(), late)
    await bench.check(*sessions, late)


# --- killed, and raced ----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_every_effect_and_taken_up_by_another(
    broker: RecorderBroker, tmp_path: Path, *, after: bool
) -> None:
    whole, axe = Bench(broker, tmp_path / "whole"), Axe()
    undisturbed = [await whole.session("one"), await whole.session("two")]
    await whole.deliver(whole.stage(axe), [*undisturbed[0], *undisturbed[1]])
    await whole.check(*undisturbed)
    assert {"append_to_all", "append", "put", "replace", "sign_device"} <= set(axe.effects)
    for at in range(1, len(axe.effects) + 1):
        await forget_all(broker)
        bench = Bench(broker, tmp_path / str(at))
        one, two = await bench.session("one"), await bench.session("two")
        with pytest.raises(Killed):
            await bench.deliver(bench.stage(Axe(at, after=after)), [*one, *two])
        await asyncio.sleep(BEHIND_WINDOW_S)
        await bench.deliver(bench.stage(), [*one, *two])
        await bench.check(one, two)


async def test_two_workers_race_and_one_of_them_is_killed(
    broker: RecorderBroker, tmp_path: Path
) -> None:
    for at in range(0, 40, 3):
        await forget_all(broker)
        bench = Bench(broker, tmp_path / str(at))
        sessions = [await bench.session(f"s{n}") for n in range(3)]
        signed = [event for session in sessions for event in session]
        ends = await asyncio.gather(
            bench.deliver(bench.stage(Axe(at)), signed),
            bench.deliver(bench.stage(), signed),
            return_exceptions=True,
        )
        assert all(end is None or isinstance(end, Killed) for end in ends), ends
        await bench.deliver(bench.stage(), signed)
        await bench.check(*sessions)


async def test_workers_that_share_no_session_race_for_one_log(bench: Bench) -> None:
    sessions = [await bench.session(f"s{n}") for n in range(8)]
    await asyncio.gather(*(bench.deliver(bench.stage(), session) for session in sessions))
    await bench.check(*sessions)


async def test_a_worker_that_was_held_up_does_not_leave_an_old_checkpoint(bench: Bench) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), one)
    old = bench.checkpoint().raw
    await bench.deliver(bench.stage(), two)
    newest = bench.checkpoint().raw
    # It had looked before the others wrote, and its replace comes through now.
    bench.store.replace(keys.log_key(keys.LOG_CHECKPOINT), old)
    await bench.deliver(bench.stage(), one[:1])
    assert bench.checkpoint().raw == newest
    await bench.check(one, two)


# --- a lost register ------------------------------------------------------------------------------


async def test_an_empty_register_goes_on_behind_the_stored_log(
    broker: RecorderBroker, bench: Bench
) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), [*one, *two])
    before = bench.checkpoint()
    await forget_all(broker, REGISTER_STREAM)
    assert await bench.log.last_of_all(Fact.NUMBERED) is None
    three = await bench.session("three")
    numbered = await bench.log.last(Fact.NUMBERED, three[0].session_id)
    assert numbered is not None
    assert isinstance(numbered.event, SessionNumbered)
    assert numbered.event.counter == 3
    assert numbered.event.previous_seal == hashlib.sha256(two[-1].note.encode()).hexdigest()
    assert numbered.event.beacon == before.raw.decode()
    await bench.deliver(bench.stage(), [*one, *three])
    log = await bench.check(one, two, three, heads=False)
    assert [entry.counter for entry in log.entries] == [1, 1, 2, 2, 3, 3]
    assert log.tree.root(4) == before.head.root_hash


async def test_a_register_that_lost_its_newest_messages_goes_on_behind_the_stored_log(
    broker: RecorderBroker, bench: Bench
) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), [*one, *two])
    kept = (await bench.heads())[:2]
    await forget_all(broker, REGISTER_STREAM)
    after = 0
    for head in kept:
        after = await bench.log.append_to_all(
            Fact.LOGGED, head.session_id, head, key=f"kept {head.size}", after=after
        )
    three = await bench.session("three")
    await bench.deliver(bench.stage(), three)
    await bench.check(one, two, three, heads=False)


async def test_a_log_that_contradicts_the_register_is_an_incident_and_nothing_is_signed(
    broker: RecorderBroker, bench: Bench, tmp_path: Path
) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    await forget_all(broker, REGISTER_STREAM)
    other = Bench(broker, tmp_path / "other")
    elsewhere = await other.session("elsewhere")
    await other.deliver(other.stage(), elsewhere[:1])
    before = bench.checkpoint()
    two = await bench.session("two")
    with pytest.raises(IncidentError, match="keep both"):
        await bench.stage().handle(two[0])
    assert bench.checkpoint() == before
    incident = await bench.log.last(Fact.INCIDENT, two[0].session_id)
    assert incident is not None
    assert isinstance(incident.event, SessionIncident)
    assert incident.event.stage == "log"


@pytest.mark.parametrize("name", ["tile/0/000.p/2", "tile/entries/000.p/2"])
async def test_a_changed_log_is_not_signed_on(bench: Bench, name: str) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), one)
    path = Path(bench.files.location) / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    before = bench.checkpoint()
    with pytest.raises(IncidentError):
        await bench.stage().handle(two[0])
    assert bench.checkpoint() == before


async def test_a_longer_log_that_this_device_has_not_signed_is_not_gone_on_with(
    broker: RecorderBroker, bench: Bench
) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), one)
    await forget_all(broker, REGISTER_STREAM)
    bench.signer = MemorySigner()
    with pytest.raises(IncidentError, match="not signed by this device"):
        await bench.stage().handle(two[0])


def a_rotation(old: PrivateKeys, new: PrivateKeys) -> bytes:
    rotation = Rotation(recorder=RECORDER, at_s=1, old=old.public(), new=new.public())
    return sign_rotation(rotation, old.sign)


async def test_a_log_that_a_former_key_signed_is_gone_on_with(
    broker: RecorderBroker, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "device.pem"
    old = bench.signer = FileSigner(path)
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    for _ in range(2):
        DeviceKeyFiles(path, path.parent).rotate(a_rotation)
    await forget_all(broker, REGISTER_STREAM)
    bench.signer = FileSigner(path)
    two = await bench.session("two")
    await bench.deliver(bench.stage(), two)
    log = check_log(bench.files.read, bench.checkpoint())
    assert [entry.counter for entry in log.entries] == [1, 1, 2, 2]
    public = bench.signer.device_keys()[0].data
    assert public != old.device_keys()[0].data
    verify_log_note(log.checkpoint, ORIGIN, public)
    # Without the statements nothing ties the new key to the old one.
    await forget_all(broker, REGISTER_STREAM)
    DeviceKeyFiles(path, path.parent).rotate(a_rotation)
    for statement in (path.parent / "rotations").iterdir():
        statement.unlink()
    bench.signer = FileSigner(path)
    with pytest.raises(IncidentError, match="not signed by this device"):
        await bench.stage().handle((await bench.session("three"))[0])


async def test_a_proof_under_a_former_key_goes_to_the_session_that_names_that_key(
    broker: RecorderBroker, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "device.pem"
    bench.signer = old = FileSigner(path)
    one = await bench.session("one")
    opened = opened_by(one[0].session_id, old)
    bench.store.put(keys.blob_key(one[0].session_id, keys.leaf(0)), opened)
    await bench.deliver(bench.stage(), one[:1])
    proof = keys.blob_key(one[0].session_id, keys.PROOF_OPEN)
    stored = bench.store.get(proof)
    bench.store.delete(proof)  # as if it had died before
    DeviceKeyFiles(path, path.parent).rotate(a_rotation)
    await forget_all(broker, REGISTER_STREAM)
    bench.signer = FileSigner(path)
    await bench.stage().handle(one[0])
    assert bench.store.get(proof) == stored


async def test_the_log_of_another_recorder_is_left_alone(bench: Bench) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    await bench.deliver(bench.stage(), one)
    with pytest.raises(IncidentError, match=r"found recorder-of-tests/log; set merkle\.recorder"):
        await bench.stage(recorder="another").handle(two[0])


async def test_a_session_whose_checkpoint_was_signed_twice_is_an_incident(bench: Bench) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    forged = msgspec.structs.replace(one[0], note="another checkpoint")
    with pytest.raises(IncidentError, match="stands in the log with number 1"):
        await bench.stage().handle(forged)


# --- a damaged folder -----------------------------------------------------------------------------


def opened_by(session_id: str, signer: MemorySigner | FileSigner) -> bytes:
    """An OPEN record that names the keys of a signer."""
    recording = Recording(session_id, key=None)
    recording.keys.device_keys = signer.device_keys  # type: ignore[method-assign]
    recording.keys.endorse = lambda message: tuple(  # type: ignore[method-assign]
        signer.sign_device(key.kind, message) for key in signer.device_keys()
    )
    recording.open()
    return recording.records[0]


@pytest.mark.parametrize("damage", ["records", "leaf", "proofs"])
async def test_a_damaged_folder_holds_up_no_other_session(bench: Bench, damage: str) -> None:
    one, two = await bench.session("one"), await bench.session("two")
    folder = Path(bench.store.location(keys.blob_key(one[0].session_id, keys.MANIFEST))).parent
    leaf = folder / keys.leaf(0)
    leaf.parent.mkdir(parents=True)
    if damage == "records":
        (folder / keys.RECORDS).write_bytes(bytes(4))
    elif damage == "leaf":
        leaf.mkdir()
    else:
        leaf.write_bytes(opened_by(one[0].session_id, bench.signer))
        (folder / keys.PROOFS).write_text("a file where a folder should be")
    opened = opened_by(two[0].session_id, bench.signer)
    bench.store.put(keys.blob_key(two[0].session_id, keys.leaf(0)), opened)
    stage = bench.stage()
    with structlog.testing.capture_logs() as lines:
        await bench.deliver(stage, [one[0], one[0], two[0], one[-1], two[-1]])
    log = check_log(bench.files.read, bench.checkpoint())
    assert [entry.counter for entry in log.entries] == [1, 2, 1, 2]
    assert bench.store.size(keys.blob_key(two[0].session_id, keys.PROOF_SEAL)) is not None
    said = [line["proof"] for line in lines if line["event"] == "ProofNotStored"]
    # Once for each; where the other two say no key, the proof goes into the folder all the same.
    assert said == ([keys.PROOF_OPEN, keys.PROOF_SEAL] if damage == "proofs" else [])


async def test_a_full_store_is_not_a_damaged_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await bench.session("one")
    stage = bench.stage()

    def full(*_: object) -> None:
        raise StoreFullError("no room left")

    with monkeypatch.context() as patch:
        patch.setattr(LogFiles, "put_proof", full)
        with pytest.raises(StoreFullError):
            await stage.handle(one[0])
    await bench.deliver(stage, one)
    assert len(check_log(bench.files.read, bench.checkpoint()).entries) == 2


# --- numbers --------------------------------------------------------------------------------------


async def test_every_session_gets_its_own_number_and_keeps_it(bench: Bench) -> None:
    ids = [session_id_for(f"n{n}", 1) for n in range(25)]
    found = await asyncio.gather(*(number(bench.log, bench.store, each) for each in ids))
    assert sorted(numbered.counter for numbered in found) == list(range(1, 26))
    again = [await number(bench.log, bench.store, each) for each in ids]
    assert again == found


class HeldUp:
    """An event log that waits right before its first append, behind all that it has read."""

    def __init__(self, log: JetStreamEventLog) -> None:
        self._log = log
        self.there = asyncio.Event()
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def append_to_all(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401  (as it comes)
        self.there.set()
        await self.go.wait()
        return await self._log.append_to_all(*args, **kwargs)


async def test_two_holders_of_one_session_get_the_number_that_stands_in_the_register(
    bench: Bench,
) -> None:
    one, other = session_id_for("one", 1), session_id_for("other", 1)
    held = [HeldUp(bench.log), HeldUp(bench.log)]
    tasks = []
    for log in held:
        tasks.append(asyncio.create_task(number(log, bench.store, one)))  # type: ignore[arg-type]
        await log.there.wait()
    third = await number(bench.log, bench.store, other)
    found = []
    for log, task in zip(held, tasks, strict=True):
        log.go.set()
        found.append(await task)
    register = await bench.log.last(Fact.NUMBERED, one)
    assert register is not None
    assert found == [register.event, register.event]
    assert (third.counter, found[0].counter) == (1, 2)


async def test_a_number_carries_the_newest_time_stamp_that_is_known(bench: Bench) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    note = bench.checkpoint().raw.decode()
    beacon = Beacon(tree_size=2, note=note, timestamp=b"DER")
    bench.store.replace(keys.log_key(keys.LOG_BEACON), encode_beacon(beacon))
    numbered = await number(bench.log, bench.store, session_id_for("next", 1))
    assert (numbered.timestamped, numbered.timestamp) == (note, b"DER")
    bench.store.replace(keys.log_key(keys.LOG_BEACON), b"not a beacon")
    without = await number(bench.log, bench.store, session_id_for("without", 1))
    assert (without.counter, without.timestamped, without.timestamp) == (3, "", b"")


async def test_without_a_register_and_a_readable_log_no_number_is_given(
    broker: RecorderBroker, bench: Bench
) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one)
    bench.store.delete(keys.log_key("tile/entries/000.p/2"))
    numbered = await number(bench.log, bench.store, session_id_for("known", 1))
    assert numbered.counter == 2
    await forget_all(broker, REGISTER_STREAM)
    with pytest.raises(IncidentError, match="no number is known to be free"):
        await number(bench.log, bench.store, session_id_for("next", 1))


async def test_a_foreign_message_in_the_register_holds_up_nobody(
    broker: RecorderBroker, bench: Bench
) -> None:
    one = await bench.session("one")
    await bench.deliver(bench.stage(), one[:1])
    for fact in (Fact.NUMBERED, Fact.LOGGED):
        await broker.jetstream.publish(fact.of("anybody"), b"not an event")
    two = await bench.session("two")
    assert two[0].session_counter == 2
    await bench.deliver(bench.stage(), [*one, *two])
    log = check_log(bench.files.read, bench.checkpoint())
    assert len(log.entries) == 4


async def test_a_register_that_begins_with_a_foreign_message_before_anything_else(
    broker: RecorderBroker, bench: Bench
) -> None:
    for fact in (Fact.NUMBERED, Fact.LOGGED):
        await broker.jetstream.publish(fact.of("anybody"), b"not an event")
    one = await bench.session("one")
    assert one[0].session_counter == 1
    await bench.deliver(bench.stage(), one)
    assert len(check_log(bench.files.read, bench.checkpoint()).entries) == 2
