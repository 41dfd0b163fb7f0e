"""`recorder replay`: make sessions again from the stream and compare."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, columns, err, fields, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)
from recorder_worker.core import keys
from recorder_worker.core.command_parsing import check_session_id
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.replay_outcome import Outcome

if TYPE_CHECKING:
    from recorder_worker.core.cipher.session_cipher import SessionCipher
    from recorder_worker.core.replay_outcome import Rebuilt
    from recorder_worker.stages.replay import ReplayResult

EXIT_DIFFERENT = 10
EXIT_INCOMPLETE = 11
INTO_ALL = "replay-data"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    session: Annotated[
        str | None, typer.Argument(help="The session's id; none with --all.", metavar="SESSION")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All sessions, and the log of them, into one folder.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write to, new or empty; else replay-SESSION here, or replay-data. "
            "With --all it becomes a data directory, and may be one that was begun before."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="With --all: sessions at once.")
    ] = None,
    identity: IdentityOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make chunks, records and root again from the captured events, into a new folder.

    Exit code 0 where root and records are the same as sealed, 10 where they differ. Bytes come
    from the recorder's own data directory (`data_dir`), each checked against its event;
    what only the signer could make comes from the sealed records. So do, of an encrypted
    session, the digests of plain bytes, unless an identity of one of its recipients is given.

    With `--all`: 11 where none differs, but some could not be made again. Those are named, with the
    reason, and the others go on. Several such processes may share one folder.
    """
    if everything == (session is not None):
        raise typer.BadParameter("give the id of one session, or --all", param_hint="SESSION")
    if session is not None:
        check_session_id(session)
        _one(session, into or Path(f"replay-{session}"), (nats, config), identity, json)
    found = asyncio.run(_all(into or Path(INTO_ALL), (nats, config), identity, jobs))
    _tell(found, json)
    sys.exit(EXIT_DIFFERENT if found.different else 0 if found.whole else EXIT_INCOMPLETE)


def _one(
    session: str,
    target: Path,
    where: tuple[str | None, Path | None],
    identity: list[Path] | None,
    json: bool,
) -> None:
    if target.exists() and any(target.iterdir()):
        raise RefusedError(
            field="--into",
            expected="a new or empty folder",
            got=str(target),
            hint="name another one; nothing was written",
        )
    result = asyncio.run(_replay(session, target, where, identity))
    if json:
        print_json(result)
    else:
        out.print(
            fields(
                session=result.session_id,
                root_hash=result.root_hash,
                sealed_root=result.sealed_root_hash,
                tree_size=result.tree_size,
                folder=result.location,
            ),
            markup=False,
        )
        if result.taken:
            out.print(f"not compared: {result.taken}", markup=False)
        out.print("the same" if result.same else f"DIFFERENT: {result.difference}", markup=False)
    sys.exit(0 if result.same else EXIT_DIFFERENT)


def _tell(found: Rebuilt, json: bool) -> None:
    if json:
        print_json(found)
        return
    lines = [("session", "outcome", "leaves", "root", "detail")]
    lines += [
        (
            one.session_id,
            one.outcome.value,
            str(one.tree_size or "-"),
            one.root_hash[:16] or "-",
            one.detail or (f"not compared: {one.taken}" if one.taken else ""),
        )
        for one in found.sessions
    ]
    for line in columns(lines):
        out.print(line, markup=False)
    out.print()
    for outcome in Outcome:
        if found.count(outcome):
            count = found.count(outcome)
            out.print(f"{count:>6} {outcome.value}: {outcome.means}", markup=False)
    log = found.log_problem or f"{found.log_entries} entries, taken over and checked"
    out.print(f"the log of sessions: {log}", markup=False)
    out.print(f"folder: {found.into}", markup=False)


async def _replay(
    session_id: str,
    target: Path,
    where: tuple[str | None, Path | None],
    identities: list[Path] | None,
) -> ReplayResult:
    from recorder_worker.service.replaying import replay_session  # noqa: PLC0415  (loads all)

    _log_to_stderr()

    nats, config = where
    settings = load_settings(config)
    cipher = None
    if identities:
        folder = settings.data_path / keys.session_prefix(session_id)
        cipher = cipher_of(FolderRecording(folder), identities)
    login = client_login(config, nats)
    return await replay_session(settings, login, session_id, target, cipher)


async def _all(
    into: Path,
    where: tuple[str | None, Path | None],
    identities: list[Path] | None,
    jobs: int | None,
) -> Rebuilt:
    from rich.progress import (  # noqa: PLC0415  (only here)
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from recorder_worker.service.rebuilding import rebuild  # noqa: PLC0415  (loads all)

    _log_to_stderr()

    nats, config = where
    settings = load_settings(config)

    def cipher_for(session_id: str) -> SessionCipher | None:
        """Without an identity that opens it, a session's stored chunks are copied and compared."""
        folder = settings.data_path / keys.session_prefix(session_id)
        try:
            return cipher_of(FolderRecording(folder), identities)
        except RefusedError:
            return None

    with Progress(
        TextColumn("leaves"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("leaves", total=None)
        return await rebuild(
            settings,
            client_login(config, nats),
            into,
            cipher_of=cipher_for,
            jobs=jobs or len(os.sched_getaffinity(0)),
            tell=lambda done, of: bar.update(task, completed=done, total=of),
        )


def _log_to_stderr() -> None:
    """Warnings of what is read on the way must not get into the result."""
    from recorder_worker.service.observing import logs  # noqa: PLC0415  (loads all)
    from recorder_worker.service.settings.tree import LogSettings  # noqa: PLC0415  (as above)

    logs.configure(LogSettings(level="warning"))
