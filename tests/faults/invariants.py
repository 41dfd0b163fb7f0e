"""What holds behind every fault: over streams, store and tree, each by its name.

`broken` gives what does not hold. Records and notes are read by the second implementation
(tests/reference.py), so that a mistake of the product's readers hides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from typing import Any

import reference
from blake3 import blake3
from reference_audit import lines_of
from reference_format import CHUNK, GAP, MARK, root
from reference_log import check_log

from faults.command_invariants import COMMANDS
from faults.evidence import SPARES, Evidence, chunk_name, units_of
from faults.keeping_invariants import KEEPING
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core.events import EndCaptured, GapCaptured, Opened, SegmentCaptured
from recorder_worker.core.keys import PATROL_PLACE, RETENTION_CLOCK
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.session_log.entries import NO_SESSION
from recorder_worker.core.subjects import COPIED, Fact
from recorder_worker.core.verify.verifier import verify

GOOD = {"COMPLETE", "COMPLETE_WITH_GAPS"}
Found = Iterator[str]


def nothing_waits(found: Evidence) -> Found:
    """Every message was acknowledged, or is a dead letter that says why."""
    for stage, count in found.waiting.items():
        if count:
            yield f"{count} messages wait for {stage}"
    for reason in found.dead:
        yield f"a dead letter: {reason}"


def sealed_or_says_why(found: Evidence) -> Found:
    """Every session is sealed, or an incident says why it is not."""
    for session in found.sessions:
        seals = found.of(Fact.SEALED, session)
        if len(seals) > 1:
            yield f"{session}: {len(seals)} seals"
        if not seals and not found.of(Fact.INCIDENT, session):
            yield f"{session}: not sealed, and nobody says why"
        ended = [t for t in found.of(Fact.CAPTURED, session) if isinstance(t.event, EndCaptured)]
        if seals and len(ended) != 1:
            yield f"{session}: sealed behind {len(ended)} ends"


def no_incident(found: Evidence) -> Found:
    """No single fault stops the signing, or damages what is stored."""
    for told in found.of(Fact.INCIDENT):
        yield f"{told.fact.value}: {told.event.detail}"
    for told in found.of(Fact.INTEGRITY_FAILED):
        damaged = ((each.stage, each.key) for each in found.damaged)
        if not any(told.event.stage == s and key in told.event.detail for s, key in damaged):
            yield f"{told.fact.value}: {told.event.detail}"


def acknowledged_units_once(found: Evidence) -> Found:
    """Every unit of a segment that the log acknowledged is in the tree exactly once."""
    for session in found.sessions:
        captured = [told.event for told in found.of(Fact.CAPTURED, session)]
        spans = [event.span for event in captured if isinstance(event, SegmentCaptured)]
        acknowledged = Counter(units_of(spans))
        for unit in sorted(unit for unit, count in acknowledged.items() if count > 1):
            yield f"{session}: unit {unit} was acknowledged {acknowledged[unit]} times"
        if not found.of(Fact.SEALED, session):
            continue
        records = found.records(session)
        in_tree = Counter(_units(records, CHUNK, GAP))
        for unit in sorted(acknowledged):
            if in_tree[unit] != 1:
                yield f"{session}: unit {unit} was acknowledged, and is {in_tree[unit]} times there"


def missing_units_are_gaps(found: Evidence) -> Found:
    """What the source gave is there, pixel by pixel; what it did not give is in a gap."""
    for session in found.sessions:
        if not found.of(Fact.SEALED, session):
            continue
        records = found.records(session)
        chunks, gaps = Counter(_units(records, CHUNK)), Counter(_units(records, GAP))
        for unit in range(len(found.pixels) + len(found.lost)):
            there = chunks[unit], gaps[unit]
            if there != ((0, 1) if unit in found.lost else (1, 0)):
                yield f"{session}: unit {unit} is in {there[0]} chunks and {there[1]} gaps"
        for record in records:
            if record["type"] == GAP and not record["reason"]:
                yield f"{session}: the gap at record {record['index']} has no reason"


def spans_tile(found: Evidence) -> Found:
    """Each span begins, in units and in time, where the one before it ended."""
    for session in found.sessions:
        captured = [told.event for told in found.of(Fact.CAPTURED, session)]
        spans = [e.span for e in captured if isinstance(e, SegmentCaptured | GapCaptured)]
        for before, behind in pairwise(spans):
            here = before.first_unit + before.unit_count, before.t1_ns
            if here != (behind.first_unit, behind.t0_ns):
                yield f"{session}: a captured span ends at {here}, the next begins elsewhere"
        in_tree = [r["span"] for r in found.records(session) if r["type"] in (CHUNK, GAP)]
        for one, other in pairwise(in_tree):
            here = one["first_unit"] + one["unit_count"], one["t1_ns"]
            if here != (other["first_unit"], other["t0_ns"]):
                yield f"{session}: a span of the tree ends at {here}, the next begins elsewhere"


NUMBERED: tuple[tuple[Fact, str, int], ...] = (
    (Fact.CONTROL, "ordinal", 0),
    (Fact.CAPTURED, "ordinal", 0),
    (Fact.CHUNKED, "index", 0),
    (Fact.HEAD, "tree_size", 1),
    (Fact.CHECKPOINT, "tree_size", 1),
)
"""Logs that are written in order, by which field, and where they begin."""


def fenced_logs_are_in_order(found: Evidence) -> Found:
    """What is written in order has no hole and nothing twice, and each log has one beginning."""
    for session in found.sessions:
        for fact, name, first in NUMBERED:
            numbers = [getattr(told.event, name) for told in found.of(fact, session)]
            if numbers != list(range(first, first + len(numbers))):
                yield f"{session}: {fact.value} has {name} {numbers}"
        for fact in (Fact.STARTED, Fact.SEALED, Fact.NUMBERED):
            if len(found.of(fact, session)) > 1:
                yield f"{session}: {fact.value} {len(found.of(fact, session))} times"
        opened = [t for t in found.of(Fact.CAPTURED, session) if isinstance(t.event, Opened)]
        if len(opened) > 1:
            yield f"{session}: opened {len(opened)} times"
    sizes = [told.event.size for told in found.of(Fact.LOGGED)]
    if sizes != list(range(1, len(sizes) + 1)):
        yield f"the log of sessions has heads of sizes {sizes}"
    counters = [told.event.counter for told in found.of(Fact.NUMBERED)]
    if len(counters) != len(set(counters)):
        yield f"numbers of sessions: {counters}"


def files_are_whole(found: Evidence) -> Found:
    """No file is under its final name that is not the bytes which an event or record names."""
    files = found.files()
    for key in files:
        if key.startswith(f"{SPARES}/") and not key.endswith(".lock"):
            yield f"{key} was left behind"
    for session in found.sessions:
        prefix = f"sessions/{session}/"
        for name, digest in _digests(found, session):
            data = files.get(prefix + name)
            leave = session in found.removed | found.offloaded
            going = ("segments/", "chunks/") if leave else ("segments/",)
            gone = data is None and name.startswith(going)
            if not gone and blake3(data or b"").hexdigest() != digest:
                yield f"{session}: {name} is not what an event or record says"


def _digests(found: Evidence, session: str) -> Iterator[tuple[str, str]]:
    for told in found.of(Fact.CAPTURED, session):
        if isinstance(told.event, SegmentCaptured):
            yield told.event.name, told.event.stored_blake3
    for record in found.records(session):
        if record["type"] == CHUNK:
            yield chunk_name(record), record["stored_blake3"].hex()
        if record["type"] == MARK:
            yield f"marks/{record['index']:010d}.json", record["body_blake3"].hex()


RECEIPT = Fact.ANCHOR_RECEIPT
ORPHANS = ("segments/",)
"""Below a session's folder: what a process that stood still may leave. A segment of no event is
nobody's evidence; the keeper removes it, and `recorder doctor` names it."""
ALWAYS = ("session.json", "records", "checkpoints", "seal", "proofs/open", "proofs/seal")


def nothing_unnamed_is_stored(found: Evidence) -> Found:
    """Every file is named by an event, a record or the format; but for orphans of the spool."""
    for key in found.files():
        top, _, rest = key.partition("/")
        if top != "sessions":
            of_copies = top in ("copies", "copies-told") and rest in found.sessions
            of_keepers = key in (PATROL_PLACE, RETENTION_CLOCK)
            if not of_copies and not of_keepers and top not in ("log", "audit", SPARES):
                yield f"{key}: nothing names it"
            continue
        session, _, name = rest.partition("/")
        if session not in found.sessions:
            yield f"{key}: of a session that nobody started"
        elif not name.startswith(ORPHANS) and name not in _named(found, session):
            yield f"{key}: nothing names it"


def _named(found: Evidence, session: str) -> set[str]:
    names = set(ALWAYS)
    for record in found.records(session):
        if record["type"] == CHUNK:
            names.add(chunk_name(record))
        if record["type"] == MARK:
            names.add(f"marks/{record['index']:010d}.json")
    units = len(found.pixels) + len(found.lost)
    names |= {f"thumbnails/{unit:012d}.jpg{end}" for unit in range(units) for end in ("", ".enc")}
    for told in found.of(Fact.RETENTION, session):
        names |= {f"{of}{told.event.number:04d}" for of in ("retention/", "proofs/retention-")}
    sizes = [told.event.tree_size for told in found.of(RECEIPT, session)]
    folder = found.session(session)
    for size in sizes:
        names |= {f"receipts/{path.name}" for path in folder.glob(f"receipts/{size:020d}.*")}
    if not found.of(Fact.SEALED, session):
        size = len(found.of(Fact.HEAD, session)) + 1
        names |= {f"journal/leaves/{n:010d}" for n in range(size)}
        names |= {f"journal/checkpoints/{n:010d}" for n in range(1, size + 1)}
    return names


def no_spool_is_left(found: Evidence) -> Found:
    """Behind a seal the segments that events name are gone: the chunks hold their frames."""
    files = found.files()
    for session in found.sessions:
        if not found.of(Fact.SEALED, session):
            continue
        for told in found.of(Fact.CAPTURED, session):
            name = getattr(told.event, "name", "")
            if name and f"sessions/{session}/{name}" in files:
                yield f"{session}: {name} is left behind the seal"


def checkpoints_chain(found: Evidence) -> Found:
    """For each size one root, told and signed, and it is that of the records."""
    for session in found.sessions:
        raw = [record["raw"] for record in found.records(session)]
        said: dict[int, set[str]] = {}
        for fact in (Fact.HEAD, Fact.CHECKPOINT):
            for told in found.of(fact, session):
                said.setdefault(told.event.tree_size, set()).add(told.event.root_hash)
        notes = found.notes(session)
        for note in notes:
            said.setdefault(note.size, set()).add(note.root.hex())
        for size, roots in sorted(said.items()):
            if size > len(raw):
                yield f"{session}: size {size} was signed, there are {len(raw)} records"
            elif roots != {root(raw[:size]).hex()}:
                yield f"{session}: size {size} has the roots {sorted(roots)}"
        stored = {note.size: note.raw.decode() for note in notes}
        for told in found.of(Fact.CHECKPOINT, session):
            if stored.get(told.event.tree_size) != told.event.note:
                yield f"{session}: the checkpoint told of size {told.event.tree_size} is not stored"


def reference_agrees(found: Evidence) -> Found:
    """The second implementation verifies every sealed folder, and sees the frames that were."""
    for session in found.sessions:
        if not found.of(Fact.SEALED, session):
            continue
        folder = found.shown(session)
        read = reference.check(folder, found.identity)
        removed = session in found.removed
        if read["verdict"] not in ({"REDACTED"} if removed else GOOD):
            yield f"{session}: {read['verdict']}: {read['problem']}"
        report = verify(FolderRecording(folder))
        if report.verdict.value != read["verdict"] or report.root_hash != read["root_hash"]:
            yield f"{session}: the product says {report.verdict.value}, root {report.root_hash}"
        seen = {frame["unit"]: frame["pixels"] for frame in read["frames"]}
        if len(seen) != len(read["frames"]):
            yield f"{session}: a frame is there twice"
        for unit, pixels in found.pixels.items():
            if seen.get(unit) != (None if removed else pixels):
                yield f"{session}: unit {unit} shows something else than the source did"
        for told in found.of(Fact.SEALED, session):
            if told.event.root_hash != read["root_hash"]:
                yield f"{session}: sealed with another root"


def log_of_sessions_is_whole(found: Evidence) -> Found:
    """The log has each session's begin and seal once, and both implementations verify it."""
    read = check_log(found.folder)
    if read["problem"]:
        yield f"the second implementation: {read['problem']}"
    data = DataDirectory(found.folder)
    report = audit_log(data.read, data, bundles=data)
    yield from (f"{each.problem.value}: {each.detail}" for each in report.problems)
    yield from (f"warning: {each}" for each in report.warnings)
    entered = Counter(
        (told.event.session_id, told.event.kind)
        for told in found.of(Fact.LOGGED)
        if told.event.session_id != NO_SESSION
    )
    for session in found.sessions:
        if found.of(Fact.SEALED, session):
            for kind in ("open", "seal"):
                if entered[session, kind] != 1:
                    yield f"{session}: its {kind} is entered {entered[session, kind]} times"
                if not (found.session(session) / "proofs" / kind).is_file():
                    yield f"{session}: there is no proof of its {kind}"
    anchors = [told.event.tree_size for told in found.of(Fact.ANCHOR_REQUESTED)]
    if anchors != sorted(set(anchors)):
        yield f"anchors are requested for {anchors}"


def audit_trail_has_each_event_once(found: Evidence) -> Found:
    """Every command is in the audit stream, and every event of it in the trail, once by its id."""
    facts = (Fact.AUDIT_ACCEPTED, Fact.AUDIT_DENIED, Fact.AUDIT_SETTLED)
    told = [each for fact in facts for each in found.of(fact)]
    bundles = sorted((found.folder / "audit").glob("*.jsonl"))
    lines = [line for path in bundles for line in lines_of(path.read_bytes())]
    ids = Counter(line["message_id"] for line in lines if line["type"] == "event")
    missing = {each.key for each in told} - set(ids)
    yield from (f"{key} is not in the trail" for key in sorted(missing))
    for key, count in ids.items():
        if count != sum(each.key == key for each in told):
            yield f"{key} is {count} times in the trail"
    if not found.of(Fact.STARTED):
        return
    obeyed, refused = found.commands
    for fact, least in ((Fact.AUDIT_ACCEPTED, obeyed), (Fact.AUDIT_DENIED, refused)):
        if len({each.key for each in found.of(fact)}) != least:
            yield f"{fact.value}: expected {least}, found {len(found.of(fact))}"


def keys_are_erased(found: Evidence) -> Found:
    """No private key outlives the seal."""
    for session in found.private_keys:
        if found.of(Fact.SEALED, session):
            yield f"{session}: a private key is left behind the seal"


KEPT = ("open", "seal")
"""Entries whose receipts are in the recording, too; those of statements are with the log alone."""


def receipts_are_kept(found: Evidence) -> Found:
    """Each checkpoint that was receipted has its receipt, with the log and with its session."""
    files = found.files()
    of_recording = {told.event.size for told in found.of(Fact.LOGGED) if told.event.kind in KEPT}
    kinds = {"chain": ".chain"} | ({"rfc3161": ".tsr"} if found.stamped else {})
    for told in found.of(Fact.ANCHOR_REQUESTED):
        size, session = told.event.tree_size, told.event.session_id
        places = ["log", f"sessions/{session}"] if size in of_recording else ["log"]
        for kind, suffix in kinds.items():
            given = {
                each.event.receipt
                for each in found.of(RECEIPT)
                if (each.event.kind, each.event.tree_size) == (kind, size)
            }
            if not given:
                yield f"nobody receipted size {size}: {kind}"
            held = [
                data
                for place in places
                for key, data in files.items()
                if key.startswith(f"{place}/receipts/{size:020d}.") and key.endswith(suffix)
            ]
            # Of two time-stamps, each as good as the other, one is kept, in both places.
            if len(held) != len(places) or len(set(held)) != 1 or not set(held) <= given:
                yield f"{places}: {len(held)} receipts for size {size}, or another one: {kind}"


def everybody_was_told(found: Evidence) -> Found:
    """Owners, the table and stores have heard of whatever became of a session."""
    for session in found.sessions:
        told = {fact for fact in COPIED if found.of(fact, session)}
        for fact in sorted(told - set(found.copies.get(session, []))):
            yield f"{session}: its owner was not told {fact.value}"
        if found.of(Fact.SEALED, session):
            entry: Any = found.entries.get(session)
            if entry is None or entry.state.value != "sealed":
                yield f"{session}: the table says {entry.state.value if entry else 'nothing'}"
            dropped = {each.stage for each in found.letters if not each.sent}
            if not found.of(Fact.STORED, session) and "storage" not in dropped:
                yield f"{session}: nobody told that it is stored"


def copies_are_whole(found: Evidence) -> Found:
    """What was told as copied is in the second store, and nothing is there that is not here."""
    copied, files = found.copied_files(), found.files()
    for session in found.sessions:
        told = {each.event.name: each.event for each in found.of(Fact.BLOB_COPIED, session)}
        chunks = [chunk_name(r) for r in found.records(session) if r["type"] == CHUNK]
        if sorted(told) != ([] if found.uncopied else sorted(chunks)):
            yield f"{session}: told as copied are {sorted(told)}, its chunks {chunks}"
        for name, event in told.items():
            data = copied.get(f"sessions/{session}/{name}", b"")
            there = len(data), sha256(data).hexdigest()
            if session not in found.removed and there != (event.size, event.sha256):
                yield f"{session}: {name} was told as copied, and is not there"
        if found.of(Fact.SEALED, session):
            yield from _archived(found, session, copied)
    for key, data in copied.items():
        _, _, rest = key.partition("/")
        if rest.partition("/")[0] in found.offloaded and "/chunks/" in rest:
            continue
        if key.startswith("sessions/") and files.get(key) != data:
            yield f"{key} is in the second store, and not, or another one, in the first"


def _archived(found: Evidence, session: str, copied: dict[str, bytes]) -> Found:
    archived = found.of(Fact.ARCHIVED, session)
    keys = {each.key for each in archived}
    marker = found.folder / "copies" / session
    if len(keys) != 1 or not marker.is_file():
        yield f"{session}: told as archived by {len(keys)} ids, its marker {marker.is_file()}"
    for told in archived:
        if told.event != archived[0].event:
            yield f"{session}: told as archived in two ways"
    gone = session in found.removed
    for name in ("records", "checkpoints", "seal", *(() if gone else ("session.json",))):
        if f"sessions/{session}/{name}" not in copied:
            yield f"{session}: {name} is not in the second store"
    if found.second is not None:
        read = reference.check(found.second / "sessions" / session, found.identity)
        if read["verdict"] not in ({"REDACTED"} if gone else GOOD):
            yield f"{session}: its copy is {read['verdict']}: {read['problem']}"


STATED = ["hold", "release", "delete", "tombstone"]
GOES = ("chunks/", "thumbnails/", "segments/")


def the_removed_is_gone(found: Evidence) -> Found:
    """Nothing to see, and no key, is left in any store; what proves that it was stays, and says so.

    What becomes of the tree and the log, and that it verifies as REDACTED, others look at.
    """
    files = found.files()
    for session in sorted(found.removed):
        prefix = f"sessions/{session}/"
        for store, held in (("first", files), ("second", found.copied_files())):
            for name in _below(held, prefix):
                if name.startswith(GOES) or name == "session.json":
                    yield f"{session}: {name} is left in the {store} store"
        yield from _is_told(found, session, files)


def _is_told(found: Evidence, session: str, files: dict[str, bytes]) -> Found:
    for fact in (Fact.RETENTION, Fact.LOGGED):
        kinds = [told.event.kind for told in found.of(fact, session)]
        if [kind for kind in kinds if kind not in KEPT] != STATED:
            yield f"{session}: {fact.value} tells of {kinds}"
    for number in range(1, len(STATED) + 1):
        for name in (f"retention/{number:04d}", f"proofs/retention-{number:04d}"):
            if f"sessions/{session}/{name}" not in files:
                yield f"{session}: there is no {name}"
    entry: Any = found.entries.get(session)
    if entry is None or entry.removal != "tombstone" or entry.holds:
        yield f"{session}: the table does not say that it was removed"


def _below(files: dict[str, bytes], prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in files if key.startswith(prefix)]


def the_held_loses_nothing(found: Evidence) -> Found:
    """While a session is under hold no file of it goes or changes, in no store."""
    for key, data in found.before_hold.items():
        if found.under_hold.get(key) != data:
            yield f"{key} is gone, or another one, in spite of the hold"
    if found.removed and not found.before_hold:
        yield "nothing was there when the hold began"


INVARIANTS: tuple[Callable[[Evidence], Found], ...] = (
    nothing_waits,
    sealed_or_says_why,
    no_incident,
    acknowledged_units_once,
    missing_units_are_gaps,
    spans_tile,
    fenced_logs_are_in_order,
    files_are_whole,
    nothing_unnamed_is_stored,
    no_spool_is_left,
    checkpoints_chain,
    reference_agrees,
    log_of_sessions_is_whole,
    audit_trail_has_each_event_once,
    keys_are_erased,
    receipts_are_kept,
    everybody_was_told,
    copies_are_whole,
    the_removed_is_gone,
    the_held_loses_nothing,
    *COMMANDS,
    *KEEPING,
)


def broken(found: Evidence) -> list[str]:
    """What does not hold, each with the name of its invariant."""
    return [f"{each.__name__}: {detail}" for each in INVARIANTS for detail in each(found)]


def _units(records: list[dict[str, Any]], *types: int) -> list[int]:
    spans = [record["span"] for record in records if record["type"] in types]
    return [u for s in spans for u in range(s["first_unit"], s["first_unit"] + s["unit_count"])]
