"""The drawn part of docs/clients.md: every command with its arguments and options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markdown_parts import code, first_line, table
from typer.main import get_command

from recorder_worker.cli.main import app

SHARED = ("--nats", "--config", "--json")
"""Options that many commands have; they are described by hand, once."""


def cli_reference() -> str:
    """Every command of `recorder` with its arguments and options."""
    return "\n\n".join(_command(name, command) for name, command in _commands(get_command(app)))


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (as below)
    """Every command by its words: `start`, `keys show`."""
    for name, command in vars(group)["commands"].items():
        if "commands" in vars(command):
            yield from _commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _command(name: str, command: Any) -> str:  # noqa: ANN401  (Typer's classes are private)
    params = [p for p in command.params if "--help" not in p.opts]
    arguments = [p for p in params if p.param_type_name == "argument"]
    options = [p for p in params if p.param_type_name == "option"]
    shared = [f"[{option}]" for option in SHARED if any(option in p.opts for p in options)]
    usage = " ".join(["recorder", name, *map(_usage, arguments), *shared])
    rows = [(code(_name(p)), first_line(p.help)) for p in arguments]
    rows += [
        (", ".join(map(code, [*p.opts, *p.secondary_opts])), first_line(p.help))
        for p in options
        if not set(SHARED) & set(p.opts)
    ]
    said = " ".join(first_line(command.help).split())
    parts = [f"### recorder {name}", said, f"```\n{usage}\n```"]
    return "\n\n".join([*parts, table(("argument or option", "meaning"), rows)] if rows else parts)


def _name(argument: Any) -> str:  # noqa: ANN401  (Typer's parameter classes are private)
    return str(argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:  # noqa: ANN401  (Typer's parameter classes are private)
    shown = f"{_name(argument)}…" if argument.nargs == -1 else _name(argument)
    return shown if argument.required else f"[{shown}]"


PARTS = {"docs/clients.md": {"commands": cli_reference}}
