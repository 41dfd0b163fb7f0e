"""`recorder stop`, `pause`, `resume`, `mark`, `mask`: commands to a session that is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.named_values import rectangle_of
from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    TokenFileOption,
    client_bearer,
    client_login,
)
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.notes import MASKS
from recorder_worker.core.subjects import Fact

if TYPE_CHECKING:
    from recorder_worker.bus.client import RecorderClient
    from recorder_worker.bus.fact_stream import FactSeen
    from recorder_worker.core.events import Event

Session = Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")]
By = Annotated[str, typer.Option(help="Who asks; kept in the record.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the effect.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (stop, pause, resume, mark, mask):
        app.command(command.__name__)(command)


def stop(
    session: Session,
    by: By = "",
    timeout: Timeout = 60.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """End a session and wait until it is sealed."""
    wait = Wait(session, Fact.SEALED, "sealed", timeout, token_file, nats, config, json)
    wait.after(lambda client: client.stop(session, by=by))


def pause(
    session: Session,
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Record nothing until `resume`; the pause becomes a gap in the record, with its times."""
    wait = Wait(session, Fact.PAUSED, "paused", timeout, token_file, nats, config, json)
    wait.after(lambda client: client.pause(session, by=by))


def resume(
    session: Session,
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Go on after a pause."""
    wait = Wait(session, Fact.RESUMED, "resumed", timeout, token_file, nats, config, json)
    wait.after(lambda client: client.resume(session, by=by))


def mark(
    session: Session,
    text: Annotated[str, typer.Argument(help="What happened.")],
    kind: Annotated[str, typer.Option("--type", help="The kind of event.")] = "note",
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put an event on a session's timeline; it is sealed into the record."""
    wait = Wait(
        session, Fact.CAPTURED, "marked", timeout, token_file, nats, config, json, mark=kind
    )
    wait.after(lambda client: client.mark(session, text, type=kind, by=by))


def mask(
    session: Session,
    rectangles: Annotated[
        list[str] | None,
        typer.Option("--mask", help="Black out X,Y,WIDTH,HEIGHT from now on; repeatable."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Black out nothing any more.")] = False,
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Black out other rectangles from now on: these, and no others; the record says from when."""
    if none == bool(rectangles):
        raise RefusedError(
            field="--mask",
            expected="at least one rectangle, or --none",
            got="both" if none else "neither",
            hint="the list replaces the one in force",
        )
    masks = [rectangle_of("--mask", text) for text in rectangles or []]
    wait = Wait(
        session, Fact.CAPTURED, "masked", timeout, token_file, nats, config, json, mark=MASKS
    )
    wait.after(lambda client: client.mask(session, masks, by=by))


@dataclass(frozen=True)
class Wait:
    """Sends a command and waits for the fact that shows its effect."""

    session: str
    fact: Fact
    done: str
    timeout_s: float
    token_file: Path | None
    nats: str | None
    config: Path | None
    json: bool
    mark: str = ""

    def after(self, send: Callable[[RecorderClient], Awaitable[str]]) -> None:
        """Send, wait, print."""
        event = asyncio.run(self._effect(send))
        if self.json:
            print_json(event)
        else:
            out.print(f"{self.done} {self.session}", markup=False)

    async def _effect(self, send: Callable[[RecorderClient], Awaitable[str]]) -> Event:
        from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

        login = client_login(self.config, self.nats)
        bearer = client_bearer(self.config, self.token_file)
        async with RecorderClient.connect(login, bearer=bearer) as client:
            return await client.effect(
                lambda: send(client), self.session, self._shows, self.timeout_s
            )

    def _shows(self, seen: FactSeen) -> bool:
        if self.mark:
            return getattr(seen.event, "kind", None) == self.mark
        return seen.fact is self.fact
