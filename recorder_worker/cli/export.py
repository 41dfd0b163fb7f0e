"""`recorder export`: a film of a recording, verified first, with what proves it beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.evidence_files import read_policy
from recorder_worker.cli.identities import IdentityOption, cipher_of, encryption_of
from recorder_worker.cli.output import JsonOption, err, fields, out, print_json, seconds, size
from recorder_worker.cli.progress_bar import ProgressBar
from recorder_worker.cli.times import TIME_HELP, window_of
from recorder_worker.cli.verify import (
    RecordingArgument,
    check_is_outside,
    check_is_recording,
    checked,
)
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import PermanentError, RefusedError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.reading.film import holds_packets
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.screening.account import UNCHANGED, FilmAccount, FilmOptions
from recorder_worker.core.screening.exposures import Part
from recorder_worker.core.screening.extent import extent_of
from recorder_worker.core.verify.report import Report, TrustStatus
from recorder_worker.core.verify.verdicts import EXIT_UNTRUSTED

MAX_FPS = 120
MAX_TOLD = 10
"""How many parts without pictures are printed; the account has more."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    folder: RecordingArgument,
    target: Annotated[
        Path,
        typer.Argument(
            help="The film to make: `.mp4` (H.264, plays in a browser) or `.mkv` (lossless). Of "
            "copied packets `.mp4`, `.mov` or `.mkv`.",
            metavar="OUT",
        ),
    ],
    begin: Annotated[
        str | None, typer.Option("--from", help=f"Where to begin: {TIME_HELP}.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where to end, as `--from`.")] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            help="A constant rate, in frames a second; by default the recording's own times.",
            min=0.1,
            max=MAX_FPS,
        ),
    ] = None,
    cursor: Annotated[
        bool | None,
        typer.Option(
            "--cursor/--no-cursor",
            help="Draw the pointer, where one is recorded; by default it is drawn.",
        ),
    ] = None,
    burn_time: Annotated[
        bool, typer.Option("--burn-time", help="Draw wall clock and session time into pictures.")
    ] = False,
    proof: Annotated[
        bool,
        typer.Option(
            "--proof/--no-proof",
            help="Beside the film of a part, write OUT.clip: the clip that proves the part.",
        ),
    ] = True,
    tampered_too: Annotated[
        bool,
        typer.Option(
            "--tampered-too",
            help="Make a film of a recording that is not what was signed as well. It says so at "
            "its begin, and a card stands for every chunk that is damaged.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT and what stands beside it.")
    ] = False,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", help="As for `verify`.", exists=True, dir_okay=False),
    ] = None,
    identity: IdentityOption = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Threads that verify, as for `verify`.", min=1)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a film of a recording, or of a part of it, once it is verified.

    Gaps and pauses become cards with their times and the reason. OUT.json says what the film is of
    and what was verified; beside the film of a part, OUT.clip is the clip that proves it.

    Copied packets (profile `copy`) are not encoded again: such a film begins and ends at keyframes,
    has sound, and where a gap is it has no pictures. `--fps`, `--cursor` and `--burn-time` are
    refused.

    Exit codes: 0 made; 13, 14, 15 the recording is not what was signed: nothing was made, but with
    `--tampered-too`; 20 by a key that `--trust` does not name, or against a rule of it: nothing
    was made; 65 the times lie outside of the session, it is encrypted and for none of the
    identities, it holds what no film can be made of, or OUT is taken; 74 a file cannot be written;
    2 wrong usage.
    """
    # Only here: what verifies loads neither PyAV nor OpenCV.
    from recorder_worker.service.films.export import (  # noqa: PLC0415  (as above)
        FilmRequest,
        check_request,
        export_film,
    )
    from recorder_worker.service.films.packet_export import (  # noqa: PLC0415  (as above)
        check_packet_request,
        export_packets,
    )

    check_is_recording(folder)
    check_is_outside(folder, target)
    recording = FolderRecording(folder)
    packets = _holds_packets(recording)
    drawn = not packets if cursor is None else cursor
    request = FilmRequest(
        target=target,
        window=None,
        options=FilmOptions(fps=fps, cursor=drawn, burn_time=burn_time),
        damaged_too=tampered_too,
        proof=proof,
        replace=force,
        packets=packets,
    )
    (check_packet_request if packets else check_request)(request)
    cipher = _cipher(recording, identity)
    report = checked(folder, read_policy(trust), jobs=jobs, cipher=cipher)
    _refuse(folder, report, tampered_too=tampered_too)
    request = FilmRequest(
        **{name: getattr(request, name) for name in request.__struct_fields__}
        | {"window": _window(recording, begin, end)}
    )
    with ProgressBar() as bar:
        make = export_packets if packets else export_film
        account = make(recording, report, request, cipher, bar.tell)
    if json:
        print_json(account)
    else:
        out.print(_summary(account, target, packets=packets), markup=False)
    sys.exit(0 if report.verdict in UNCHANGED else report.exit_code)


def _holds_packets(recording: FolderRecording) -> bool:
    """Of records that cannot be read the verification that follows says more."""
    try:
        return holds_packets(recording)
    except PermanentError:
        return False


def _cipher(recording: FolderRecording, identities: list[Path] | None) -> SessionCipher | None:
    cipher = cipher_of(recording, identities)
    if cipher is None and encryption_of(recording) is not None:
        raise RefusedError(
            field="--identity",
            expected="an identity of one of the session's recipients, for it is encrypted",
            got="none",
            hint="a film shows what is inside",
        )
    return cipher


def _refuse(folder: Path, report: Report, *, tampered_too: bool) -> None:
    """End with the exit code of a verdict of which no film is made."""
    untrusted = report.trust.status is TrustStatus.UNTRUSTED or report.exit_code == EXIT_UNTRUSTED
    if report.verdict not in UNCHANGED and not tampered_too:
        code, found = report.exit_code, report.verdict.value
    elif untrusted:
        code, found = EXIT_UNTRUSTED, "one that is not as --trust asks"
    else:
        return
    err.print(
        f"recorder: {folder}: expected an unchanged recording, found {found}; nothing was made: "
        f"see `recorder verify {folder}`",
        markup=False,
    )
    sys.exit(code)


def _window(recording: FolderRecording, begin: str | None, end: str | None) -> Window | None:
    """The part that was asked for; an end that was not named is that of the recording."""
    if begin is None and end is None:
        return None
    whole = extent_of(lambda: recording_records(recording))
    one = window_of(begin or end or "", end or begin or "")
    walls = (whole.wall0_ns, whole.wall1_ns)
    ends = walls if one.wall else (whole.begin_ns, whole.end_ns)
    return Window(
        begin_ns=one.begin_ns if begin is not None else ends[0],
        end_ns=one.end_ns if end is not None else ends[1],
        wall=one.wall,
    )


def _summary(account: FilmAccount, target: Path, *, packets: bool) -> str:
    film, shown = account.film, account.shown
    missing = [part for part in account.parts if part.what != "pictures"]
    more = {"damaged": f"{account.damaged_count} chunks"} if account.damaged_count else {}
    lasts = f"{seconds(film.duration_ns)}, {film.frame_count} pictures, "
    if packets:
        lasts += f"{account.sound_count} packets of sound, {len(missing)} times without pictures"
        more |= _without_pictures(account, missing)
    else:
        lasts += f"{len(missing)} cards"
    more |= {"proof": f"recorder verify {target}.clip"} if account.proof else {}
    return fields(
        film=f"{target}, {size(film.size_bytes)}, {film.width}x{film.height}, {film.codec}",
        shows=f"{seconds(shown.t0_ns)} to {seconds(shown.t1_ns)} of session {account.session_id}",
        lasts=lasts,
        recording=account.verdict.value,
        root_hash=account.root_hash,
        blake3=f"{film.blake3} (of the film)",
        account=f"{target}.json",
        **more,
    )


def _without_pictures(account: FilmAccount, missing: list[Part]) -> dict[str, str]:
    """What a film of packets cannot show, and where it was cut in place of where it was asked."""
    more = {}
    shown, asked = account.shown, account.asked
    exact = (shown.wall0_ns, shown.wall1_ns) if asked and asked.wall else (shown.t0_ns, shown.t1_ns)
    if asked is not None and (asked.begin_ns, asked.end_ns) != exact:
        more["cut"] = "at keyframes, so it shows another part than was asked for"
    said = [
        f"{seconds(part.t0_ns)} to {seconds(part.t1_ns)} ({part.reason})"
        for part in missing[:MAX_TOLD]
    ]
    if said:
        rest = f" … {account.part_count} parts" if len(missing) > MAX_TOLD else ""
        more["missing"] = ", ".join(said) + rest
    if account.sound_left_out:
        more["left_out"] = f"{account.sound_left_out} packets of sound that were there twice"
    return more
