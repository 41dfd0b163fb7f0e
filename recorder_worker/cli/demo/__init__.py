"""`recorder demo`: the whole recorder in one minute, up to one flipped byte that is caught."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.cli.output import JsonOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    into: Annotated[
        Path,
        typer.Option(
            "--into",
            help="Where the recordings go. If an earlier demo is there, a numbered one beside it.",
            metavar="DIR",
        ),
    ] = Path("demo-recording"),
    clip: Annotated[
        Path | None,
        typer.Option(help="A short video to record instead of the clip that comes along."),
    ] = None,
    desktop: Annotated[
        bool, typer.Option(help="Also record a live X session, where Xvfb is installed.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Record, seal, verify, and catch one flipped byte; less than a minute.

    Starts a worker of its own on free ports (your settings are not read): an embedded
    nats-server, all four stages and the sidecar. Records a screen recording that comes along and
    a live X session, verifies both, compares every pixel with an independent read of the clip,
    and flips one byte in a copy. Checks the log of sessions, and that one deleted session is
    missed; cuts a clip, and proves one chunk.

    Exit codes: 0 all of that held; 1 a check failed: it says which; 65 DIR is not a demo's.
    With `--json` the outcome is one document on stdout, and the rest goes to stderr.
    """
    from recorder_worker.cli.demo.show import show  # noqa: PLC0415  (loads everything)

    sys.exit(show(into, clip, desktop=desktop, json=json))
