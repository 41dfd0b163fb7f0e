"""What must hold of one session, whatever was done: each function gives what does not.

The records are read by `tests/reference_format.py`, the frames by `tests/reference.py`: the second
implementation of the format. Of the product only the synthetic desktop is used, to know its pixels.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from chaos.plan import Shape
from chaos.stored import Stored
from chaos.traffic import FILM_UNITS, FPS, Sent, command_key, pattern_of, published_picture
from reference_format import CHUNK, GAP, MARK, Record, h

from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.core.sources.kinds import PatternSource

REASONS = (
    *("pause", "source_lost", "back_pressure", "disk", "crash", "handover"),
    *("clock_jump", "dead_letter", "armed"),
)
"""Of gaps, by their code in the record, which begins at 1."""
MOST_EMPTY_GAPS = 20
"""In a row. A source that comes and goes, with nothing to be read in between, makes a few."""


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


def chatter_problems(records: Sequence[Record]) -> list[str]:
    """The same told again and again: gaps without a unit, one behind the other."""
    most = max(
        (len(list(group)) for empty, group in itertools.groupby(records, _is_empty_gap) if empty),
        default=0,
    )
    return [f"{most} gaps without a unit in a row"] if most > MOST_EMPTY_GAPS else []


def _is_empty_gap(record: Record) -> bool:
    return bool(record["type"] == GAP and not record["span"]["unit_count"])


def left_problems(captured: Sequence[Stored], names: Sequence[str]) -> tuple[int, list[str]]:
    """Segments that no event names, and what else of the files of a sealed session must not be.

    A worker that stood still until others had sealed writes such a segment, and takes it back; if
    it is killed in between, the keeper of retention does, behind ten minutes or a start.
    """
    spool = {name for name in names if name.startswith("segments/")}
    orphans = spool - {one.body.get("name") for one in captured}
    left = sorted(
        name
        for name in names
        if name in spool - orphans or name.startswith("journal/") or "/." in f"/{name}"
    )
    return len(orphans), [f"left in the folder: {left[:5]}"] if left else []


def lease_problems(captured: Sequence[Stored]) -> list[str]:
    """A holder that lost the lease writes nothing more, and each hand-over is in the record.

    As the turn of the epoch, which comes first, and as a gap before the next segment; but where
    nothing was evidence yet, because the session was armed, there is nothing to have a gap in.
    """
    problems, seen = [], [captured[0].body["lease"]]
    owes_gap = False
    for before, one in itertools.pairwise(captured):
        body = one.body
        if body["ordinal"] != before.body["ordinal"] + 1:
            problems.append(f"ordinal {body['ordinal']} behind {before.body['ordinal']}")
        if body["lease"] != seen[-1]:
            if body["lease"] in seen:
                problems.append(f"{body['lease']} wrote again at ordinal {body['ordinal']}")
            seen.append(body["lease"])
            owes_gap = not before.body.get("armed", False)
            if body["type"] not in {"epoch", "ended"}:
                problems.append(f"{body['lease']} began with {body['type']}, not with an epoch")
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
    refused = {one.body["command_id"] for one in rejected}
    problems = []
    for text in sent.marks:
        told = command_key("session.mark", {"session_id": sent.session.session_id, "text": text})
        if texts[text] + (told in refused) != 1:
            problems.append(f"{text!r} is there {texts[text]} times, refused: {told in refused}")
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
    gaps = {unit for record in records if record["type"] == GAP for unit in _units(record["span"])}
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
