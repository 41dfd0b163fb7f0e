"""Receipts and heads: what they become here, and when their copies become that, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from faulty_store import FaultyStore
from logged_sessions import LoggedSessions, log_note, session_id
from memory_store import MemoryStore
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from ots_receipts import receipt as ots_receipt
from recordings import RECORDER, device_key
from time_stamp_authority import Tsa

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.copy_marker import CopyMarker, encode_marker
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.beacon import Beacon, encode_beacon
from recorder_worker.core.receipts.ots import merge_ots
from recorder_worker.core.signing.note import parse_note
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.replacing import Ours
from recorder_worker.integrations.second_store.sweep import Sweep
from recorder_worker.service.observing.metrics import Metrics

SIZE = 2
CHECKPOINT = keys.log_key(keys.LOG_CHECKPOINT)
BEACON = keys.log_key(keys.LOG_BEACON)
TSR, OTS, NOTE = (keys.log_key(keys.receipt(SIZE, kind)) for kind in ("tsr", "ots", "note"))
CHAIN = keys.log_key(keys.chain_receipt(SIZE, "0123456789abcdef"))
CALENDAR = PendingAttestation("https://calendar.example")
BLOCK = BitcoinBlockHeaderAttestation(800_000)


class Swept:
    """A data directory with a log, its copy, and workers that look after both."""

    def __init__(self) -> None:
        self.local, self.second = MemoryStore(), FaultyStore()
        self.logged = LoggedSessions()
        self.trusted: tuple[TimestampAuthority, ...] = ()
        self.log_keys: tuple[bytes, ...] = (device_key().public_key().public_bytes_raw(),)
        self.worker = self.another()

    @property
    def note(self) -> bytes:
        """The checkpoint that the receipts are over."""
        return self.logged.notes[SIZE - 1]

    def another(self) -> Sweep:
        """A worker that has just begun, and knows nothing of what was copied."""
        metrics, clock = Metrics(version="1", node="n").copies, SystemClock()
        copier = Copier(self.local, lambda: self.second, metrics)
        patience = Patience(Troubles(clock, metrics), (0.001,))
        archiver = Archiver(None, copier, patience, clock, node="n", keep_local=True)  # type: ignore[arg-type] # there is nothing to archive
        return Sweep(
            copier,
            archiver,
            None,
            patience,
            clock,
            lambda: Ours(recorder=RECORDER, log_keys=self.log_keys, trusted=self.trusted),
        )

    def write_log(self) -> None:
        """The log as it is now, in the directory."""
        for key in self.local.keys(keys.LOG):
            if f"/{keys.RECEIPTS}/" not in key:
                self.local.delete(key)
        for name, data in self.logged.log.items():
            self.local.put(keys.log_key(name), data)
        self.local.replace(NOTE, self.note)

    async def turn(self, *, anew: bool = True) -> list[str]:
        """A look, of a worker that has just begun; gives what it logged."""
        self.worker = self.another() if anew else self.worker
        with structlog.testing.capture_logs() as logs:
            await self.worker.turn(idle=False)
        return [f"{line['log_level']} {line['event']} {line['key']}" for line in logs]

    async def bring(self, key: str, data: bytes) -> list[str]:
        """Write something here, and have it looked at."""
        self.local.replace(key, data)
        return await self.turn()

    def there(self, key: str) -> bytes:
        """What the second store has."""
        return self.second.held.get(key)


@pytest.fixture
def swept() -> Swept:
    made = Swept()
    made.logged.record()
    made.write_log()
    return made


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def flipped(data: bytes) -> bytes:
    """One bit, in the midst."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def differs(key: str) -> list[str]:
    return [f"warning LateFileDiffers {key}"]


def rolled_back() -> list[str]:
    return [f"error LogRolledBack {CHECKPOINT}"]


# --- receipts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flipped, lambda _data: b"", lambda data: data[:-9]])
@pytest.mark.parametrize("kind", ["tsr", "ots", "note", "chain"])
async def test_a_receipt_that_is_damaged_here_is_not_written_over_its_copy(
    swept: Swept, tsa: Tsa, kind: str, damage: object
) -> None:
    assert callable(damage)
    good = {
        TSR: tsa.stamp(swept.note),
        OTS: ots_receipt(CALENDAR, message=swept.note)[0],
        NOTE: swept.note,
        CHAIN: b"a receipt of a chain",
    }
    for key, data in good.items():
        assert await swept.bring(key, data) == []
    key = {"tsr": TSR, "ots": OTS, "note": NOTE, "chain": CHAIN}[kind]
    assert await swept.bring(key, damage(good[key])) == differs(key)
    assert await swept.turn(anew=False) == [], "it is told once"
    assert {key: swept.there(key) for key in good} == good
    assert await swept.bring(key, good[key]) == [], "mended here, it is the same again"


async def test_a_receipt_of_a_session_is_held_against_the_checkpoint_in_the_log(
    swept: Swept, tsa: Tsa
) -> None:
    session = session_id(1)
    marker = CopyMarker(
        location="", seal_sha256="00" * 32, file_count=1, file_bytes=1, archived_wall_ns=1
    )
    swept.local.put(keys.copies(session), encode_marker(marker))
    key, good = keys.blob_key(session, keys.receipt(SIZE, "tsr")), tsa.stamp(swept.note)
    assert await swept.bring(key, good) == []
    for bad in (b"", flipped(good), tsa.stamp(swept.logged.notes[0])):
        assert await swept.bring(key, bad) == differs(key)
        assert swept.there(key) == good


async def test_a_time_stamp_becomes_one_of_somebody_who_is_trusted_and_no_other(
    swept: Swept, tsa: Tsa, tmp_path: Path
) -> None:
    stranger = Tsa(tmp_path)
    first, second, trusted = (by.stamp(swept.note) for by in (stranger, stranger, tsa))
    over_another = tsa.stamp(swept.logged.notes[0])
    assert await swept.bring(TSR, first) == []
    assert await swept.bring(TSR, second) == differs(TSR), "the first one stays"
    swept.trusted = (tsa.trusted(),)
    assert await swept.bring(TSR, second) == differs(TSR)
    assert await swept.bring(TSR, over_another) == differs(TSR)
    assert swept.there(TSR) == first
    assert await swept.bring(TSR, trusted) == []
    assert swept.there(TSR) == trusted
    # The directory was set back to a snapshot.
    assert await swept.bring(TSR, first) == differs(TSR)
    assert swept.there(TSR) == trusted


async def test_a_proof_of_opentimestamps_grows_there_as_it_grows_here(swept: Swept) -> None:
    young, block = (ots_receipt(by, message=swept.note)[0] for by in (CALENDAR, BLOCK))
    grown = merge_ots(young, block)
    assert grown is not None
    assert await swept.bring(OTS, young) == []
    assert await swept.bring(OTS, block) == differs(OTS), "it lacks what the other one has"
    assert swept.there(OTS) == young
    assert await swept.bring(OTS, grown) == []
    assert swept.there(OTS) == grown
    assert await swept.bring(OTS, young) == differs(OTS)
    assert swept.there(OTS) == grown


@pytest.mark.parametrize("kind", ["tsr", "ots"])
async def test_a_copy_that_is_no_receipt_becomes_one(swept: Swept, tsa: Tsa, kind: str) -> None:
    stamped, grown = tsa.stamp(swept.note), ots_receipt(CALENDAR, message=swept.note)[0]
    key, good = (TSR, stamped) if kind == "tsr" else (OTS, grown)
    swept.second.held.put(key, b"garbage")
    assert await swept.bring(key, good) == []
    assert swept.there(key) == good


# --- the head of the log -------------------------------------------------------------------------


async def test_the_head_of_a_log_that_grows_reaches_its_copy(swept: Swept) -> None:
    for count in (0, 1, 3):
        for _ in range(count):
            swept.logged.record()
        swept.write_log()
        assert await swept.turn(anew=count == 3) == []
        assert swept.there(CHECKPOINT) == swept.logged.notes[-1]


async def test_an_older_head_is_not_written_over_a_newer_one(swept: Swept) -> None:
    """The newer one is the evidence that the log was longer."""
    old = dict(swept.logged.log)
    swept.logged.record()
    swept.write_log()
    await swept.turn()
    swept.logged.log = old
    swept.write_log()
    assert await swept.turn() == rolled_back()
    assert await swept.turn(anew=False) == [], "it is told once"
    assert swept.there(CHECKPOINT) == swept.logged.notes[-1]


async def test_the_head_of_another_history_is_not_written_over_the_first(swept: Swept) -> None:
    """Set back to a snapshot, and then recorded on: longer than it was, by our own key."""
    await swept.turn()
    other = [bytes([*entry[:-1], entry[-1] ^ 1]) for entry in swept.logged.entries]
    swept.logged.rewrite([*other, other[-1]])
    swept.write_log()
    assert rolled_back()[0] in await swept.turn()
    assert swept.there(CHECKPOINT) == swept.logged.notes[-1]


@pytest.mark.parametrize("damage", ["root", "signature", "cut", "empty", "stranger", "tiles"])
async def test_a_head_that_is_damaged_here_is_not_written_over_its_copy(
    swept: Swept, damage: str
) -> None:
    await swept.turn()
    before = swept.there(CHECKPOINT)
    swept.logged.record()
    swept.write_log()
    head = swept.logged.notes[-1]
    size, root = len(swept.logged.entries), parse_note(head).head.root_hash
    of_another = log_note(size, bytes(32), device_key(), swept.logged.origin)
    text, others = head.split(b"\n\n")[0], of_another.split(b"\n\n")[0]
    bad = {
        "root": head.replace(text, others),
        "signature": of_another.replace(others, text),
        "cut": head[:-5],
        "empty": b"",
        "stranger": log_note(size, root, device_key(7), swept.logged.origin),
        "tiles": of_another,
    }[damage]
    assert await swept.bring(CHECKPOINT, bad) == differs(CHECKPOINT)
    assert swept.there(CHECKPOINT) == before
    assert await swept.bring(CHECKPOINT, head) == []
    assert swept.there(CHECKPOINT) == head


async def test_a_head_by_a_key_that_this_device_had_before_is_ours(swept: Swept) -> None:
    await swept.turn()
    swept.logged.record()
    swept.write_log()
    swept.log_keys = ()
    assert await swept.turn() == differs(CHECKPOINT)
    new, old = (device_key(seed).public_key().public_bytes_raw() for seed in (5, 1))
    swept.log_keys = (new, old)
    assert await swept.turn() == []
    assert swept.there(CHECKPOINT) == swept.logged.notes[-1]


async def test_what_is_no_head_of_ours_in_the_copy_is_left_to_a_person(swept: Swept) -> None:
    others = log_note(1, bytes(32), device_key(), "somebody-else/log")
    for found in (b"garbage", others):
        swept.second.held.replace(CHECKPOINT, found)
        assert await swept.turn() == differs(CHECKPOINT)
        assert swept.there(CHECKPOINT) == found


async def test_a_head_behind_a_full_tile_goes_on_from_one_in_its_midst(swept: Swept) -> None:
    """The parts of a tile go here once it is full, as the log prunes them."""
    await swept.turn()
    entry = swept.logged.entries[0]
    while len(swept.logged.entries) < 260:
        swept.logged.append(entry)
    parts = ("tile/0/000.p/", "tile/entries/000.p/")
    for name in [name for name in swept.logged.log if name.startswith(parts)]:
        del swept.logged.log[name]
    swept.write_log()
    assert await swept.turn() == []
    assert swept.there(CHECKPOINT) == swept.logged.notes[-1]


async def test_a_beacon_becomes_a_newer_one_alone(swept: Swept, tsa: Tsa) -> None:
    def beacon(size: int) -> bytes:
        note = swept.logged.notes[size - 1]
        made = Beacon(tree_size=size, note=note.decode(), timestamp=tsa.stamp(note))
        return encode_beacon(made)

    one, two = beacon(1), beacon(2)
    assert await swept.bring(BEACON, one) == []
    assert await swept.bring(BEACON, two) == []
    assert swept.there(BEACON) == two
    wrong = encode_beacon(
        Beacon(tree_size=2, note=swept.note.decode(), timestamp=tsa.stamp(b"of something else"))
    )
    for bad in (one, flipped(two), b"", two[:-1], wrong):
        assert await swept.bring(BEACON, bad) == differs(BEACON)
        assert swept.there(BEACON) == two
