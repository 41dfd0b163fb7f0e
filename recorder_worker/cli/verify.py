"""`recorder verify`: is this recording what was recorded? Offline, without a secret or a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.output import JsonOption, err, print_json
from recorder_worker.cli.report import print_report
from recorder_worker.core import keys
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.verify.policy import TrustPolicy, parse_policy
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verifier import verify as verify_recording


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    folder: Annotated[
        Path,
        typer.Argument(help="The recording's folder.", metavar="DIR", exists=True, file_okay=False),
    ],
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust", help="TOML file with the keys that you trust.", exists=True, dir_okay=False
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify a recording, step by step, and say what is proved and what is not.

    Exit codes: 0 COMPLETE or COMPLETE_WITH_GAPS; 10 TRUNCATED; 11 CLIP; 12 REDACTED; 13 TAMPERED;
    14 EQUIVOCATION; 15 UNSUPPORTED; 20 whole, but signed by a key that `--trust` does not name;
    2 wrong usage.

    Without `--trust` integrity is judged by the key in the recording itself, and the report says
    that nobody vouches for that key.
    """
    check_is_recording(folder)
    report = checked(folder, _policy(trust))
    if json:
        print_json(as_json(report))
    else:
        print_report(report)
    sys.exit(report.exit_code)


def check_is_recording(folder: Path) -> None:
    """A folder with nothing of a recording in it is a slip of the hand, not a verdict."""
    known = (keys.MANIFEST, keys.RECORDS, keys.CHECKPOINTS, keys.SEAL, keys.CHUNKS, keys.JOURNAL)
    if not any((folder / name).exists() for name in known):
        raise typer.BadParameter(
            f"{folder} holds no recording: expected {keys.MANIFEST}, {keys.RECORDS} or "
            f"{keys.JOURNAL} in it; name the folder of one session, <data_dir>/sessions/<id>",
            param_hint="DIR",
        )


def checked(folder: Path, policy: TrustPolicy | None) -> Report:
    """Verify a folder, with a progress bar where a person looks on."""
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("chunks"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("chunks", total=None)
        return verify_recording(
            FolderRecording(folder),
            policy,
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def as_json(report: Report) -> dict[str, object]:
    """The report as JSON: every field of it, and the number of chunks by its short name."""
    fields: dict[str, object] = msgspec.to_builtins(report)
    return fields | {"chunks": len(report.chunk_map)}


def _policy(trust: Path | None) -> TrustPolicy | None:
    if trust is None:
        return None
    try:
        return parse_policy(trust.read_bytes())
    except OSError as error:
        raise SettingsError(f"--trust {trust}: expected a readable file, got {error}") from error
