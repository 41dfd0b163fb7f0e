"""`recorder config`: the settings in force, and where each came from."""

from __future__ import annotations

import typer

from recorder_worker.cli.output import JsonOption, columns, out, print_json
from recorder_worker.cli.settings_option import ConfigOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("config")(config)


def config(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Print every setting in force with the file or variable that it came from.

    Secrets are not shown. A wrong setting is named, with what is allowed, and the exit code is 78.
    """
    from recorder_worker.service.settings import loading  # noqa: PLC0415  (loads dynaconf)

    rows = loading.effective(*loading.load(config))
    if json:
        print_json({row.key: {"value": row.value, "origin": row.origin} for row in rows})
        return
    # What may be long comes last, where it breaks no column of a narrow terminal.
    lines = [("setting", "from", "value"), *((row.key, row.origin, row.value) for row in rows)]
    for line in columns(lines):
        out.print(line, markup=False)
