"""What must hold of the commands of a run: obeyed once, or refused and answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from reference_format import MARK

from faults.evidence import Evidence
from recorder_worker.core.subjects import Command, Fact


def marks_are_leaves(found: Evidence) -> Iterator[str]:
    """Every mark that was accepted is a leaf of its session, once, and no other mark is."""
    for session in found.sessions:
        accepted = {
            told.event.command_id
            for told in found.of(Fact.AUDIT_ACCEPTED, session)
            if told.event.command == Command.MARK.value
        }
        leaves = sum(record["type"] == MARK for record in found.records(session))
        if found.of(Fact.SEALED, session) and leaves != len(accepted):
            yield f"{session}: {len(accepted)} marks were accepted, {leaves} are leaves"


def the_refused_are_answered(found: Evidence) -> Iterator[str]:
    """Who was refused a command was told so, under one id; and nobody else was.

    Who stood still for longer than the server remembers ids answers once more, under the same id.
    """
    denied = {told.event.command_id for told in found.of(Fact.AUDIT_DENIED)}
    answers = {(told.event.command_id, told.key) for told in found.of(Fact.REJECTED)}
    ids = Counter(command_id for command_id, _ in answers)
    for command_id in sorted(denied | set(ids)):
        if (command_id in denied, ids[command_id]) != (True, 1):
            yield f"command {command_id}: refused, and answered under {ids[command_id]} ids"


COMMANDS = (marks_are_leaves, the_refused_are_answered)
