"""`recorder fetch`: a recording back from the second store, verified where it arrives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from recorder_worker.cli.evidence_files import read_policy
from recorder_worker.cli.output import JsonOption, err, fields, out, print_json, size
from recorder_worker.cli.report import print_report
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)
from recorder_worker.cli.verify import as_json, checked

if TYPE_CHECKING:
    from recorder_worker.adapters.new_folder import NewFolder
    from recorder_worker.ports import BlobStore
    from recorder_worker.service.fetching import Brought

SessionArgument = Annotated[str | None, typer.Argument(help="The session's id.", metavar="SESSION")]
FolderArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The folder to make, new or empty; else one named as the session, here.",
        metavar="FOLDER",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(fetch)


def fetch(
    session: SessionArgument = None,
    folder: FolderArgument = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            help="Instead of a session: the log of sessions and the audit trail, into this folder.",
            metavar="DIR",
        ),
    ] = None,
    sessions: Annotated[
        bool, typer.Option("--list", help="Instead: print the ids of the sessions that are there.")
    ] = False,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="As for `verify`.", exists=True, dir_okay=False),
    ] = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a recording back from the second store, and verify it.

    The store is that of the settings (`storage.kind`). The folder appears whole or not at all; then
    it is verified as by `recorder verify`, with the same report and exit codes. Of a session that
    is being recorded comes what is there: it verifies as TRUNCATED.
    """
    if [session is not None, log is not None, sessions].count(True) != 1:
        raise typer.BadParameter(
            "expected one of SESSION, --log DIR and --list; give one", param_hint="SESSION"
        )
    with _store(config, nats) as store:
        if sessions:
            _list(store, json)
            return
        target = log or folder or Path(session or "")
        with _progress() as brought:
            made = _fetch(store, session, target, brought)
    if log is not None:
        _summary(made, target, json)
        return
    report = checked(target, read_policy(trust))
    if json:
        print_json({"folder": str(target), "size_bytes": made.size_bytes, **as_json(report)})
    else:
        _summary(made, target, json)
        print_report(report)
    sys.exit(report.exit_code)


def _fetch(store: BlobStore, session: str | None, target: Path, brought: Brought) -> NewFolder:
    from recorder_worker.service.fetching import (  # noqa: PLC0415  (loads the store)
        fetch_log,
        fetch_session,
    )

    if session is None:
        return fetch_log(store, target, brought)
    return fetch_session(store, session, target, brought)


def _list(store: BlobStore, json: bool) -> None:
    from recorder_worker.service.fetching import sessions_there  # noqa: PLC0415  (as above)

    found = sessions_there(store)
    if json:
        print_json(found)
    else:
        for session_id in found:
            out.print(session_id, markup=False)


def _summary(made: NewFolder, target: Path, json: bool) -> None:
    if json:
        print_json({"folder": str(target), "size_bytes": made.size_bytes})
        return
    fetched = f"{size(made.size_bytes)} in {made.file_count} files"
    out.print(fields(folder=target, fetched=fetched), markup=False)


@contextmanager
def _store(config: Path | None, nats: str | None) -> Iterator[BlobStore]:
    from recorder_worker.service.fetching import second_store  # noqa: PLC0415  (as above)

    with second_store(load_settings(config), client_login(config, nats)) as store:
        yield store


@contextmanager
def _progress() -> Iterator[Brought]:
    with Progress(
        TextColumn("fetching"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.description}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)

        def brought(name: str, count: int) -> None:
            bar.update(task, advance=count, description=name)

        yield brought
