"""Judges what a chaos run has left: every session sealed, every acknowledged unit there once.

Its witnesses are the streams, what the clients know, and the second implementation of the format
(`tests/reference.py`). The product's own verifier is asked as well, and must say the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from reference import check
from reference_format import CHUNK, GAP, MARK, Record, h, read_framed, read_record

from chaos.plan import Shape
from chaos.stored import Stored, Streams
from chaos.traffic import FILM_UNITS, FPS, Sent, pattern_of, published_picture
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.verify.verifier import verify

REASONS = (
    *("pause", "source_lost", "back_pressure", "disk", "crash", "handover"),
    *("clock_jump", "dead_letter", "armed"),
)
"""Of gaps, by their code in the record, which begins at 1."""
GOOD = ("COMPLETE", "COMPLETE_WITH_GAPS")


class Judged(msgspec.Struct, kw_only=True):
    """What became of one session; `problems` are what must not be."""

    session_id: str
    shape: str
    verdict: str = ""
    reason: str = ""
    refused: str = ""
    problems: list[str] = msgspec.field(default_factory=list)
    gaps: Counter[str] = msgspec.field(default_factory=Counter)
    lost_units: Counter[str] = msgspec.field(default_factory=Counter)
    units: int = 0
    accepted_in_gaps: int = 0
    handovers: int = 0


def judge(data: Path, sent: Sent, streams: Streams) -> Judged:
    """One session, from all sides."""
    session = sent.session
    judged = Judged(session_id=session.session_id, shape=session.shape.value)
    started = streams.of("session.started", session.session_id)
    rejected = streams.of("session.rejected", session.session_id)
    folder = data / "sessions" / session.session_id
    if not started and rejected:
        judged.refused = f"{rejected[0].body['field']}: {rejected[0].body['hint']}"
        if sent.accepted or folder.exists():
            judged.problems.append("the start was refused, and something was recorded")
        return judged
    sealed = streams.of("session.sealed", session.session_id)
    if len(sealed) != 1 or not folder.is_dir():
        judged.problems.append(f"{len(sealed)} seals, folder there: {folder.is_dir()}")
        return judged
    judged.reason = sealed[0].body["reason"]
    found = check(folder)
    judged.verdict = found["verdict"]
    if found["verdict"] not in GOOD:
        judged.problems.append(f"tests/reference.py: {found['problem']}")
        return judged
    if found["root_hash"] != sealed[0].body["root_hash"]:
        judged.problems.append("the root of the folder is not that of the seal's event")
    report = verify(FolderRecording(folder))
    if (report.verdict.value, report.root_hash) != (found["verdict"], found["root_hash"]):
        judged.problems.append(f"recorder verify: {report.verdict.value} {report.root_hash}")
    records = [read_record(data) for data in read_framed((folder / "records").read_bytes())]
    captured = streams.of("session.captured", session.session_id)
    judged.problems += unit_problems(captured, records)
    judged.problems += lease_problems(captured)
    judged.handovers = len({one.body["lease"] for one in captured}) - 1
    judged.problems += mark_problems(sent, folder, records, rejected)
    for record in records:
        if record["type"] == GAP:
            reason = REASONS[record["reason"] - 1]
            judged.gaps[reason] += 1
            judged.lost_units[reason] += record["span"]["unit_count"]
    judged.units = len(found["frames"])
    if session.shape is Shape.FRAMES:
        lost, problems = published_problems(sent, records, found["frames"])
        judged.accepted_in_gaps = lost
    else:
        problems = content_problems(sent, records, found["frames"])
    judged.problems += problems
    left = [path.name for path in folder.rglob("*") if _is_left(path)]
    if left:
        judged.problems.append(f"left in the folder: {left[:5]}")
    return judged


def _is_left(path: Path) -> bool:
    return path.name == "segments" or ".tmp" in path.name or path.name.startswith(".")


def unit_problems(captured: Sequence[Stored], records: Sequence[Record]) -> list[str]:
    """Every acknowledged segment's units are in chunks, once; every captured gap is a leaf."""
    problems = []
    chunks = [record["span"] for record in records if record["type"] == CHUNK]
    gaps = [(record["span"], record["reason"]) for record in records if record["type"] == GAP]
    in_chunks = Counter(unit for span in chunks for unit in _units(span))
    in_gaps = Counter(unit for span, _ in gaps for unit in _units(span))
    twice = [unit for unit, count in (in_chunks + in_gaps).items() if count > 1]
    if twice:
        problems.append(f"units more than once: {sorted(twice)[:5]}")
    segments = [one.body["span"] for one in captured if one.body["type"] == "segment"]
    acknowledged = Counter(unit for span in segments for unit in _units(span))
    missing = sorted(set(acknowledged) - set(in_chunks))
    if missing:
        of_dead = [gap for gap, reason in gaps if REASONS[reason - 1] == "dead_letter"]
        kept = {unit for span in of_dead for unit in _units(span)}
        problems.append(
            f"acknowledged units in no chunk: {missing[:5]}, {len(set(missing) - kept)} of them "
            "in no gap of dead letters either"
        )
    invented = sorted(set(in_chunks) - set(acknowledged))
    if invented:
        problems.append(f"units that no segment was acknowledged of: {invented[:5]}")
    told = [one.body for one in captured if one.body["type"] == "gap"]
    # As the document has it: a gap that cuts a chunk is a leaf just as it was captured.
    wanted = [(gap["span"]["first_unit"], gap["span"]["unit_count"], gap["reason"]) for gap in told]
    leaves = [
        (span["first_unit"], span["unit_count"], REASONS[reason - 1])
        for span, reason in gaps
        if REASONS[reason - 1] != "dead_letter"
    ]
    if wanted != leaves:
        problems.append(f"captured gaps {wanted} are leaves {leaves}")
    return problems


def _units(span: dict[str, int]) -> range:
    return range(span["first_unit"], span["first_unit"] + span["unit_count"])


def lease_problems(captured: Sequence[Stored]) -> list[str]:
    """A holder that lost the lease writes nothing more, and each hand-over is a gap."""
    problems, seen = [], [captured[0].body["lease"]]
    owes_gap = False
    for before, one in zip(captured, captured[1:], strict=False):
        body = one.body
        if body["ordinal"] != before.body["ordinal"] + 1:
            problems.append(f"ordinal {body['ordinal']} behind {before.body['ordinal']}")
        if body["lease"] != seen[-1]:
            if body["lease"] in seen:
                problems.append(f"{body['lease']} wrote again at ordinal {body['ordinal']}")
            seen.append(body["lease"])
            owes_gap = True
        if body["type"] == "gap":
            owes_gap = False
        if body["type"] == "segment" and owes_gap:
            problems.append(f"no gap before segment {body['ordinal']} of {body['lease']}")
            owes_gap = False
    return problems


def mark_problems(
    sent: Sent, folder: Path, records: Sequence[Record], rejected: Sequence[Stored]
) -> list[str]:
    """Every mark that was acknowledged is a leaf, once; or it was refused, and its client told."""
    places = [record["index"] for record in records if record["type"] == MARK]
    bodies = [json.loads((folder / f"marks/{n:010d}.json").read_bytes()) for n in places]
    texts = Counter(body.get("text") for body in bodies)
    refused = " ".join(str(one.body["command_id"]) for one in rejected)
    problems = []
    for text in sent.marks:
        if texts[text] > 1 or (texts[text] == 0 and not refused.endswith(text) and text not in refused):
            problems.append(f"{text!r} is there {texts[text]} times, and was not refused")
    return problems


def content_problems(
    sent: Sent, records: Sequence[Record], frames: Sequence[dict[str, Any]]
) -> list[str]:
    """Of material that waits for its reader: every unit is what it was, and none is missing.

    But those that an armed session has not kept, which are in its gaps.
    """
    session = sent.session
    units = [frame["unit"] for frame in frames]
    count = FILM_UNITS if session.shape is Shape.COPY else session.units
    gaps = {
        unit for record in records if record["type"] == GAP for unit in _units(record["span"])
    }
    may_miss = gaps if session.shape is Shape.ARMED else set()
    problems = []
    missing = set(range(count)) - set(units) - may_miss
    if missing or sorted(set(units)) != units:
        problems.append(f"units missing {sorted(missing)[:5]}, or not in order, of {count}")
    if session.shape is Shape.COPY:
        return problems
    source = msgspec.convert(pattern_of(session), PatternSource)
    desktop, wanted = PatternDesktop(source, fps=FPS), []
    while (frame := desktop.read()) is not None:
        wanted.append(h(frame.picture.tobytes()).hex())
    wrong = [
        frame["unit"]
        for frame in frames
        if frame["unit"] >= len(wanted) or frame["pixels"] != wanted[frame["unit"]]
    ]
    if wrong:
        problems.append(f"units with other pixels: {wrong[:5]}")
    return problems


def published_problems(
    sent: Sent, records: Sequence[Record], frames: Sequence[dict[str, Any]]
) -> tuple[int, list[str]]:
    """Accepted frames that are in gaps, how many; and what must not be.

    Each frame that is recorded was published, once and in this order; where an accepted one is
    missing, there is a gap in just that place.
    """
    numbers = {
        h(published_picture(sent.session, number).tobytes()).hex(): number
        for number in range(sent.sent)
    }
    accepted, problems, lost = set(sent.accepted), [], 0
    shown = iter(frames)
    last, gap_since = -1, False
    for record in records:
        if record["type"] == GAP:
            gap_since = True
        if record["type"] != CHUNK:
            continue
        for _ in _units(record["span"]):
            number = numbers.get(next(shown)["pixels"], -1)
            if number <= last:
                problems.append(f"frame {number} behind frame {last}")
            skipped = accepted & set(range(last + 1, number))
            lost += len(skipped)
            if skipped and not gap_since:
                problems.append(f"no gap where accepted frames {sorted(skipped)[:5]} are missing")
            last, gap_since = max(last, number), False
    behind = {number for number in accepted if number > last}
    if behind and not gap_since:
        problems.append(f"no gap behind the last frame, and {sorted(behind)[:5]} were accepted")
    return lost + len(behind), problems
