"""The `recorder` command: one Typer application, one module a command.

Modules are imported when their command runs, so that `verify` and `frames` load neither NATS nor
OpenCV and start at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from recorder_worker import __version__
from recorder_worker.cli.output import fail
from recorder_worker.core.errors import RecorderError

app = typer.Typer(
    name="recorder",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Records sessions on NATS JetStream so that anyone can prove, offline, what was recorded.",
    epilog="Exit codes: 0 done; 1 a defect; 2 wrong usage; 65 refused; 69 NATS is not there; "
    "74 the store failed; 78 a wrong setting. `verify` has codes of its own: see its help.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"recorder {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    """Options before the command."""


def _register() -> None:
    from recorder_worker.cli import (  # noqa: PLC0415  (after `app`: each adds itself to it)
        audit,
        clip,
        config,
        control,
        dead,
        decrypt,
        demo,
        doctor,
        export,
        fetch,
        frame,
        frames,
        identity,
        keys,
        log,
        nats_conf,
        proof,
        repair,
        replay,
        retention,
        run,
        schemas,
        sessions,
        start,
        streams,
        token,
        verify,
        watch,
    )

    for module in (
        run,
        start,
        control,
        retention,
        sessions,
        watch,
        verify,
        clip,
        proof,
        log,
        audit,
        frames,
        frame,
        export,
        decrypt,
        replay,
        fetch,
        repair,
        dead,
        doctor,
        demo,
        keys,
        token,
        identity,
        config,
        nats_conf,
        streams,
        schemas,
    ):
        module.add_to(app)


_register()


def main() -> None:
    """Run the command line; every error of ours is one clear message and an exit code."""
    try:
        app()
    except RecorderError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
