"""What the verifiers say to files that somebody had in hand."""

from __future__ import annotations

from collections.abc import Sequence

from recording_files import FilesReader

from recorder_worker.core.log_audit.report import LogReport, Problem
from recorder_worker.core.records.codec import frame_record
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.verify import Report, Step, TrustPolicy, Verdict, verify


def report(
    files: dict[str, bytes], policy: TrustPolicy | None = None, *, seen: Sequence[bytes] = ()
) -> Report:
    """What the verifier says, who has seen some checkpoints before."""
    return verify(FilesReader(files), policy, seen=[parse_note(note) for note in seen], workers=1)


def tampered(files: dict[str, bytes], *steps: Step) -> Report:
    """It is seen; and by the step that has to see it, where one is named."""
    found = report(files)
    assert (found.verdict, found.exit_code) == (Verdict.TAMPERED, 13), found.steps
    assert not steps or found.failed_step in steps, found.steps
    return found


def problems(found: LogReport) -> set[Problem]:
    """What is wrong with a log."""
    return {finding.problem for finding in found.problems}


def framed(records: Sequence[bytes]) -> bytes:
    """Records as they stand in a file."""
    return b"".join(map(frame_record, records))
