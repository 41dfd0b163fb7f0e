"""What holds behind every fault of what comes later: copies, patrol, dead letters, time-stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from reference_format import CHUNK

from faults.evidence import Evidence, chunk_name
from recorder_worker.core.copy_marker import parse_marker
from recorder_worker.core.events import AnchorState
from recorder_worker.core.receipts.beacon import parse_beacon
from recorder_worker.core.subjects import Fact

Found = Iterator[str]
LATE = ("retention/", "proofs/", "receipts/")


def no_chunk_leaves_without_its_copy(found: Evidence) -> Found:
    """At the moment a chunk leaves this store, the second one has it with its digest.

    Of a session that was to be deleted it goes, from both.
    """
    for session in found.sessions:
        signed = {
            chunk_name(r): r["stored_blake3"].hex()
            for r in found.records(session)
            if r["type"] == CHUNK
        }
        for leaving in found.left:
            if leaving.session_id != session or session in found.removed:
                continue
            if leaving.copy_blake3 != signed.get(leaving.name):
                yield f"{session}: {leaving.name} left while its copy was {leaving.copy_blake3!r}"
        if found.offloaded and len(found.refused) != len(signed):
            yield f"{session}: of {len(signed)} chunks {found.refused} were kept for a bad copy"


def what_left_is_told(found: Evidence) -> Found:
    """Chunks that were to leave are gone here, written down and told under one id; no others."""
    files = found.files()
    for session in sorted(set(found.sessions) - found.removed):
        chunks = [r for r in found.records(session) if r["type"] == CHUNK]
        here = [r for r in chunks if f"sessions/{session}/{chunk_name(r)}" in files]
        told = found.of(Fact.OFFLOADED, session)
        if session not in found.offloaded:
            if told:
                yield f"{session}: told as in the second store alone"
            continue
        if here:
            yield f"{session}: {len(here)} chunks are still here, or here again"
        marker = parse_marker(files[f"copies/{session}"])
        if not (marker.leaving_wall_ns and marker.offloaded_wall_ns):
            yield f"{session}: it is not written down that its chunks have left"
        if len({each.key for each in told}) != 1:
            yield f"{session}: told by {len({each.key for each in told})} ids that chunks have left"
        counted = len(chunks), sum(r["stored_size"] for r in chunks)
        for each in told:
            if (each.event.chunk_count, each.event.chunk_bytes) != counted:
                yield f"{session}: told that {each.event.chunk_count} chunks have left"


def what_comes_late_is_copied(found: Evidence) -> Found:
    """Statements, proofs, receipts, the log and the audit trail: the second store has the same."""
    if not found.uncopied:
        return
    copied = found.copied_files()
    for key, data in found.files().items():
        top, _, rest = key.partition("/")
        late = top == "sessions" and rest.partition("/")[2].startswith(LATE)
        if (late or top in ("log", "audit")) and copied.get(key) != data:
            yield f"{key}: it is not in the second store as it is here"


def damage_is_told(found: Evidence) -> Found:
    """Each damage is told by whoever met it, and whether it was repaired; nothing else is.

    What is said of one chunk in one way has one id. What was repaired is known as damaged no more.
    """
    for damaged in found.damaged:
        told = [
            each
            for each in found.of(Fact.INTEGRITY_FAILED)
            if each.event.stage == damaged.stage and damaged.key in each.event.detail
        ]
        if not told:
            yield f"{damaged.key}: {damaged.stage} does not tell that it is damaged"
        elif told[-1].event.repaired != damaged.repaired:
            yield f"{damaged.key}: told in the end as {'' if damaged.repaired else 'not '}damaged"
        ids = {each.key for each in told}
        said = {(each.event.detail, each.event.repaired) for each in told}
        if len(ids) != len(said):
            yield f"{damaged.key}: {len(said)} things are told under {len(ids)} ids"
    place = found.place
    if place is not None and place.damaged:
        yield f"known as damaged: {[each.key for each in place.damaged]}"


def letters_are_settled_once(found: Evidence) -> Found:
    """What somebody was asked about is settled once, sent once or never, and told under one id."""
    for letter in found.letters:
        actions = [event.action for event in letter.settled]
        wanted = {"retry": ["retried"], "drop": ["dropped"]}.get(letter.asked, actions)
        if actions != wanted or len(actions) != 1:
            yield f"letter {letter.letter} of {letter.stage}: settled as {actions}"
            continue
        if letter.sent != (actions == ["retried"]):
            yield f"letter {letter.letter} of {letter.stage}: sent {letter.sent} times"
        told = [each for each in found.of(Fact.AUDIT_SETTLED) if each.event.letter == letter.letter]
        if len({each.key for each in told}) != 1:
            yield f"letter {letter.letter}: told by {len({each.key for each in told})} ids"
        for each in told:
            if each.event != letter.settled[0]:
                yield f"letter {letter.letter}: the trail tells something else of it"
    known = {letter.letter for letter in found.letters}
    for each in found.of(Fact.AUDIT_SETTLED):
        if each.event.letter not in known:
            yield f"letter {each.event.letter}: told as settled, and is not"


def every_checkpoint_is_stamped(found: Evidence) -> Found:
    """Where an authority is named, each request has one time-stamp that is kept, and is known.

    One of them is the beacon of the next session.
    """
    if not found.stamped:
        return
    asked = [told.event for told in found.of(Fact.ANCHOR_REQUESTED)]
    stamps = [told for told in found.of(Fact.ANCHOR_RECEIPT) if told.event.kind == "rfc3161"]
    ids = Counter(told.event.tree_size for told in {told.key: told for told in stamps}.values())
    if ids != Counter(event.tree_size for event in asked):
        yield f"time-stamps of sizes {sorted(ids.elements())}"
    states = found.of(Fact.ANCHOR_STATE)
    state = states[-1].event if states else AnchorState(origin="", seen=())
    known = [seen.tree_size for seen in state.seen if seen.anchored]
    if known != [event.tree_size for event in asked]:
        yield f"the engine knows that it stamped {known}"
    files = found.files()
    beacon = parse_beacon(files["log/beacon"])
    if files.get(f"log/receipts/{beacon.tree_size:020d}.tsr") != beacon.timestamp:
        yield f"the beacon is of size {beacon.tree_size}, and its time-stamp is not kept"


KEEPING: tuple[Callable[[Evidence], Found], ...] = (
    no_chunk_leaves_without_its_copy,
    what_left_is_told,
    what_comes_late_is_copied,
    damage_is_told,
    letters_are_settled_once,
    every_checkpoint_is_stamped,
)
