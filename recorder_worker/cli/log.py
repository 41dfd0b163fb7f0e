"""`recorder log show|verify|prove`: the log of sessions, offline, from the data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.evidence_files import write_new
from recorder_worker.cli.log_report import DirArgument, SeenOption, TrustOption, end_with, look
from recorder_worker.cli.output import JsonOption, columns, fields, out, print_json
from recorder_worker.core.command_parsing import check_session_id
from recorder_worker.core.errors import (
    BlobMissingError,
    RefusedError,
)
from recorder_worker.core.merkle.proofs import inclusion_proof
from recorder_worker.core.session_log.entries import (
    NO_SESSION,
    EntryKind,
    encode_entry,
    entry_hash,
)
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.session_log.stored_log import StoredLog, check_log, read_checkpoint

log_app = typer.Typer(
    no_args_is_help=True,
    help="Look at the log of sessions, in which every session of a recorder stands.",
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(log_app, name="log")


@log_app.command("show")
def show(folder: DirArgument, json: JsonOption = False) -> None:
    """List the entries of the log: which session was opened or sealed, under which number.

    An entry `audit` says how many audit events there were, and the digest over them.
    """
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
    lines = [("index", "entry", "number", "session", "digest")]
    lines += [
        (
            str(row["index"]),
            str(row["kind"]),
            str(row["counter"]),
            "" if row["session_id"] == NO_SESSION else str(row["session_id"]),
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
    trust: TrustOption = None,
    seen: SeenOption = None,
    json: JsonOption = False,
) -> None:
    """Hold the log of sessions against the folders of the sessions.

    Finds sessions that were deleted, that are hidden from the log, or whose first checkpoint or
    seal is another one; holes and repeats in their numbers; audit events that are missing or
    changed; and a log that was changed or cut.
    What is *in* a recording is for `recorder verify`.

    Exit codes: 0 good; 13 something is missing or was changed; 14 EQUIVOCATION: two views of one
    log were signed; 20 good, but signed by a key that `--trust` does not name; 2 wrong usage.
    """
    end_with(look(folder, trust, seen), json=json)


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
