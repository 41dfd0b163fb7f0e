"""`recorder log show|verify|prove`: the log of sessions, offline, from the data directory."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.evidence_files import read_checkpoints, read_policy, write_new
from recorder_worker.cli.output import JsonOption, columns, fields, out, print_json
from recorder_worker.cli.report import TRUST
from recorder_worker.core.command_parsing import check_session_id
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    RefusedError,
)
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.note import SignedNote, parse_notes
from recorder_worker.core.proofs import inclusion_proof
from recorder_worker.core.session_log.entries import EntryKind, encode_entry, entry_hash
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.session_log.stored_log import StoredLog, check_log, read_checkpoint
from recorder_worker.core.verify.report import printable

LOOKS_AGAIN = 2
LOOK_AGAIN_S = 0.5
"""A recorder that runs enters a session a moment behind its seal: what is wrong must stay wrong."""

log_app = typer.Typer(
    no_args_is_help=True,
    help="Look at the log of sessions, in which every session of a recorder stands.",
)

DirArgument = Annotated[
    Path,
    typer.Argument(
        help="The recorder's data directory.", metavar="DIR", exists=True, file_okay=False
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(log_app, name="log")


@log_app.command("show")
def show(folder: DirArgument, json: JsonOption = False) -> None:
    """List the entries of the log: which session was opened or sealed, under which number."""
    log = _stored(DataDirectory(folder))
    rows = [
        {
            "index": index,
            "kind": entry.kind.name.lower(),
            "counter": entry.counter,
            "session_id": entry.session_id,
            "note_sha256": entry.note_sha256.hex(),
        }
        for index, entry in enumerate(log.entries)
    ]
    head = log.checkpoint.head
    if json:
        shown = {"origin": head.origin, "tree_size": head.tree_size}
        print_json(shown | {"root_hash": head.root_hash.hex(), "entries": rows})
        return
    lines = [("index", "entry", "number", "session", "checkpoint (sha256)")]
    lines += [
        (
            str(row["index"]),
            str(row["kind"]),
            str(row["counter"]),
            str(row["session_id"]),
            str(row["note_sha256"])[:16],
        )
        for row in rows
    ]
    for line in columns(lines):
        out.print(line, markup=False)
    out.print()
    out.print(
        fields(log=head.origin, tree_size=head.tree_size, root_hash=head.root_hash.hex()),
        markup=False,
    )


@log_app.command("verify")
def verify(
    folder: DirArgument,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust", help="YAML file with the keys that you trust.", exists=True, dir_okay=False
        ),
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option(
            "--seen",
            help="Signed checkpoints of this log that you kept: it must have grown out of them.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Hold the log of sessions against the folders of the sessions.

    Finds sessions that were deleted, that are hidden from the log, or whose first checkpoint or
    seal is another one; holes and repeats in their numbers; and a log that was changed or cut.
    What is *in* a recording is for `recorder verify`.

    Exit codes: 0 good; 13 something is missing or was changed; 14 EQUIVOCATION: two views of one
    log were signed; 20 good, but signed by a key that `--trust` does not name; 2 wrong usage.
    """
    data = DataDirectory(folder)
    notes = [("--seen", note) for note in read_checkpoints(seen)] if seen else []
    for name in data.receipted():
        notes += [(f"log/{name}", note) for note in _receipted(data, name)]
    policy = read_policy(trust)
    wait = partial(time.sleep, LOOK_AGAIN_S)
    report = audit_log(data.read, data, policy=policy, seen=notes, wait=wait)
    for _ in range(LOOKS_AGAIN):
        if not report.problems:
            break
        wait()
        report = audit_log(data.read, data, policy=policy, seen=notes, wait=wait)
    if json:
        print_json(msgspec.to_builtins(report) | {"exit_code": report.exit_code})
    else:
        _print(report)
    sys.exit(report.exit_code)


@log_app.command("prove")
def prove(
    folder: DirArgument,
    session: Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")],
    opened: Annotated[
        bool, typer.Option("--open", help="Prove that it was opened, also where it is sealed.")
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="A new file to write to; else stdout.", dir_okay=False),
    ] = None,
) -> None:
    """Write the proof that a session stands in the log: its seal, or else its opening.

    The text is a C2SP tlog-proof (c2sp.org/tlog-proof) under the newest checkpoint of the log.
    """
    check_session_id(session)
    proof = _proof(_stored(DataDirectory(folder)), session, opened=opened)
    write_new(proof.text(), out_file)


def _proof(log: StoredLog, session_id: str, *, opened: bool) -> LogProof:
    places = {
        entry.kind: index
        for index, entry in enumerate(log.entries)
        if entry.session_id == session_id
    }
    index = places.get(EntryKind.OPEN)
    if not opened:
        index = places.get(EntryKind.SEAL, index)
    if index is None:
        raise RefusedError(
            field="SESSION",
            expected="a session that is in the log",
            got=session_id,
            hint="recorder log show lists them",
        )
    proof = LogProof(
        index=index,
        hashes=tuple(inclusion_proof(log.tree, index, log.tree.size)),
        checkpoint=log.checkpoint,
    )
    proof.verify(entry_hash(encode_entry(log.entries[index])))
    return proof


def _stored(data: DataDirectory) -> StoredLog:
    checkpoint = read_checkpoint(data.read)
    if checkpoint is None:
        raise BlobMissingError(
            "log: expected a signed checkpoint, found none; no session was opened yet, or the "
            "log was removed: see recorder log verify"
        )
    return check_log(data.read, checkpoint)


def _print(report: LogReport) -> None:
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
        out.print()
        out.print(
            fields(
                log=report.origin,
                tree_size=report.tree_size,
                root_hash=report.root_hash,
                sessions=f"{report.opened} opened, {report.sealed} sealed",
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


def _receipted(data: DataDirectory, name: str) -> list[SignedNote]:
    """What cannot be read of it is not evidence: the receipt beside it will not fit."""
    try:
        return parse_notes(data.read(name))
    except (BlobMissingError, FormatError):
        return []
