"""`recorder schemas`: write JSON Schemas and the AsyncAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.cli.output import JsonOption, out, print_json


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schemas")(schemas)


def schemas(
    folder: Annotated[
        Path, typer.Argument(help="Where to write.", metavar="DIR", file_okay=False)
    ] = Path("schemas"),
    json: JsonOption = False,
) -> None:
    """Write the JSON Schema of commands, facts and log lines, and the AsyncAPI document."""
    from recorder_worker.bus.schemas.folder import documents  # noqa: PLC0415  (loads NATS)

    folder.mkdir(parents=True, exist_ok=True)
    made = documents()
    for name, content in made.items():
        (folder / name).write_bytes(content)
    if json:
        print_json(sorted(str(folder / name) for name in made))
    else:
        out.print(f"{len(made)} files in {folder}", markup=False)
