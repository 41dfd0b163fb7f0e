"""The patrol over directory stores: what it finds, what it mends, where it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from recordings import RECORDER, Recording, device_key
from statements import PUBLIC, deletion, signed

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, RefusedError, StoreError
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.integrations.second_store.repair import Repairs
from recorder_worker.ports import BlobStore
from recorder_worker.stages.patrol.patrol import DamageFound, Patrol, Patrolled, SecondCopies
from recorder_worker.stages.patrol.place import STALE_NS, Place, read_place, write_place
from recorder_worker.stages.retention.statement_reader import Speaker, StatementReader

SECOND_NS = 1_000_000_000
FAST = 2**40
CHUNKS = 3


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 10**18

    def wall_ns(self) -> int:
        return self.now_ns


class Known:
    """What a patrol asks of the log of sessions, and of statements in folders.

    `removed` are those with a deletion in the log.
    """

    def __init__(self, store: BlobStore) -> None:
        self.files = StatementReader(store, lambda _session_id: Speaker(RECORDER, (PUBLIC,)))
        self.ids: list[str] = []
        self.removed: set[str] = set()
        self.settled = 0
        self.removed_when_settled: set[str] = set()
        self.known = self

    def sealed(self) -> list[str]:
        return list(self.ids)

    def statements(self, session_id: str) -> list[LogEntry]:
        if session_id not in self.removed:
            return []
        entry = LogEntry(
            kind=EntryKind.DELETE, session_id=session_id, counter=1, note_sha256=bytes(32)
        )
        return [entry]

    async def settle(self) -> None:
        self.settled += 1
        if self.settled > 1:
            self.removed |= self.removed_when_settled


class Bench:
    """Two sessions of three chunks in a directory store, and the same in a second one."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder / "first")
        self.second = DirectoryStore(folder / "second")
        self.clock = HandClock()
        self.known = Known(self.store)
        self.told: list[DamageFound] = []
        self.counted: list[tuple[Patrolled, int]] = []
        for number in (1, 2):
            session_id = f"0192f0c1-2b3c-7d4e-8f50-{number:012d}"
            recording = Recording(session_id).open()
            for _ in range(CHUNKS):
                recording.chunk(1)
            for name, data in recording.seal().sealed().items():
                self.store.put(keys.blob_key(session_id, name), data)
                self.second.put(keys.blob_key(session_id, name), data)
            self.known.ids.append(session_id)

    def patrol(
        self,
        worker: str = "one",
        *,
        second: BlobStore | None = None,
        alone: Callable[[str], bool] = lambda _session_id: False,
        store: BlobStore | None = None,
        bytes_per_s: int = FAST,
    ) -> Patrol:
        async def tell(damage: DamageFound) -> None:
            self.told.append(damage)

        return Patrol(
            store or self.store,
            self.clock,  # type: ignore[arg-type]  # what is asked of a clock
            self.known,  # type: ignore[arg-type]  # what is asked of the book
            worker=worker,
            bytes_per_s=bytes_per_s,
            second=SecondCopies(second, alone),
            tell=tell,
            count=lambda found, damaged: self.counted.append((found, damaged)),
        )

    def chunk(self, session: int = 0, nth: int = 0) -> str:
        return self.store.keys(keys.blob_key(self.known.ids[session], keys.CHUNKS))[nth]

    def path(self, key: str) -> Path:
        return Path(self.store.location(key))

    def flip(self, key: str) -> bytes:
        data = self.path(key).read_bytes()
        self.path(key).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return data

    @property
    def outcomes(self) -> list[str]:
        return [found.outcome for found, _ in self.counted]

    def again(self) -> None:
        """A round later."""
        self.counted.clear()
        self.clock.now_ns += SECOND_NS


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_every_chunk_is_read_once_a_round_in_order(bench: Bench) -> None:
    assert await bench.patrol().walk(0) == 0
    assert bench.outcomes == ["good"] * 2 * CHUNKS
    assert bench.told == []
    place = read_place(bench.store)
    assert (place.round, place.session_id, place.worker) == (1, "", "one")
    sizes = [bench.store.size(bench.chunk(s, n)) for s in (0, 1) for n in range(CHUNKS)]
    assert [found.size for found, _ in bench.counted] == sizes


@pytest.mark.parametrize("what", ["flipped", "cut", "longer", "missing"])
async def test_each_damage_is_told_once_with_its_chunk(bench: Bench, what: str) -> None:
    key = bench.chunk(1, 2)
    good = bench.path(key).read_bytes()
    if what == "missing":
        bench.path(key).unlink()
    else:
        other = {"flipped": good[:-1] + b"\xff", "cut": good[:-1], "longer": good + b"x"}[what]
        bench.path(key).write_bytes(other)
    for _ in range(3):
        await bench.patrol().walk(0)
        bench.again()
    (damage,) = bench.told
    assert (damage.chunk.key, damage.session_id) == (key, bench.known.ids[1])
    assert damage.fault.problem == ("missing" if what == "missing" else "damaged")
    assert str(len(good)) in damage.fault.expected
    assert damage.fault.found != damage.fault.expected
    assert [found.key for found in read_place(bench.store).damaged] == [key]
    bench.path(key).write_bytes(good)
    await bench.patrol().walk(0)
    assert read_place(bench.store).damaged == ()
    assert bench.counted[-1][1] == 0


async def test_other_damage_of_the_same_chunk_is_told_again(bench: Bench) -> None:
    key = bench.chunk()
    bench.flip(key)
    await bench.patrol().walk(0)
    bench.again()
    bench.path(key).write_bytes(b"something else")
    await bench.patrol().walk(0)
    assert len(bench.told) == 2


@pytest.mark.parametrize("what", ["flipped", "missing"])
async def test_a_damaged_chunk_is_repaired_from_the_second_store(bench: Bench, what: str) -> None:
    key = bench.chunk(0, 1)
    good = bench.path(key).read_bytes()
    if what == "missing":
        bench.path(key).unlink()
    else:
        bench.flip(key)
    await bench.patrol(second=bench.second).walk(0)
    assert bench.path(key).read_bytes() == good
    (damage,) = bench.told
    assert damage.repaired
    assert bench.outcomes.count("repaired") == 1
    assert read_place(bench.store).damaged == ()


async def test_nothing_is_repaired_by_records_that_the_seal_does_not_sign(bench: Bench) -> None:
    """Else a bit in `records` would have a whole chunk replaced, where the bucket has others."""
    session_id, key = bench.known.ids[0], bench.chunk(0, 0)
    path, good = bench.path(keys.blob_key(session_id, keys.RECORDS)), bench.path(key).read_bytes()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    changed = path.read_bytes().replace(blake3(good).digest(), blake3(bad).digest())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    Path(bench.second.location(key)).write_bytes(bad)
    await bench.patrol(second=bench.second).walk(0)
    assert bench.path(key).read_bytes() == good
    assert bench.outcomes == ["good"] * CHUNKS, "the other session is read all the same"
    with pytest.raises(FormatError, match="that its seal signs"):
        Repairs(bench.store, bench.second, bench.known.files.is_deleted).session(session_id)


def ordered(session_id: str, **by: Any) -> bytes:  # noqa: ANN401  (of `signed`)
    (statement,) = signed(deletion(), **{"session_id": session_id} | by)
    return statement.raw


FOREIGN: dict[str, Callable[[str], bytes]] = {
    "of another session": lambda _: ordered("0192f0c1-2b3c-7d4e-8f50-00000000ffff"),
    "of somebody's key": lambda session_id: ordered(session_id, key=device_key(2)),
    "of nobody": lambda _: b"bytes go",
}


@pytest.mark.parametrize("whose", FOREIGN)
@pytest.mark.parametrize("by", ["patrol", "repair"])
async def test_a_deletion_that_the_recorder_has_not_signed_removes_nothing_that_is_repaired(
    bench: Bench, whose: str, by: str
) -> None:
    session_id, key = bench.known.ids[0], bench.chunk(0, 0)
    bench.store.put(keys.blob_key(session_id, keys.statement(1)), FOREIGN[whose](session_id))
    good = bench.flip(key)
    if by == "patrol":
        await bench.patrol(second=bench.second).walk(0)
        assert bench.outcomes.count("repaired") == 1
    else:
        repairs = Repairs(bench.store, bench.second, bench.known.files.is_deleted)
        (done,) = repairs.session(session_id)
        assert not done.lost
    assert bench.path(key).read_bytes() == good


async def test_what_is_put_back_behind_a_deletion_of_the_recorder_goes_again(bench: Bench) -> None:
    """It is ordered, and the log of sessions does not have it yet."""
    session_id, key = bench.known.ids[0], bench.chunk(0, 0)
    bench.store.put(keys.blob_key(session_id, keys.statement(1)), ordered(session_id))
    bench.flip(key)
    await bench.patrol(second=bench.second).walk(0)
    assert not bench.path(key).exists()
    with pytest.raises(RefusedError, match="which was deleted"):
        Repairs(bench.store, bench.second, bench.known.files.is_deleted).session(session_id)


async def test_a_round_that_ends_in_the_time_to_come_stops_no_patrol(bench: Bench) -> None:
    later_ns = bench.clock.now_ns + 3600 * SECOND_NS
    write_place(bench.store, Place(worker="one", round=1, finished_ns=later_ns))
    await bench.patrol().walk(60)
    assert bench.outcomes == ["good"] * 2 * CHUNKS


async def test_a_second_copy_that_is_damaged_too_repairs_nothing(bench: Bench) -> None:
    key = bench.chunk()
    bench.flip(key)
    bad = bench.path(key).read_bytes()
    Path(bench.second.location(key)).write_bytes(b"other bytes")
    await bench.patrol(second=bench.second).walk(0)
    assert bench.path(key).read_bytes() == bad
    assert [damage.repaired for damage in bench.told] == [False]


async def test_a_second_store_that_is_away_is_tried_again_in_the_next_round(bench: Bench) -> None:
    key = bench.chunk()
    good = bench.flip(key)

    class Away:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            raise StoreError("the second store is away")

    await bench.patrol(second=Away()).walk(0)
    assert [damage.repaired for damage in bench.told] == [False]
    bench.again()
    await bench.patrol(second=bench.second).walk(0)
    assert bench.path(key).read_bytes() == good
    assert [damage.repaired for damage in bench.told] == [False, True]
    assert read_place(bench.store).damaged == ()


@pytest.mark.parametrize("leaves", [True, False], ids=["chunks leave", "it is deleted"])
async def test_of_what_need_not_be_here_any_more_no_damage_is_known(
    bench: Bench, *, leaves: bool
) -> None:
    session_id = bench.known.ids[0]
    bench.flip(bench.chunk())
    await bench.patrol().walk(0)
    assert len(read_place(bench.store).damaged) == 1
    if not leaves:
        bench.known.removed.add(session_id)
    bench.again()
    await bench.patrol(alone=lambda name: leaves and name == session_id).walk(0)
    assert read_place(bench.store).damaged == ()


async def test_what_is_removed_is_no_damage(bench: Bench) -> None:
    bench.known.removed.add(bench.known.ids[0])
    bench.store.delete_below(keys.blob_key(bench.known.ids[0], keys.CHUNKS))
    await bench.patrol().walk(0)
    assert (bench.told, bench.outcomes) == ([], ["good"] * CHUNKS)


async def test_what_is_removed_while_it_is_read_is_no_damage(bench: Bench) -> None:
    bench.known.removed_when_settled.add(bench.known.ids[1])
    bench.store.delete_below(keys.blob_key(bench.known.ids[1], keys.CHUNKS))
    await bench.patrol().walk(0)
    assert (bench.told, bench.outcomes) == ([], ["good"] * CHUNKS)


async def test_what_is_in_another_store_alone_is_no_damage(bench: Bench) -> None:
    elsewhere = bench.known.ids[0]
    bench.store.delete_below(keys.blob_key(elsewhere, keys.CHUNKS))
    patrol = bench.patrol(second=bench.second, alone=lambda name: name == elsewhere)
    await patrol.walk(0)
    assert (bench.told, bench.outcomes) == ([], ["good"] * CHUNKS)


async def test_a_folder_that_was_taken_elsewhere_holds_up_no_other(bench: Bench) -> None:
    bench.store.delete_below(keys.session_prefix(bench.known.ids[0]))
    await bench.patrol().walk(0)
    assert bench.outcomes == ["good"] * CHUNKS


async def test_records_on_a_bad_block_hold_up_no_other(bench: Bench) -> None:
    class BadBlock:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            return self.stream if name == "stream" else getattr(bench.store, name)

        def stream(self, key: str, start: int = 0) -> Any:  # noqa: ANN401  (pieces)
            if key == keys.blob_key(bench.known.ids[0], keys.RECORDS):
                raise StoreError(f"cannot read {key}: Input/output error")
            return bench.store.stream(key, start)

    await bench.patrol(store=BadBlock()).walk(0)
    assert bench.outcomes == ["good"] * CHUNKS


async def test_a_patrol_goes_on_where_it_was_stopped(bench: Bench) -> None:
    class Stops:
        """The store: reading ends with a chunk of the second session."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a store)
            if name == "stream":
                return self.stream
            return getattr(bench.store, name)

        def stream(self, key: str, start: int = 0) -> Any:  # noqa: ANN401  (pieces)
            if key == bench.chunk(1, 1):
                raise asyncio.CancelledError
            return bench.store.stream(key, start)

    patrol = bench.patrol(store=Stops())
    bench.clock.now_ns += 1
    with pytest.raises(asyncio.CancelledError):
        await patrol.walk(0)
    # What was read by then is written down every few seconds of the clock, here never: so the
    # place is set as it would be.
    write_place(bench.store, patrol.place)
    bench.counted.clear()
    bench.clock.now_ns += STALE_NS
    await bench.patrol("two").walk(0)
    assert bench.outcomes == ["good", "good"]
    place = read_place(bench.store)
    assert (place.round, place.worker) == (1, "two")


async def test_while_one_walks_another_waits_until_he_is_gone(bench: Bench) -> None:
    write_place(bench.store, Place(worker="other", moved_ns=bench.clock.now_ns, round=4))
    patrol = bench.patrol()
    assert await patrol.walk(9) == 9
    assert bench.counted == []
    bench.clock.now_ns += STALE_NS
    await patrol.walk(9)
    assert bench.outcomes == ["good"] * 2 * CHUNKS
    assert read_place(bench.store).round == 5


async def test_between_rounds_there_is_a_pause(bench: Bench) -> None:
    patrol = bench.patrol()
    await patrol.walk(100)
    bench.counted.clear()
    bench.clock.now_ns += 40 * SECOND_NS
    assert await patrol.walk(100) == 60
    assert bench.counted == []
    bench.clock.now_ns += 60 * SECOND_NS
    await patrol.walk(100)
    assert bench.outcomes == ["good"] * 2 * CHUNKS


async def test_the_rate_is_kept_by_waiting_behind_each_piece(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    sleep = asyncio.sleep

    async def count(delay: float) -> None:
        waited.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", count)
    await bench.patrol(bytes_per_s=1000).walk(0)
    read = sum(found.size for found, _ in bench.counted)
    assert sum(waited) == pytest.approx(read / 1000)


async def test_a_place_that_cannot_be_read_is_begun_anew(bench: Bench) -> None:
    bench.store.replace(keys.PATROL_PLACE, b"{not json")
    await bench.patrol().walk(0)
    assert read_place(bench.store).round == 1
