"""`recorder verify`: is this recording what was recorded? Offline, without a secret or a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.evidence_files import read_checkpoints, read_policy
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, err, fail, print_json
from recorder_worker.cli.report import print_report
from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import BlobDamagedError, BlobMissingError, FormatError
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verifier import verify as verify_recording

RecordingArgument = Annotated[
    Path,
    typer.Argument(
        help="The folder of a recording, or of a clip.",
        metavar="DIR",
        exists=True,
        file_okay=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    folder: RecordingArgument,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            help="YAML file (`trust.yaml`) with the keys you trust and the rules you set.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    seen: Annotated[
        list[Path] | None,
        typer.Option(
            "--seen",
            help="File with checkpoints of this session that you have from elsewhere: they must "
            "be of the same tree. May be given several times.",
            metavar="NOTE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    identity: IdentityOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", help="How many threads hash and inflate; by default one a processor.", min=1
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify a recording, step by step, and say what is proved and what is not.

    Exit codes: 0 COMPLETE or COMPLETE_WITH_GAPS; 10 TRUNCATED; 11 CLIP; 12 REDACTED; 13 TAMPERED;
    14 EQUIVOCATION; 15 UNSUPPORTED; 20 whole, but signed by a key that `--trust` does not name, or
    against a rule of it; 65 an encrypted recording, for none of the identities; 2 wrong usage.

    Without `--trust` integrity is judged by the keys in the recording itself, and the report says
    that nobody vouches for them. Of an encrypted recording stored bytes, records and signatures
    are checked without a key; with `--identity` what is inside as well.
    """
    check_is_recording(folder)
    notes = [note for path in seen or () for note in read_checkpoints(path)]
    cipher, unusable = _cipher(folder, identity)
    report = checked(folder, read_policy(trust), seen=notes, jobs=jobs, cipher=cipher)
    if json:
        print_json(as_json(report))
    else:
        print_report(report)
    sys.exit(report.exit_code or unusable)


def _cipher(folder: Path, identities: list[Path] | None) -> tuple[SessionCipher | None, int]:
    """What opens the chunks; and an exit code, where the manifest is to blame that nothing does.

    What is wrong with the manifest then stands in the report, unless its writer signed it so.
    """
    try:
        return cipher_of(FolderRecording(folder), identities), 0
    except (FormatError, BlobMissingError, BlobDamagedError) as error:
        return None, fail(error)


def check_is_recording(folder: Path) -> None:
    """A folder with nothing of a recording in it is a slip of the hand, not a verdict."""
    known = (
        keys.MANIFEST,
        keys.RECORDS,
        keys.CHECKPOINTS,
        keys.SEAL,
        keys.CHUNKS,
        keys.JOURNAL,
        keys.CLIP,
    )
    if not any((folder / name).exists() for name in known):
        raise typer.BadParameter(
            f"{folder} holds no recording: expected {keys.MANIFEST}, {keys.RECORDS} or "
            f"{keys.JOURNAL} in it; name the folder of one session, <data_dir>/sessions/<id>",
            param_hint="DIR",
        )


def check_is_outside(folder: Path, target: Path) -> None:
    """What is made of a recording does not belong into its folder. Raises typer.BadParameter."""
    if target.resolve().is_relative_to(folder.resolve()):
        raise typer.BadParameter(
            f"expected a place outside of the recording, got {target}", param_hint="OUT"
        )


def checked(
    folder: Path,
    policy: TrustPolicy | None,
    *,
    seen: Sequence[SignedNote] = (),
    jobs: int | None = None,
    cipher: SessionCipher | None = None,
) -> Report:
    """Verify a folder, with a progress bar where a person looks on."""
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("bytes", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return verify_recording(
            FolderRecording(folder),
            policy,
            tell if err.is_terminal else None,
            workers=jobs or os.cpu_count() or 1,
            seen=seen,
            cipher=cipher,
        )


def as_json(report: Report) -> dict[str, object]:
    """The report as JSON: every field of it, and the number of chunks by its short name."""
    fields: dict[str, object] = msgspec.to_builtins(report)
    return fields | {"chunks": len(report.chunk_map)}
