"""`recorder watch`: facts as they happen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.fact_line import fact_line
from recorder_worker.cli.output import JsonOption, out, print_json_line
from recorder_worker.cli.settings_option import ConfigOption, NatsOption, client_login
from recorder_worker.core.subjects import Fact

if TYPE_CHECKING:
    from recorder_worker.bus.fact_stream import FactSeen


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    session: Annotated[
        str | None, typer.Argument(help="A session's id; all sessions if left out.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Begin with what the stream has stored.")
    ] = False,
    until_sealed: Annotated[
        bool, typer.Option("--until-sealed", help="End when the session is sealed.")
    ] = False,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print the facts of one session or all as they are published, until Ctrl-C.

    With `--json` each line is one fact: its subject and its event.
    """

    async def go() -> None:
        from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

        async with RecorderClient.connect(client_login(config, nats)) as client:
            async for seen in client.events(session or "*", history=history or until_sealed):
                _print(seen, json=json)
                if until_sealed and seen.fact is Fact.SEALED:
                    return

    asyncio.run(go())


def _print(seen: FactSeen, *, json: bool) -> None:
    if json:
        print_json_line({"subject": seen.fact.of(seen.session_id), "event": seen.event})
    else:
        out.print(fact_line(seen.fact, seen.session_id, seen.event), markup=False)
