"""`recorder streams`: makes the streams and consumers, where workers may not."""

from __future__ import annotations

import asyncio
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

EXIT_DIFFERENT = 10

streams = typer.Typer(
    no_args_is_help=True,
    help="The streams and consumers on the NATS server: bring them to their declared shape.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(streams, name="streams")


@streams.callback()
def _group() -> None:
    """Keeps `apply` a command of its own: a group of one would be that one."""


@streams.command("apply")
def apply(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 10 where something differs.")
    ] = False,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make what is missing and update what differs, as a worker with `nats.manage` does.

    Run it as the user deploy, with the settings of the workers, before they start and after every
    upgrade. Nothing is deleted. A second run changes nothing.
    """
    from recorder_worker.service.topology import bring_to_shape  # noqa: PLC0415  (loads NATS)

    settings = load_settings(config)
    found = asyncio.run(bring_to_shape(settings, client_login(config, nats), check=check))
    if json:
        print_json([{"kind": d.kind, "name": d.name, "fields": d.fields} for d in found])
    else:
        done = "" if check else (": made", ": updated")
        for difference in found:
            end = done and done[0 if difference.missing else 1]
            out.print(f"{difference}{end}", markup=False)
        if not found:
            out.print("everything is as declared", markup=False)
    sys.exit(EXIT_DIFFERENT if check and found else 0)
