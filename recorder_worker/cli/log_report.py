"""Looks at a log of sessions from outside, and prints what was found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.evidence_files import read_checkpoints, read_policy
from recorder_worker.cli.output import fields, out, print_json
from recorder_worker.cli.report import TRUST
from recorder_worker.core.audit_trail.check import TrailReport
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.printable import printable
from recorder_worker.core.signing.note import SignedNote, parse_notes

LOOKS_AGAIN = 2
LOOK_AGAIN_S = 0.5
"""A recorder that runs enters a session a moment behind its seal: what is wrong must stay wrong."""

DirArgument = Annotated[
    Path,
    typer.Argument(
        help="The recorder's data directory.", metavar="DIR", exists=True, file_okay=False
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust", help="YAML file with the keys that you trust.", exists=True, dir_okay=False
    ),
]
SeenOption = Annotated[
    Path | None,
    typer.Option(
        "--seen",
        help="Signed checkpoints of this log that you kept: it must have grown out of them.",
        exists=True,
        dir_okay=False,
    ),
]


def look(
    folder: Path,
    trust: Path | None,
    seen: Path | None,
    only: Callable[[LogReport], LogReport] = lambda report: report,
) -> LogReport:
    """What is found, looked at again while something is wrong; `only` is what is asked for."""
    data = DataDirectory(folder)
    notes = [("--seen", note) for note in read_checkpoints(seen)] if seen else []
    for name in data.receipted():
        notes += [(f"log/{name}", note) for note in _receipted(data, name)]
    policy = read_policy(trust)
    wait = partial(time.sleep, LOOK_AGAIN_S)

    def report() -> LogReport:
        return only(audit_log(data.read, data, bundles=data, policy=policy, seen=notes, wait=wait))

    found = report()
    for _ in range(LOOKS_AGAIN):
        if not found.problems:
            break
        wait()
        found = report()
    return found


def end_with(report: LogReport, *, json: bool, sessions: bool = True) -> None:
    """Print a report, and end with its exit code; `sessions`: they are a part of it."""
    if json:
        print_json(msgspec.to_builtins(report) | {"exit_code": report.exit_code})
    else:
        _print(report, sessions=sessions)
    sys.exit(report.exit_code)


def _print(report: LogReport, *, sessions: bool) -> None:
    for finding in report.problems:
        about = f"session {finding.session_id}: " if finding.session_id else ""
        out.print(f"{finding.problem.value:<22}  ", style="bold red", end="")
        out.print(printable(f"{about}{finding.detail}"), markup=False)
    for session_id in report.not_sealed:
        out.print(f"not sealed: session {session_id}", markup=False)
    for text in report.warnings:
        out.print(printable(f"note: {text}"), markup=False)
    if report.origin:
        trust = f"{TRUST[report.trust.status]} {report.trust.name}".rstrip()
        shown = {"sessions": _sessions(report)} if sessions else {}
        if report.audit.entries or not sessions:
            shown["audit_trail"] = _trail(report.audit)
        out.print()
        out.print(
            fields(
                log=report.origin,
                tree_size=report.tree_size,
                root_hash=report.root_hash,
                **shown,
                consistent=f"with {report.compared} checkpoints that stand elsewhere",
                key=printable(f"{report.trust.public_key} ({trust})"),
            ),
            markup=False,
        )
    for text in report.not_proved:
        out.print(f"not proved: {text}", style="yellow", markup=False)
    good = not report.problems
    word = "COMPLETE" if good else ", ".join(sorted({f.problem.name for f in report.problems}))
    out.print(f"\n{word}", style="bold green" if report.exit_code == 0 else "bold red")


def _sessions(report: LogReport) -> str:
    said = f"{report.opened} opened, {report.sealed} sealed"
    if report.held:
        said += f", {len(report.held)} under hold"
    if report.removed:
        said += f", {len(report.removed)} removed by their owner"
    return said


def _trail(trail: TrailReport) -> str:
    said = f"{trail.events} events in {trail.bundles} bundles, up to line {trail.last}"
    if trail.aged:
        said += f"; lines 1 to {trail.aged} were removed because of their age"
    if trail.gaps:
        said += f"; {trail.gaps} gaps, which recorder audit show lists"
    return said


def _receipted(data: DataDirectory, name: str) -> list[SignedNote]:
    """What cannot be read of it is not evidence: the receipt beside it will not fit."""
    try:
        return parse_notes(data.read(name))
    except (BlobMissingError, FormatError):
        return []
