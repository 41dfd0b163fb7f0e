"""`recorder hold`, `release`, `delete`: what is kept of a session, and what is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.control import By, Session, Timeout
from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    TokenFileOption,
    client_bearer,
    client_login,
)
from recorder_worker.core.errors import BusUnavailableError
from recorder_worker.core.events import SessionRetention

if TYPE_CHECKING:
    from recorder_worker.bus.client import RecorderClient
    from recorder_worker.core.events import Event

Reason = Annotated[str, typer.Option("--reason", help="Why; signed, and kept for ever.")]
HoldName = Annotated[
    str, typer.Option("--name", help="Name of the hold: those of other names hold on.")
]
Shows = Callable[[SessionRetention], bool]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (hold, release, delete):
        app.command(command.__name__)(command)


def hold(
    session: Session,
    reason: Reason,
    name: HoldName = "hold",
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let nothing of a session be removed until the hold of this name is released."""
    wait = _Wait(session, timeout, token_file, nats, config)
    event = wait.after(
        lambda client: client.hold(session, reason, name=name, by=by),
        lambda fact: name in fact.holds,
    )
    _say(event, f"{session} is under hold {name!r}", json=json)


def release(
    session: Session,
    reason: Reason,
    name: HoldName = "hold",
    by: By = "",
    timeout: Timeout = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Lift a hold; those of other names hold on."""
    wait = _Wait(session, timeout, token_file, nats, config)
    event = wait.after(
        lambda client: client.release(session, reason, name=name, by=by),
        lambda fact: name not in fact.holds,
    )
    left = ", ".join(repr(other) for other in event.holds)
    _say(event, f"{session} is released of {name!r}; held by: {left or 'nothing'}", json=json)


def delete(
    session: Session,
    reason: Reason,
    by: By = "",
    timeout: Timeout = 60.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a sealed session's chunks and thumbnails for ever, and wait until they are gone.

    Its records, checkpoints and seal stay, with a signed tombstone: `recorder verify` says
    REDACTED, who wanted it, and why. Of an encrypted session the key goes too, so that no copy can
    be read.
    """
    wait = _Wait(session, timeout, token_file, nats, config)
    seen: set[str] = set()

    def is_done(fact: SessionRetention) -> bool:
        seen.add(fact.kind)
        return fact.kind == "tombstone"

    try:
        event = wait.after(lambda client: client.delete(session, reason, by=by), is_done)
    except BusUnavailableError as error:
        if "delete" not in seen:
            raise
        raise BusUnavailableError(
            f"session {session}: the deletion is ordered, and not finished within {timeout} s; it "
            "goes on by itself, also where a second store is away. Nothing has to be sent again: "
            "recorder show says how far it is, recorder doctor what it waits for"
        ) from error
    _say(event, f"{session}: {event.chunk_count} chunks are gone", json=json)


def _say(event: SessionRetention, text: str, *, json: bool) -> None:
    if json:
        print_json(event)
    else:
        out.print(text, markup=False)


class _Wait:
    """Sends a command and waits for the fact that shows its effect."""

    def __init__(
        self,
        session: str,
        timeout_s: float,
        token_file: Path | None,
        nats: str | None,
        config: Path | None,
    ) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._bearer = client_bearer(config, token_file)
        self._login = client_login(config, nats)

    def after(
        self, send: Callable[[RecorderClient], Awaitable[str]], shows: Shows
    ) -> SessionRetention:
        event = asyncio.run(self._effect(send, shows))
        assert isinstance(event, SessionRetention)  # noqa: S101  (nothing else shows it)
        return event

    async def _effect(
        self, send: Callable[[RecorderClient], Awaitable[str]], shows: Shows
    ) -> Event:
        from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

        async with RecorderClient.connect(self._login, bearer=self._bearer) as client:
            return await client.effect(
                lambda: send(client),
                self._session,
                lambda seen: isinstance(seen.event, SessionRetention) and shows(seen.event),
                self._timeout_s,
            )
