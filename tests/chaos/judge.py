"""Judges what a chaos run has left: every session sealed, every acknowledged unit there once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from chaos.plan import Shape
from chaos.stored import Streams
from chaos.traffic import Sent
from chaos.witnesses import (
    REASONS,
    chatter_problems,
    content_problems,
    lease_problems,
    left_problems,
    mark_problems,
    published_problems,
    unit_problems,
)
from reference import check
from reference_format import GAP, read_framed, read_record

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.verify.verifier import verify

GOOD = ("COMPLETE", "COMPLETE_WITH_GAPS")
ENDS = {
    # Silence for too long, which is what a cut is to whoever listens, ends a published source.
    Shape.FRAMES: ("stopped", "source_ended", "source_lost"),
}
OTHER_ENDS = ("source_ended",)


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
    orphans: int = 0


def judge(data: Path, sent: Sent, streams: Streams) -> Judged:
    """One session, from all sides."""
    session = sent.session
    judged = Judged(session_id=session.session_id, shape=session.shape.value)
    started = streams.of("session.started", session.session_id)
    rejected = streams.of("session.rejected", session.session_id)
    sealed = streams.of("session.sealed", session.session_id)
    folder = data / "sessions" / session.session_id
    if not started and rejected:
        judged.refused = f"{rejected[0].body['field']}: {rejected[0].body['hint']}"
        if sent.accepted or folder.exists():
            judged.problems.append("the start was refused, and something was recorded")
    elif len(sealed) != 1 or not folder.is_dir():
        judged.problems.append(f"{len(sealed)} seals, folder there: {folder.is_dir()}")
    else:
        judged.reason = sealed[0].body["reason"]
        if judged.reason not in ENDS.get(session.shape, OTHER_ENDS):
            judged.problems.append(f"sealed with {judged.reason}: {sealed[0].body['detail']}")
        frames = _verified(judged, folder, sealed[0].body["root_hash"])
        if frames is not None:
            _weighed(judged, sent, folder, streams, frames)
    return judged


def _verified(judged: Judged, folder: Path, root_hash: str) -> list[dict[str, Any]] | None:
    """The frames, once both implementations agree on what is there; None where it is not good."""
    found = check(folder)
    judged.verdict = found["verdict"]
    if found["verdict"] not in GOOD:
        judged.problems.append(f"tests/reference.py: {found['problem']}")
        return None
    if found["root_hash"] != root_hash:
        judged.problems.append("the root of the folder is not that of the seal's event")
    report = verify(FolderRecording(folder))
    if (report.verdict.value, report.root_hash) != (found["verdict"], found["root_hash"]):
        judged.problems.append(f"recorder verify: {report.verdict.value} {report.root_hash}")
    frames: list[dict[str, Any]] = found["frames"]
    return frames


def _weighed(
    judged: Judged, sent: Sent, folder: Path, streams: Streams, frames: list[dict[str, Any]]
) -> None:
    """Hold the records against the streams and against what the client knows."""
    records = [read_record(data) for data in read_framed((folder / "records").read_bytes())]
    captured = streams.of("session.captured", judged.session_id)
    judged.units = len(frames)
    judged.handovers = len({one.body["lease"] for one in captured}) - 1
    for record in records:
        if record["type"] == GAP:
            reason = REASONS[record["reason"] - 1]
            judged.gaps[reason] += 1
            judged.lost_units[reason] += record["span"]["unit_count"]
    judged.problems += unit_problems(captured, records)
    judged.problems += lease_problems(captured) + chatter_problems(records)
    rejected = streams.of("session.rejected", judged.session_id)
    judged.problems += mark_problems(sent, folder, records, rejected)
    if sent.session.shape is Shape.FRAMES:
        judged.accepted_in_gaps, problems = published_problems(sent, records, frames)
    else:
        problems = content_problems(sent, records, frames)
    judged.problems += problems
    left = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    judged.orphans, problems = left_problems(captured, left)
    judged.problems += problems
