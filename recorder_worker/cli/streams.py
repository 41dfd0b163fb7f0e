"""`recorder streams`: makes the streams and consumers, where workers may not."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)
from recorder_worker.core.errors import SettingsError

if TYPE_CHECKING:
    from recorder_worker.bus.streams.apply import Difference

EXIT_DIFFERENT = 10

CheckOption = Annotated[
    bool, typer.Option("--check", help="Change nothing; exit code 10 where something differs.")
]

_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,32}")

streams = typer.Typer(
    no_args_is_help=True,
    help="The streams and consumers on the NATS server: bring them to their declared shape.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(streams, name="streams")


@streams.command("apply")
def apply(
    check: CheckOption = False,
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
    _tell(
        asyncio.run(bring_to_shape(settings, client_login(config, nats), check=check)), check, json
    )


@streams.command("mirror")
def mirror(
    domain: Annotated[
        str, typer.Argument(help="The JetStream domain of the edge: NATS_DOMAIN there.")
    ],
    check: CheckOption = False,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """On a hub: mirror the facts of a recorder at the edge, over its leaf node.

    Makes the streams DOMAIN_SESSIONS, DOMAIN_REGISTER, DOMAIN_INTEGRATION and DOMAIN_AUDIT. The
    edge need not be there: what it records meanwhile comes when the link does.
    """
    from recorder_worker.service.topology import mirror_edge  # noqa: PLC0415  (loads NATS)

    if not _DOMAIN.fullmatch(domain):
        raise SettingsError(
            f"DOMAIN: expected letters, digits and dashes, found {domain!r}; give what NATS_DOMAIN "
            "is at the edge"
        )
    settings = load_settings(config)
    login = client_login(config, nats)
    _tell(asyncio.run(mirror_edge(settings, login, domain, check=check)), check, json)


def _tell(found: list[Difference], check: bool, json: bool) -> None:
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
