"""One session for each effect of each stage and each kind of fault: what it leaves is whole.

A failure is named by stage, effect, its number, and the fault; run it alone by that id.
"""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import pytest

from faults import port_effects
from faults.collecting import collect, folder_in
from faults.evidence import Evidence
from faults.injector import Fault, Kind
from faults.invariants import broken
from faults.keeping_table import KEEPING, SETTLING, STAMPING
from faults.table import EFFECTS, REMOVAL, faults, removal_faults
from faults.world import BY_THEMSELVES, STAGES, World
from recorder_worker import ports
from recorder_worker.core.events import GapCaptured
from recorder_worker.core.pipeline import AUDIT_KEEPER, CONSUMERS, GATEWAY
from recorder_worker.core.subjects import Fact

ROWS = (*EFFECTS, *REMOVAL, *KEEPING, *SETTLING, *STAMPING)
GONE = (Kind.KILLED, Kind.HELD_UP)


def gaps_in(found: Evidence) -> list[str]:
    """Why units, or time, are missing in the captured log."""
    captured = [told.event for told in found.of(Fact.CAPTURED)]
    return [event.reason.value for event in captured if isinstance(event, GapCaptured)]


async def test_the_table_is_what_a_session_does(tmp_path: Path) -> None:
    world = World(folder_in(tmp_path))
    await world.record()
    did = Counter((effect.stage, effect.name) for effect in world.injector.effects)
    assert did == {(stage, name): count for stage, name, count in EFFECTS}
    found = await collect(world)
    assert broken(found) == []
    assert gaps_in(found) == ["source_lost"]


async def test_the_table_of_removals_is_what_a_removal_does(tmp_path: Path) -> None:
    world = World(folder_in(tmp_path))
    await world.record()
    await world.remove()
    did = Counter((effect.stage, effect.name) for effect in world.injector.effects)
    assert did == {(stage, name): count for stage, name, count in REMOVAL}
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.id) for fault in removal_faults()])
async def test_whatever_goes_wrong_with_a_removal_the_held_stays_and_the_deleted_goes(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path))
    await world.record()
    await world.remove(fault)
    assert broken(await collect(world)) == []


COPYING = [fault for fault in faults() if fault.effect.stage == "upload"]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.id) for fault in COPYING if fault.kind is Kind.HELD_UP],
)
async def test_who_stands_still_while_he_copies_brings_nothing_back_of_what_was_deleted(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path), fault)
    world.sleep_on = True
    await world.record()
    await world.remove()
    world.sleep_on = False
    await world.run()
    assert broken(await collect(world)) == []


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.id) for fault in faults()])
async def test_whatever_goes_wrong_with_one_effect_nothing_is_lost(
    tmp_path: Path, fault: Fault
) -> None:
    world = World(folder_in(tmp_path), fault)
    await world.record()
    found = await collect(world)
    assert broken(found) == []
    if fault.kind not in GONE:
        # A lease that nobody lost is not taken over: no worker gives up what it holds.
        assert gaps_in(found) == ["source_lost"]


def protocols() -> dict[str, frozenset[str]]:
    """Every port, with the names of what it can be asked for."""
    return {
        name: frozenset(call for call in vars(port) if call == "__call__" or call[0] != "_")
        for name, port in vars(ports).items()
        if inspect.isclass(port) and getattr(port, "_is_protocol", False)
    }


def test_every_call_of_every_port_is_an_effect_or_none() -> None:
    rest = {name: calls for name, calls in protocols().items() if calls}
    for name in port_effects.NOT_OF_THE_RECORD:
        del rest[name]
    declared = {
        name: port_effects.EFFECTS.get(name, frozenset())
        | port_effects.LOOKS.get(name, frozenset())
        for name in {*port_effects.EFFECTS, *port_effects.LOOKS}
    }
    assert declared == rest
    for name, effects in port_effects.EFFECTS.items():
        assert not effects & port_effects.LOOKS.get(name, frozenset()), name


def test_every_effect_of_every_port_is_in_the_table() -> None:
    named = {f"{port}.{call}" for port, calls in port_effects.EFFECTS.items() for call in calls}
    named |= {f"{port_effects.DELIVERY}.{verb}" for verb in port_effects.ANSWERS}
    named.add(port_effects.DEAD_LETTER)
    assert {name.split(" ")[0] for _, name, _ in ROWS} == named


def test_every_stage_and_every_fact_of_the_pipeline_is_in_the_table() -> None:
    stages = {stage.name for stage in CONSUMERS}
    assert {*STAGES, "tsa"} == stages
    assert {stage for stage, _, _ in ROWS} == stages | set(BY_THEMSELVES)
    told = {name.split(" ")[1] for _, name, _ in ROWS if name.startswith("EventLog.")}
    emitted = {fact.value for stage in (*CONSUMERS, GATEWAY, AUDIT_KEEPER) for fact in stage.emits}
    assert told | set(port_effects.NOT_IN_THE_SESSION) == emitted
    assert not told & set(port_effects.NOT_IN_THE_SESSION)
