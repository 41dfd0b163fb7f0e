"""The checker is checked: whatever it promises to see is planted into good evidence, and seen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from reference_format import CHUNK, GAP, MARK

from faults.evidence import Evidence, Told
from faults.invariants import INVARIANTS, broken
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
from faults.scenes import played_in
from faults.session import MISSING, SESSION, pixels
from faults.world import World
from recorder_worker.core.events import GapCaptured, SegmentCaptured, SessionIncident
from recorder_worker.core.session_log.entries import NO_SESSION
from recorder_worker.core.subjects import Fact

CHUNK_FILE = f"sessions/{SESSION}/chunks/0000000002.zst.enc"


async def removed_again(world: World) -> None:
    await world.record()
    await world.remove()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return played_in(tmp_path_factory.mktemp("good"), World.record)


@pytest.fixture(scope="module")
def good_removal(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return played_in(tmp_path_factory.mktemp("removal"), removed_again)


@pytest.fixture
def evidence(good: Evidence, tmp_path: Path) -> Evidence:
    return copy_of(good, tmp_path / "recorded")


@pytest.fixture
def removal(good_removal: Evidence, tmp_path: Path) -> Evidence:
    return copy_of(good_removal, tmp_path / "removed")


def held_lost(found: Evidence) -> None:
    del found.under_hold[f"first:{CHUNK_FILE}"]


def held_changed(found: Evidence) -> None:
    found.under_hold[f"second:{CHUNK_FILE}"] = b"x"


def nothing_held(found: Evidence) -> None:
    found.before_hold.clear()


def not_told_as_removed(found: Evidence) -> None:
    entry = found.entries[SESSION]
    found.entries[SESSION] = msgspec.structs.replace(entry, removal="delete")


def without_record(kind: int) -> Plant:
    """A leaf that the tree lost; the others stay as they are."""

    def plant(found: Evidence) -> None:
        raw = [record["raw"] for record in found.records(SESSION)]
        gone = next(n for n, r in enumerate(found.records(SESSION)) if r["type"] == kind)
        kept = raw[:gone] + raw[gone + 1 :]
        data = b"".join(len(each).to_bytes(4, "big") + each for each in kept)
        (found.session(SESSION) / "records").write_bytes(data)

    return plant


def with_segment_left(found: Evidence) -> None:
    event = next(t.event for t in found.of(Fact.CAPTURED) if isinstance(t.event, SegmentCaptured))
    stored(f"sessions/{SESSION}/{event.name}")(found)


def with_incident(found: Evidence) -> None:
    event = SessionIncident(session_id=SESSION, stage="merkle", detail="planted", wall_ns=0)
    found.told.append(Told(Fact.INCIDENT, 1, "planted", event))


def with_what_the_source_gave(found: Evidence) -> None:
    found.pixels[MISSING], found.lost = pixels(MISSING), frozenset()


def with_another_picture(found: Evidence) -> None:
    found.pixels[0] = pixels(77)


def with_segment_twice(found: Evidence) -> None:
    told = next(t for t in found.of(Fact.CAPTURED) if isinstance(t.event, SegmentCaptured))
    found.told.append(told)


def waiting(found: Evidence) -> None:
    found.waiting["merkle"] = 1


def dead(found: Evidence) -> None:
    found.dead.append("planted")


def answered_under_another_id(found: Evidence) -> None:
    last = found.of(Fact.REJECTED)[-1]
    found.told.append(last._replace(sequence=last.sequence + 1, key="planted"))


def key_left(found: Evidence) -> None:
    found.private_keys.append(SESSION)


def owner_not_told(found: Evidence) -> None:
    found.copies[SESSION].remove(Fact.SEALED)


def not_in_the_table(found: Evidence) -> None:
    del found.entries[SESSION]


def one_note_less(data: bytes) -> bytes:
    """The file `checkpoints` without the first of them."""
    notes = data.split(b"\n\n")
    signatures, _, second = notes[1].partition(b"\nrecorder-of-tests/")
    assert signatures
    return b"recorder-of-tests/" + second + b"\n\n" + b"\n\n".join(notes[2:])


PLANTED: dict[str, tuple[Plant, ...]] = {
    "nothing_waits": (waiting, dead),
    "sealed_or_says_why": (
        without(Fact.SEALED),
        again(Fact.SEALED),
        without(Fact.CAPTURED, lambda event: type(event).__name__ == "EndCaptured"),
    ),
    "no_incident": (with_incident,),
    "acknowledged_units_once": (with_segment_twice, without_record(CHUNK)),
    "missing_units_are_gaps": (
        with_what_the_source_gave,
        without_record(GAP),
        without_record(CHUNK),
    ),
    "spans_tile": (
        without(Fact.CAPTURED, lambda event: isinstance(event, GapCaptured)),
        without_record(GAP),
    ),
    "fenced_logs_are_in_order": (
        again(Fact.HEAD),
        again(Fact.STARTED),
        again(Fact.CONTROL),
        again(Fact.LOGGED),
        again(Fact.NUMBERED),
        without(Fact.CHUNKED, lambda event: event.index == 3),
        without(Fact.CAPTURED, lambda event: event.ordinal == 2),
    ),
    "files_are_whole": (
        changed(CHUNK_FILE, lambda data: data[: len(data) // 2]),
        changed(f"sessions/{SESSION}/marks/0000000001.json", lambda data: data[:-1]),
        removed(f"sessions/{SESSION}/chunks/*"),
        stored(".tmp/123-0011223344556677"),
    ),
    "nothing_unnamed_is_stored": (
        stored(f"sessions/{SESSION}/chunks/0000000099.zst.enc"),
        stored(f"sessions/{SESSION}/journal/leaves/0000000000"),
        stored(f"sessions/{SESSION[:-1]}0/session.json"),
        stored("elsewhere/file"),
    ),
    "no_spool_is_left": (with_segment_left,),
    "checkpoints_chain": (
        instead(Fact.HEAD, root_hash="00" * 32),
        instead(Fact.CHECKPOINT, note="another one"),
        changed(f"sessions/{SESSION}/checkpoints", one_note_less),
        without_record(GAP),
    ),
    "reference_agrees": (
        with_another_picture,
        changed(CHUNK_FILE, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        instead(Fact.SEALED, root_hash="00" * 32),
        removed(f"sessions/{SESSION}/seal"),
    ),
    "log_of_sessions_is_whole": (
        removed("log/tile/entries/*/*"),
        removed(f"sessions/{SESSION}/**/*"),
        removed(f"sessions/{SESSION}/proofs/open"),
        again(Fact.LOGGED, session_id=SESSION, kind="seal"),
        without(Fact.LOGGED, lambda event: event.session_id != NO_SESSION),
        again(Fact.ANCHOR_REQUESTED),
    ),
    "audit_trail_has_each_event_once": (
        removed("audit/*.jsonl"),
        without(Fact.AUDIT_ACCEPTED, lambda event: event.command == "session.mark"),
        without(Fact.AUDIT_DENIED),
    ),
    "marks_are_leaves": (
        without_record(MARK),
        without(Fact.AUDIT_ACCEPTED, lambda event: event.command == "session.mark"),
    ),
    "the_refused_are_answered": (
        without(Fact.REJECTED),
        without(Fact.AUDIT_DENIED),
        answered_under_another_id,
    ),
    "keys_are_erased": (key_left,),
    "receipts_are_kept": (
        removed(f"sessions/{SESSION}/receipts/*"),
        removed("log/receipts/*"),
        without(Fact.ANCHOR_RECEIPT),
    ),
    "everybody_was_told": (owner_not_told, not_in_the_table, without(Fact.STORED)),
    "copies_are_whole": (
        without(Fact.BLOB_COPIED, lambda event: event.index == 2),
        instead(Fact.BLOB_COPIED, sha256="00" * 32),
        in_second(removed(CHUNK_FILE)),
        in_second(changed(CHUNK_FILE, lambda data: data[:-1])),
        in_second(removed(f"sessions/{SESSION}/seal")),
        in_second(stored(f"sessions/{SESSION}/journal/leaves/0000000000")),
        removed(f"copies/{SESSION}"),
        without(Fact.ARCHIVED),
        again(Fact.ARCHIVED, file_count=1),
    ),
}

PLANTED_IN_REMOVAL: dict[str, tuple[Plant, ...]] = {
    "files_are_whole": (
        changed(f"sessions/{SESSION}/marks/0000000001.json", lambda data: data[:-1]),
    ),
    "nothing_unnamed_is_stored": (stored(f"sessions/{SESSION}/retention/0005"),),
    "reference_agrees": (
        removed(f"sessions/{SESSION}/retention/*"),
        stored(CHUNK_FILE),
    ),
    "log_of_sessions_is_whole": (removed(f"sessions/{SESSION}/retention/0001"),),
    "audit_trail_has_each_event_once": (
        without(Fact.AUDIT_ACCEPTED, lambda event: event.command == "session.delete"),
    ),
    "copies_are_whole": (in_second(removed(f"sessions/{SESSION}/retention/*")),),
    "the_removed_is_gone": (
        stored(CHUNK_FILE),
        in_second(stored(CHUNK_FILE)),
        in_second(stored(f"sessions/{SESSION}/session.json")),
        in_second(stored(f"sessions/{SESSION}/thumbnails/000000000000.jpg.enc")),
        removed(f"sessions/{SESSION}/retention/0004"),
        removed(f"sessions/{SESSION}/proofs/retention-0003"),
        without(Fact.LOGGED, lambda event: event.kind == "tombstone"),
        without(Fact.RETENTION, lambda event: event.kind == "hold"),
        again(Fact.RETENTION),
        not_told_as_removed,
    ),
    "the_held_loses_nothing": (held_lost, held_changed, nothing_held),
}


def test_good_evidence_is_good(evidence: Evidence, removal: Evidence) -> None:
    assert broken(evidence) == []
    assert broken(removal) == []


def test_something_is_planted_for_every_invariant() -> None:
    named = {each.__name__ for each in INVARIANTS if each not in KEEPING}
    assert {*PLANTED, *PLANTED_IN_REMOVAL} == named


@pytest.mark.parametrize(("name", "plant"), each_of(PLANTED))
def test_what_is_planted_is_seen(evidence: Evidence, name: str, plant: Plant) -> None:
    plant(evidence)
    assert name in {line.split(":")[0] for line in broken(evidence)}


@pytest.mark.parametrize(("name", "plant"), each_of(PLANTED_IN_REMOVAL))
def test_what_is_planted_behind_a_removal_is_seen(
    removal: Evidence, name: str, plant: Plant
) -> None:
    plant(removal)
    assert name in {line.split(":")[0] for line in broken(removal)}
