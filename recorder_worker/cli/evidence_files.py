"""Files that an auditor brings along or takes away: policies, checkpoints, proofs."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from recorder_worker.cli.output import err
from recorder_worker.core.errors import FormatError, SettingsError, StoreError
from recorder_worker.core.signing.note import SignedNote, parse_notes
from recorder_worker.core.verify.policy import TrustPolicy, parse_policy


def read_policy(trust: Path | None) -> TrustPolicy | None:
    """The policy of `--trust`; None where none is given. Raises SettingsError."""
    if trust is None:
        return None
    try:
        return parse_policy(trust.read_bytes())
    except OSError as error:
        raise SettingsError(f"--trust {trust}: expected a readable file, got {error}") from error


def read_checkpoints(path: Path) -> list[SignedNote]:
    """The checkpoints in a file of `--seen`, one or more. Raises typer.BadParameter."""
    try:
        notes = parse_notes(path.read_bytes())
    except (OSError, FormatError) as error:
        raise typer.BadParameter(
            f"{path}: expected signed checkpoints as recordings, logs and events have them, got "
            f"{error}",
            param_hint="--seen",
        ) from error
    if not notes:
        raise typer.BadParameter(f"{path}: holds no checkpoint", param_hint="--seen")
    return notes


def write_new(data: bytes, out_file: Path | None, then: str = "") -> None:
    """Write to a new file and say so, or to stdout where none is named. Raises StoreError."""
    if out_file is None:
        sys.stdout.write(data.decode())
        return
    try:
        with out_file.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise StoreError(
            f"--out {out_file}: expected a new file in a folder that can be written, got: "
            f"{error.strerror or error}; name another one: nothing is replaced"
        ) from error
    err.print(f"{out_file}: {len(data)} bytes{then}")
