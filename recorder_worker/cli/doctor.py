"""`recorder doctor`: looks at a recorder, and repairs what is safe."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    client_login,
    load_settings,
)

if TYPE_CHECKING:
    from recorder_worker.core.findings import Examined, Finding

EXIT_FINDINGS = 10
COLOURS = {"error": "red", "warning": "yellow", "info": None}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Repair what is safe, and say what was done; else nothing is changed."
        ),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at the data directory alone, without NATS.")
    ] = False,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Look for what is left over, missing, stuck or behind, on the disk and on the server.

    It may run beside the recorder, with the settings of the workers and as their user: what is
    younger than a minute is left alone. Exit code 0: nobody has to do anything; 10: somebody has.
    """
    from recorder_worker.service.doctor.examine import examine  # noqa: PLC0415  (loads all)
    from recorder_worker.service.observing import logs  # noqa: PLC0415  (as above)
    from recorder_worker.service.settings.tree import LogSettings  # noqa: PLC0415  (as above)

    logs.configure(LogSettings(level="error"))  # what is found stands on stdout, and is all
    settings = load_settings(config)
    login = None if offline else client_login(config, nats)
    found = asyncio.run(examine(settings, login, repair=repair))
    if json:
        print_json(found)
    else:
        _tell(found, repair=repair)
    sys.exit(0 if found.clean else EXIT_FINDINGS)


def _tell(found: Examined, *, repair: bool) -> None:
    for finding in found.findings:
        _tell_one(finding, repair=repair)
    for missed in found.not_looked_at:
        out.print(f"not looked at: {missed}", markup=False)
    left = sum(finding.counts for finding in found.findings)
    done = sum(bool(finding.repaired) for finding in found.findings)
    safe = sum(bool(f.repair and not f.repaired and f.counts) for f in found.findings)
    said = "nothing to do" if not left else f"{left} findings to look into"
    if done:
        said += f"; {done} repaired"
    if safe and not repair:
        said += f"; --repair would repair {safe} of them"
    out.print(f"{found.data_dir}: {said}", markup=False)


def _tell_one(finding: Finding, *, repair: bool) -> None:
    out.print(
        f"{finding.severity.value:<8}{finding.check}: {finding.where}",
        markup=False,
        style=COLOURS[finding.severity.value] if out.is_terminal else None,
    )
    out.print(f"        {finding.what}", markup=False)
    out.print(f"        to do: {finding.advice}", markup=False)
    if finding.repaired:
        out.print(f"        repaired: {finding.repaired}", markup=False)
    elif finding.repair and not repair:
        out.print(f"        --repair {finding.repair}", markup=False)
    out.print()
