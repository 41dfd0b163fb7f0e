"""`recorder audit show|verify`: who did what, offline, from the data directory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.log_report import DirArgument, SeenOption, TrustOption, end_with, look
from recorder_worker.cli.output import JsonOption, columns, err, out, print_json_line
from recorder_worker.cli.times import moment_of
from recorder_worker.core.audit_trail.listing import Row, rows
from recorder_worker.core.log_audit.trail import without_sessions
from recorder_worker.core.printable import printable

SECOND_NS = 1_000_000_000

audit_app = typer.Typer(
    no_args_is_help=True,
    help="Look at the audit trail: who started, stopped, viewed and exported recordings, and who "
    "was refused.",
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(audit_app, name="audit")


@audit_app.command("show")
def show(
    folder: DirArgument,
    session: Annotated[str, typer.Option("--session", help="Only events about it.")] = "",
    actor: Annotated[
        str, typer.Option("--actor", help="Only events of whoever has this name.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since", help="Only events from then on: `2026-11-23` or `2026-11-23T18:00:05Z`."
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """List the audit events, with what the recorder itself says of gaps and of age.

    Nothing is verified: that is for `recorder audit verify`. Events of the last moments are not
    there yet (`audit.digest_s`). With `--json`, a line for each.
    """
    since_ns = moment_of(since, "--since") if since else 0
    found = (
        row
        for row in rows(DataDirectory(folder))
        if row.wall_ns >= since_ns
        and (not session or row.session_id == session)
        and (not actor or row.actor == actor)
    )
    if json:
        for row in found:
            print_json_line(msgspec.to_builtins(row))
        return
    head = ("event", "time (UTC)", "what", "who", "role", "session", "detail")
    for line in columns([head, *map(_cells, found)]):
        out.print(line, markup=False)
    err.print("not verified: recorder audit verify does", style="yellow")


def _cells(row: Row) -> tuple[str, ...]:
    seconds, rest = divmod(row.wall_ns, SECOND_NS)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    detail = f"(told again) {row.detail}" if row.again else row.detail
    cells = (row.what, row.actor or "-", row.role or "-", row.session_id or "-", detail)
    return (str(row.n), f"{moment}.{rest // 1_000_000:03d}", *map(printable, cells))


@audit_app.command("verify")
def verify(
    folder: DirArgument,
    trust: TrustOption = None,
    seen: SeenOption = None,
    json: JsonOption = False,
) -> None:
    """Hold the audit trail against the log of sessions.

    Finds events that were changed, removed, inserted or put in another order, bundles of another
    recorder, and a log that was changed, cut or signed anew. What became of sessions is for
    `recorder log verify`, which finds all of this, too.

    Exit codes: 0 good; 13 something is missing or was changed; 14 EQUIVOCATION: two views of one
    log were signed; 20 good, but signed by a key that `--trust` does not name; 2 wrong usage.
    """
    end_with(look(folder, trust, seen, without_sessions), json=json, sessions=False)
