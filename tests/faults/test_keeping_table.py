"""What comes behind a recording, once for each of its effects and each kind of fault.

As `test_fault_table.py`: run one alone by its id.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from time_stamp_authority import Tsa

from faults.collecting import collect, folder_in
from faults.injector import Effect, Fault, Kind
from faults.invariants import broken
from faults.keeping_table import (
    KEEPING,
    KNOWN,
    SETTLING,
    STAMPING,
    keeping_faults,
    settling_faults,
    stamping_faults,
)
from faults.scenes import (
    keep,
    record_uncopied,
    settle,
    settle_in_two_ways,
    stamp,
    stamping_with,
    wake,
)
from faults.world import World
from recorder_worker.core.receipts.beacon import parse_beacon
from recorder_worker.core.subjects import Fact


def each_of(faults: list[Fault]) -> list[object]:
    return [pytest.param(fault, id=fault.id) for fault in faults]


def did(world: World) -> Counter[tuple[str, str]]:
    return Counter((effect.stage, effect.name) for effect in world.injector.effects)


def counted(rows: tuple[tuple[str, str, int], ...]) -> Counter[tuple[str, str]]:
    return Counter({(stage, name): count for stage, name, count in rows})


async def test_the_table_of_keeping_is_what_sweep_and_patrol_do(tmp_path: Path) -> None:
    world = World(folder_in(tmp_path))
    await record_uncopied(world)
    await keep(world)
    assert did(world) == counted(KEEPING)
    await wake(world)
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", each_of([*keeping_faults()]))
async def test_whatever_goes_wrong_with_its_keeping_a_chunk_leaves_behind_its_copy_alone(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path))
    await record_uncopied(world)
    await keep(world, fault)
    await wake(world)
    assert broken(await collect(world)) == []


BYTES = ("BlobWriter.commit second/", "BlobStore.replace chunks", "BlobStore.put copies")
STANDING_STILL = [
    fault
    for fault in keeping_faults()
    if fault.kind is Kind.HELD_UP and fault.effect.name.startswith(BYTES)
]
"""In front of what brings bytes to a store, or says that they are there."""


@pytest.mark.parametrize("fault", each_of(STANDING_STILL))
async def test_who_stands_still_while_he_keeps_brings_nothing_back_of_what_was_deleted(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path))
    await record_uncopied(world)
    try:
        await keep(world, fault, held=False)
        world.check_fired()
    finally:
        world.injector.fault = None
    await world.remove()
    await wake(world)
    assert broken(await collect(world)) == []


FENCED = {("log", "Delivery.nak")}
"""Here the desk writes the log with a writer of its own, as in another worker: the stage `log` sees
at the fence that it went on."""


async def test_the_table_of_settling_is_what_is_done_about_letters(tmp_path: Path) -> None:
    world = World(folder_in(tmp_path))
    await settle(world)
    found, wanted = did(world), counted(SETTLING)
    stages = {stage for stage, _ in wanted}
    assert {row: n for row, n in found.items() if row[0] in stages} == wanted
    assert {row for row in found if row[0] not in stages} <= KNOWN | FENCED
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", each_of([*settling_faults()]))
async def test_whatever_goes_wrong_a_letter_is_settled_once_sent_once_and_told_once(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path))
    await settle(world, fault)
    assert broken(await collect(world)) == []


DESK_STEPS = ("DeadLetters.settle", "DeadLetters.send_again", "EventLog.emit audit.dead.settled")


@pytest.mark.parametrize("step", DESK_STEPS)
async def test_of_two_people_who_settle_a_letter_in_two_ways_one_does(
    tmp_path: Path, step: str
) -> None:
    world = World(folder_in(tmp_path))
    await settle_in_two_ways(world, Fault(Effect("desk", step, 1), Kind.HELD_UP))
    assert broken(await collect(world)) == []


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def authority(tsa: Tsa, monkeypatch: pytest.MonkeyPatch) -> Tsa:
    stamping_with(tsa, monkeypatch)
    return tsa


async def test_the_table_of_stamping_is_what_tsa_and_receipts_do(
    tmp_path: Path, authority: Tsa
) -> None:
    world = World(folder_in(tmp_path))
    await stamp(world, authority)
    assert did(world) == counted(STAMPING)
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", each_of([*stamping_faults()]))
async def test_whatever_goes_wrong_each_checkpoint_has_one_time_stamp(
    tmp_path: Path, authority: Tsa, fault: Fault
) -> None:
    world = World(folder_in(tmp_path))
    await stamp(world, authority, fault)
    found = await collect(world)
    assert broken(found) == []
    beacon = parse_beacon((found.folder / "log" / "beacon").read_bytes())
    newest = max(told.event.tree_size for told in found.of(Fact.ANCHOR_REQUESTED))
    # Who stood still puts an older one there. It is true as well: the next time-stamp replaces it.
    assert beacon.tree_size == newest or fault.kind is Kind.HELD_UP
