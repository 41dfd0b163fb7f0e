"""`recorder dead ls|show|retry|drop`: messages that a stage could not process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from recorder_worker.cli.dead_settling import add_settling
from recorder_worker.cli.letters import moment, named
from recorder_worker.cli.output import JsonOption, columns, fields, out, print_json, size
from recorder_worker.cli.settings_option import ConfigOption, NatsOption, client_login

if TYPE_CHECKING:
    from recorder_worker.core.dead_letters import LetterSeen

SHOWN_BYTES = 4096
REASON_CHARACTERS = 90

LetterArgument = Annotated[
    str,
    typer.Argument(help="The letter's id, or as much of its begin as names no other."),
]

dead = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: messages that a stage could not process, and what to do about them.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    add_settling(dead)
    app.add_typer(dead, name="dead")


@dead.command("ls")
def ls(
    stage: Annotated[str | None, typer.Option(help="Only of this stage.")] = None,
    session: Annotated[str | None, typer.Option(help="Only about this session.")] = None,
    stack: Annotated[
        str | None, typer.Option(help="Only what failed like this: the digest of the stack.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were dealt with.")
    ] = False,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the dead letters that nobody has dealt with, the oldest first.

    Equal failures have one digest in the column `stack`. Exit code 0, also where there are some:
    `recorder doctor` is what complains.
    """
    wanted = {"stage": stage, "session_id": session, "stack": stack}
    found = [
        seen
        for seen in asyncio.run(_all(nats, config))
        if (everything or seen.settled is None)
        and all(v is None or getattr(seen.letter, name) == v for name, v in wanted.items())
    ]
    if json:
        print_json([_row(seen) for seen in found])
        return
    lines = [("letter", "died", "stage", "session", "tries", "stack", "state", "reason")]
    lines += [
        (
            seen.letter.letter,
            moment(seen.letter.died_ns),
            seen.letter.stage,
            seen.letter.session_id,
            str(seen.letter.deliveries),
            seen.letter.stack or "-",
            seen.settled.action if seen.settled else "waits",
            _cut(seen.letter.reason),
        )
        for seen in found
    ]
    for line in columns(lines) if found else ["no dead letters"]:
        out.print(line, markup=False)


@dead.command("show")
def show(
    letter: LetterArgument,
    body_out: Annotated[
        Path | None,
        typer.Option("--out", help="A new file for the message's exact bytes.", dir_okay=False),
    ] = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show one dead letter: why it failed, where it came from, what became of it, the message."""
    found, seen, body = asyncio.run(_one(letter, nats, config))
    became = [one.letter.letter for one in found if one.letter.retry_of == seen.letter.letter]
    if body_out is not None:
        from recorder_worker.cli.evidence_files import write_new  # noqa: PLC0415  (only here)

        write_new(body, body_out)
    if json:
        print_json(_row(seen) | {"body": body.decode(errors="replace"), "failed_again_as": became})
        return
    told = msgspec.structs.asdict(seen.letter) | {
        "died": moment(seen.letter.died_ns),
        "stored": moment(seen.letter.stored_ns) if seen.letter.stored_ns else "",
        "message": f"{size(seen.letter.size)}{'' if seen.letter.kept else ', not kept: too large'}",
        "headers": " ".join(f"{name}={value}" for name, value in seen.letter.headers.items()),
    }
    if seen.settled is not None:
        event = seen.settled
        who = event.actor or event.by or "somebody"
        told["state"] = f"{event.action} by {who} at {moment(event.wall_ns)}: {event.why or '-'}"
    if became:
        told["failed_again_as"] = ", ".join(became)
    hidden = ("place", "died_ns", "stored_ns", "size", "kept")
    out.print(
        fields(**{k: v for k, v in told.items() if k not in hidden and v not in ("", None)}),
        markup=False,
    )
    if body:
        out.print()
        out.print(body[:SHOWN_BYTES].decode(errors="replace"), markup=False)
    if len(body) > SHOWN_BYTES:
        out.print(f"… {len(body)} bytes in all: --out FILE has them", markup=False)


async def _all(nats: str | None, config: Path | None) -> Sequence[LetterSeen]:
    from recorder_worker.bus.dead_letters.letter_client import (  # noqa: PLC0415  (loads NATS)
        DeadLetterClient,
    )

    async with DeadLetterClient.connect(client_login(config, nats)) as client:
        return await client.all()


async def _one(
    name: str, nats: str | None, config: Path | None
) -> tuple[Sequence[LetterSeen], LetterSeen, bytes]:
    from recorder_worker.bus.dead_letters.letter_client import (  # noqa: PLC0415  (loads NATS)
        DeadLetterClient,
    )

    async with DeadLetterClient.connect(client_login(config, nats)) as client:
        found = await client.all()
        seen = named(found, name)
        return found, seen, await client.body(seen.letter)


def _row(seen: LetterSeen) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(seen.letter)
    return row | {"settled": msgspec.to_builtins(seen.settled)}


def _cut(reason: str) -> str:
    cut = len(reason) > REASON_CHARACTERS
    return f"{reason[: REASON_CHARACTERS - 1]}…" if cut else reason
