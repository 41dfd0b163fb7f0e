"""`recorder repair`: chunks that are damaged or gone here, put back from the second store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)

EXIT_LOST = 13


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("repair")(repair)


def repair(
    session: Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")],
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Look at every chunk of a sealed session here, and put back what is not whole.

    What is signed in the session's records decides: bytes that do not have the digest of their
    record are put nowhere, and a chunk that is whole is not touched. Exit code 0 where all are
    whole now, 13 where one is whole in neither store.
    """
    from recorder_worker.service.fetching import (  # noqa: PLC0415  (loads the store)
        repair_session,
        second_store,
    )

    settings = load_settings(config)
    with second_store(settings, client_login(config, nats)) as store:
        done = repair_session(settings, store, session)
    if json:
        print_json(done)
    else:
        for one in done:
            end = f"LOST: {one.lost}" if one.lost else "put back"
            out.print(f"{one.name}: {one.found}: {end}", markup=False)
        if not done:
            out.print("every chunk is whole", markup=False)
    sys.exit(EXIT_LOST if any(one.lost for one in done) else 0)
