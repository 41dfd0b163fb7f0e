"""`recorder replay`: make a session again from the stream and compare."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, fields, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)
from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError

if TYPE_CHECKING:
    from recorder_worker.stages.replay import ReplayResult

EXIT_DIFFERENT = 10


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    session: Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")],
    into: Annotated[
        Path | None,
        typer.Option(help="The folder to write to, new or empty; else replay-SESSION here."),
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
    """
    target = into or Path(f"replay-{session}")
    if target.exists() and any(target.iterdir()):
        raise RefusedError(
            field="--into",
            expected="a new or empty folder",
            got=str(target),
            hint="name another one; nothing was written",
        )
    result = asyncio.run(_replay(session, target, nats, config, identity))
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


async def _replay(
    session_id: str,
    target: Path,
    nats: str | None,
    config: Path | None,
    identities: list[Path] | None,
) -> ReplayResult:
    from recorder_worker.service.replaying import replay_session  # noqa: PLC0415  (loads all)

    settings = load_settings(config)
    cipher = None
    if identities:
        folder = settings.data_path / keys.session_prefix(session_id)
        cipher = cipher_of(FolderRecording(folder), identities)
    login = client_login(config, nats)
    return await replay_session(settings, login, session_id, target, cipher)
