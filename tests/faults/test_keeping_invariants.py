"""As `test_invariants.py`, for what comes behind a recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from time_stamp_authority import Tsa

from faults.evidence import Evidence
from faults.invariants import broken
from faults.keeping_invariants import KEEPING
from faults.plants import (
    Plant,
    again,
    changed,
    copy_of,
    each_of,
    in_second,
    instead,
    removed,
    stored,
    without,
)
from faults.scenes import keep, played_in, record_uncopied, settle, stamp, stamping_with, wake
from faults.session import SESSION
from faults.world import World
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.patrol.place import Damage, Place

CHUNK_FILE = f"sessions/{SESSION}/chunks/0000000002.zst.enc"
OTHER_CHUNK = f"sessions/{SESSION}/chunks/0000000005.zst.enc"


async def kept(world: World) -> None:
    await record_uncopied(world)
    await keep(world)
    await wake(world)


@pytest.fixture(scope="module")
def good_keeping(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return played_in(tmp_path_factory.mktemp("kept"), kept)


@pytest.fixture(scope="module")
def good_letters(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return played_in(tmp_path_factory.mktemp("letters"), settle)


@pytest.fixture(scope="module")
def good_stamps(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    tsa = Tsa(tmp_path_factory.mktemp("tsa"))

    async def stamped(world: World) -> None:
        await stamp(world, tsa)

    with pytest.MonkeyPatch.context() as patch:
        stamping_with(tsa, patch)
        return played_in(tmp_path_factory.mktemp("stamped"), stamped)


@pytest.fixture
def keeping(good_keeping: Evidence, tmp_path: Path) -> Evidence:
    return copy_of(good_keeping, tmp_path / "kept")


@pytest.fixture
def letters(good_letters: Evidence, tmp_path: Path) -> Evidence:
    return copy_of(good_letters, tmp_path / "letters")


@pytest.fixture
def stamps(good_stamps: Evidence, tmp_path: Path) -> Evidence:
    return copy_of(good_stamps, tmp_path / "stamps")


def left_without_copy(found: Evidence) -> None:
    found.left[-1] = found.left[-1]._replace(copy_blake3="")


def left_with_another_copy(found: Evidence) -> None:
    found.left[0] = found.left[0]._replace(copy_blake3=found.left[1].copy_blake3)


def nothing_was_refused(found: Evidence) -> None:
    found.refused.pop()


def never_to_leave(found: Evidence) -> None:
    found.offloaded = frozenset()


def not_written_down(found: Evidence) -> None:
    path = found.folder / "copies" / SESSION
    fields = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**fields, "offloaded_wall_ns": 0}))


def known_as_damaged(found: Evidence) -> None:
    place = Place(damaged=(Damage(key=CHUNK_FILE, found="planted"),))
    (found.folder / "patrol" / "place").write_bytes(msgspec.json.encode(place))


def with_another_key(fact: Fact) -> Plant:
    """The last event of a fact once more, under another id."""

    def plant(found: Evidence) -> None:
        found.told.append(found.of(fact)[-1]._replace(key="another"))

    return plant


def of_patrol(key: str) -> Callable[[Any], bool]:
    """Which events of damage are about a chunk."""
    return lambda event: event.stage == "patrol" and event.chunk == key


def asked(found: Evidence, what: str) -> int:
    """The first letter of which somebody asked this."""
    return next(n for n, each in enumerate(found.letters) if each.asked == what)


def settled_twice(found: Evidence) -> None:
    settled = found.letters[asked(found, "retry")].settled
    settled.append(settled[0])


def settled_in_another_way(found: Evidence) -> None:
    settled = found.letters[asked(found, "retry")].settled
    settled[0] = msgspec.structs.replace(settled[0], action="dropped")


def sent(times: int) -> Plant:
    """A letter that its stage had so often."""

    def plant(found: Evidence) -> None:
        place = asked(found, "retry")
        found.letters[place] = found.letters[place]._replace(sent=times)

    return plant


def dropped_and_sent(found: Evidence) -> None:
    place = asked(found, "drop")
    found.letters[place] = found.letters[place]._replace(sent=1)


def nobody_was_asked(found: Evidence) -> None:
    del found.letters[0]


PLANTED_IN_KEEPING: dict[str, tuple[Plant, ...]] = {
    "no_chunk_leaves_without_its_copy": (
        left_without_copy,
        left_with_another_copy,
        nothing_was_refused,
    ),
    "what_left_is_told": (
        without(Fact.OFFLOADED),
        with_another_key(Fact.OFFLOADED),
        instead(Fact.OFFLOADED, chunk_count=1),
        instead(Fact.OFFLOADED, chunk_bytes=1),
        stored(CHUNK_FILE),
        not_written_down,
        never_to_leave,
    ),
    "what_comes_late_is_copied": (
        in_second(removed(f"sessions/{SESSION}/proofs/seal")),
        in_second(removed(f"sessions/{SESSION}/retention/0001")),
        in_second(removed(f"sessions/{SESSION}/receipts/*")),
        in_second(changed("log/checkpoint", lambda data: data[:-1])),
        in_second(removed("audit/*.jsonl")),
    ),
    "damage_is_told": (
        without(Fact.INTEGRITY_FAILED, of_patrol(CHUNK_FILE)),
        without(Fact.INTEGRITY_FAILED, of_patrol(OTHER_CHUNK)),
        without(Fact.INTEGRITY_FAILED, lambda event: event.stage == "upload"),
        with_another_key(Fact.INTEGRITY_FAILED),
        again(Fact.INTEGRITY_FAILED, repaired=True),
        known_as_damaged,
    ),
    "no_incident": (again(Fact.INTEGRITY_FAILED, detail="of another chunk"),),
    "copies_are_whole": (in_second(removed(CHUNK_FILE)), without(Fact.ARCHIVED)),
    "reference_agrees": (in_second(changed(CHUNK_FILE, lambda data: data[:-1])),),
}

PLANTED_IN_LETTERS: dict[str, tuple[Plant, ...]] = {
    "letters_are_settled_once": (
        settled_twice,
        settled_in_another_way,
        sent(0),
        sent(2),
        dropped_and_sent,
        without(Fact.AUDIT_SETTLED),
        with_another_key(Fact.AUDIT_SETTLED),
        instead(Fact.AUDIT_SETTLED, by="somebody else"),
        nobody_was_asked,
    ),
    "audit_trail_has_each_event_once": (without(Fact.AUDIT_SETTLED), removed("audit/*.jsonl")),
}

PLANTED_IN_STAMPS: dict[str, tuple[Plant, ...]] = {
    "every_checkpoint_is_stamped": (
        without(Fact.ANCHOR_RECEIPT, lambda event: event.kind == "rfc3161"),
        with_another_key(Fact.ANCHOR_RECEIPT),
        without(Fact.ANCHOR_STATE),
        instead(Fact.ANCHOR_STATE, seen=()),
        removed("log/receipts/*3.tsr"),
    ),
    "receipts_are_kept": (
        removed("log/receipts/*1.tsr"),
        removed(f"sessions/{SESSION}/receipts/*.tsr"),
        changed(f"sessions/{SESSION}/receipts/{1:020d}.tsr", lambda data: data[:-1]),
    ),
}


def test_good_evidence_is_good(keeping: Evidence, letters: Evidence, stamps: Evidence) -> None:
    assert [broken(keeping), broken(letters), broken(stamps)] == [[], [], []]


def test_something_is_planted_for_every_invariant() -> None:
    planted = {*PLANTED_IN_KEEPING, *PLANTED_IN_LETTERS, *PLANTED_IN_STAMPS}
    assert {each.__name__ for each in KEEPING} <= planted


def seen(found: Evidence, plant: Plant) -> set[str]:
    plant(found)
    return {line.split(":")[0] for line in broken(found)}


@pytest.mark.parametrize(("name", "plant"), each_of(PLANTED_IN_KEEPING))
def test_what_is_planted_in_what_is_kept_is_seen(
    keeping: Evidence, name: str, plant: Plant
) -> None:
    assert name in seen(keeping, plant)


@pytest.mark.parametrize(("name", "plant"), each_of(PLANTED_IN_LETTERS))
def test_what_is_planted_in_what_is_settled_is_seen(
    letters: Evidence, name: str, plant: Plant
) -> None:
    assert name in seen(letters, plant)


@pytest.mark.parametrize(("name", "plant"), each_of(PLANTED_IN_STAMPS))
def test_what_is_planted_in_what_is_stamped_is_seen(
    stamps: Evidence, name: str, plant: Plant
) -> None:
    assert name in seen(stamps, plant)
