"""`recorder dead retry|drop`: one letter after the other is settled by the recorder's desk."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.letters import moment, named
from recorder_worker.cli.output import JsonOption, fail, out, print_json_line
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    TokenFileOption,
    client_bearer,
    client_login,
)
from recorder_worker.core.errors import RefusedError

if TYPE_CHECKING:
    from recorder_worker.core.dead_letters import LetterSeen
    from recorder_worker.core.gateway_messages import SettledAnswer

EXIT_REFUSED = 65

LettersArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of letters, or the begin of each.", metavar="LETTER"),
]
StackOption = Annotated[
    str | None,
    typer.Option(help="All that failed like this and wait: the digest of the stack."),
]
ByOption = Annotated[str, typer.Option(help="Who asks; kept in the audit trail.")]


def add_settling(dead: typer.Typer) -> None:
    """Add the commands to their group."""
    dead.command("retry")(retry)
    dead.command("drop")(drop)


def retry(
    letters: LettersArgument = None,
    stack: StackOption = None,
    why: Annotated[str, typer.Option(help="What was done about its cause; kept.")] = "",
    by: ByOption = "",
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Let the stage have the message once more, exactly once.

    Refused (65) where that cannot help or would touch the record: a gap stands in its place, its
    session has ended, or signing has stopped. If it fails again it is a letter of its own.
    """
    chosen = _Chosen(letters, stack)
    _end(asyncio.run(_settle(chosen, "retry", by, why, (nats, config, token_file), json=json)))


def drop(
    why: Annotated[str, typer.Option(help="Why nothing is to be done; kept.")],
    letters: LettersArgument = None,
    stack: StackOption = None,
    by: ByOption = "",
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say that nothing more is done about a letter; it stays in the stream until it is too old."""
    chosen = _Chosen(letters, stack)
    _end(asyncio.run(_settle(chosen, "drop", by, why, (nats, config, token_file), json=json)))


class _Chosen:
    """The letters that are meant: by name, or all that failed alike and wait."""

    def __init__(self, names: list[str] | None, stack: str | None) -> None:
        if bool(names) == (stack is not None):
            raise typer.BadParameter("name letters, or give --stack", param_hint="LETTER")
        self._names = names or []
        self._stack = stack

    def of(self, found: Sequence[LetterSeen]) -> list[str]:
        """Their ids. Raises RefusedError where a name is of none, or of several."""
        if self._stack is None:
            return [named(found, name).letter.letter for name in self._names]
        waiting = (seen.letter for seen in found if seen.settled is None)
        alike = [letter.letter for letter in waiting if letter.stack == self._stack]
        if not alike:
            raise RefusedError(
                field="--stack",
                expected="the whole digest of the stack of letters that wait",
                got=f"{self._stack}, which is that of none",
                hint="`recorder dead ls` lists them",
            )
        return alike


def _end(refused: int) -> None:
    sys.exit(EXIT_REFUSED if refused else 0)


def _told(answer: SettledAnswer, *, json: bool) -> None:
    event = answer.settled
    if json:
        print_json_line(answer)
    elif answer.first:
        done = "dropped" if event.action == "dropped" else f"sent to {event.stage} once more"
        out.print(f"{event.letter} {done}", markup=False)
    else:
        who = event.actor or event.by or "somebody"
        out.print(
            f"{event.letter} was {event.action} before, by {who} at {moment(event.wall_ns)}; "
            "nothing was done now",
            markup=False,
        )


async def _settle(
    chosen: _Chosen,
    action: str,
    by: str,
    why: str,
    where: tuple[str | None, Path | None, Path | None],
    *,
    json: bool,
) -> int:
    """Settle one letter after the other; gives how many were refused, which is said."""
    from recorder_worker.bus.dead_letters.letter_client import (  # noqa: PLC0415  (loads NATS)
        DeadLetterClient,
    )

    nats, config, token_file = where
    login, bearer = client_login(config, nats), client_bearer(config, token_file)
    refused = 0
    async with DeadLetterClient.connect(login, bearer=bearer) as client:
        act = client.retry if action == "retry" else client.drop
        for letter in chosen.of(await client.all()):
            try:
                _told(await act(letter, by=by, why=why), json=json)
            except RefusedError as error:
                fail(error)
                refused += 1
    return refused
