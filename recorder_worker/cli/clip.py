"""`recorder clip`: some minutes of a recording, with the proof that they are part of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_folder import NewFolder
from recorder_worker.cli.output import JsonOption, err, fields, out, print_json, seconds, size
from recorder_worker.cli.times import TIME_HELP, window_of
from recorder_worker.cli.verify import check_is_recording, checked
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_plan import ClipPlan
from recorder_worker.core.verify.policy import parse_policy
from recorder_worker.core.verify.verdicts import Verdict

GOOD = (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS, Verdict.TRUNCATED)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("clip")(clip)


def clip(
    folder: Annotated[
        Path,
        typer.Argument(help="The recording's folder.", metavar="DIR", exists=True, file_okay=False),
    ],
    target: Annotated[
        Path, typer.Argument(help="The folder to make, new or empty.", metavar="OUT")
    ],
    begin: Annotated[str, typer.Option("--from", help=f"Where to begin: {TIME_HELP}.")],
    end: Annotated[str, typer.Option("--to", help="Where to end, as `--from`.")],
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            help="Trust policy to check the recording with and to put into the clip.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    unverified: Annotated[
        bool,
        typer.Option(
            "--unverified",
            help="Do not verify the whole recording first. What goes into the clip is compared "
            "with its digests all the same.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a folder with a part of a recording, which `recorder verify` accepts as CLIP.

    It holds whole chunks: from the keyframe that the first wanted moment is decoded from to the
    chunk of the last one, with their records, marks, proofs, receipts and checkpoints. Of all
    other chunks it holds hashes only.

    Exit codes: 0 made; 13, 14, 15 the recording is not what was signed: nothing was made; 65 the
    times lie outside of the session, or OUT is taken; 2 wrong usage.
    """
    window = window_of(begin, end)
    check_is_recording(folder)
    if target.resolve().is_relative_to(folder.resolve()):
        raise typer.BadParameter(
            f"expected a folder outside of the recording, got {target}", param_hint="OUT"
        )
    text = None if trust is None else FolderRecording(trust.parent).read(trust.name)
    policy = None if text is None else parse_policy(text)
    recording = FolderRecording(folder)
    plan = plan_of(recording, window)
    if not unverified:
        report = checked(folder, policy)
        if report.verdict not in GOOD:
            err.print(
                f"recorder: {folder}: expected an unchanged recording, found "
                f"{report.verdict.value}; no clip was made: see `recorder verify {folder}`",
                markup=False,
            )
            sys.exit(report.exit_code)
    with NewFolder(target) as made:
        for name, pieces in clip_files(recording, plan, text):
            made.write(name, pieces)
    if json:
        print_json({"folder": str(target), "size_bytes": made.size_bytes, **_facts(plan)})
    else:
        out.print(_summary(plan, target, made), markup=False)


def _facts(plan: ClipPlan) -> dict[str, object]:
    return {
        "session_id": plan.session_id,
        "tree_size": plan.size,
        "first_leaf": plan.clip.begin,
        "end_leaf": plan.clip.end,
        "t0_ns": plan.t0_ns,
        "t1_ns": plan.t1_ns,
        "chunks": plan.chunk_count,
        "gaps": plan.gap_count,
        "marks": plan.mark_count,
        "sealed": plan.sealed,
    }


def _summary(plan: ClipPlan, target: Path, made: NewFolder) -> str:
    shown = sum(found.end - found.begin for found in plan.ranges)
    return fields(
        clip=target,
        session=plan.session_id + ("" if plan.sealed else " (not sealed)"),
        covers=f"{seconds(plan.t0_ns)} to {seconds(plan.t1_ns)}",
        holds=f"{plan.chunk_count} chunks, {plan.gap_count} gaps, {plan.mark_count} marks",
        leaves=f"{shown} of {plan.size} shown, {plan.clip.begin} to {plan.clip.end - 1} in a row",
        stored=f"{size(made.size_bytes)} in {made.file_count} files",
        check=f"recorder verify {target}",
    )
