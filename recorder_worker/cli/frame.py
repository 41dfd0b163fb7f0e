"""`recorder frame`: one picture of a recording, as it was on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from blake3 import blake3

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.new_file import NewFile
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, fields, out, print_json, seconds
from recorder_worker.cli.times import TIME_HELP, time_of
from recorder_worker.cli.verify import RecordingArgument, check_is_outside, check_is_recording
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import RefusedError, StoreError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.frames.pointer_overlay import draw_pointer
from recorder_worker.core.reading.film import holds_packets
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.reading.picture_finder import PictureFinder
from recorder_worker.core.screening.card_text import wall_time
from recorder_worker.core.screening.extent import extent_of


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("frame")(frame)


def frame(
    folder: RecordingArgument,
    target: Annotated[
        Path, typer.Argument(help="The PNG file to make.", metavar="OUT", dir_okay=False)
    ],
    at: Annotated[
        str | None, typer.Option("--at", help=f"What was on the screen at this time: {TIME_HELP}.")
    ] = None,
    unit: Annotated[
        int | None,
        typer.Option("--unit", help="The frame of this index, as `recorder frames` has it.", min=0),
    ] = None,
    cursor: Annotated[
        bool, typer.Option("--cursor/--no-cursor", help="Draw the pointer, where one is recorded.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
    identity: IdentityOption = None,
    json: JsonOption = False,
) -> None:
    """Write one picture as PNG, pixel by pixel as it was captured, and print its digest.

    Only the chunks that it is made of are read; their bytes are compared with their records.
    Signatures are not looked at: `recorder verify` does that. Of copied packets (profile `copy`)
    the picture is what FFmpeg decodes.

    Exit codes: 0 written; 65 nothing was recorded then, a chunk is damaged, it is encrypted and
    for none of the identities, or OUT is taken or no .png; 74 it cannot be written; 2 wrong usage.
    """
    from recorder_worker.adapters.png import png_of  # noqa: PLC0415  (OpenCV, where it is needed)

    if (at is None) is (unit is None):
        raise typer.BadParameter("expected one of --at and --unit", param_hint="--at")
    if target.suffix.lower() != ".png":
        raise RefusedError(
            field="OUT",
            expected="a name that ends in .png",
            got=str(target),
            hint="PNG keeps every pixel as it is; convert the file for other forms",
        )
    check_is_recording(folder)
    check_is_outside(folder, target)
    recording = FolderRecording(folder)
    moment = None if at is None else _session_time(recording, at)
    with NewFile(target, replace=force) as file:
        packets = holds_packets(recording)
        find = _found_in_packets if packets else _found
        found = find(recording, cipher_of(recording, identity), moment, unit or 0)
        picture = found.picture
        if cursor and found.pointer is not None:
            picture = picture.copy()
            draw_pointer(picture, found.pointer)
        try:
            file.spare.write_bytes(png_of(picture))
        except OSError as error:
            raise StoreError(f"{target}: cannot be written: {error}") from error
        file.publish()
    _tell(target, found, packets=packets, json=json)


def _found(
    recording: FolderRecording, cipher: SessionCipher | None, moment: int | None, unit: int
) -> DecodedFrame:
    """The picture of a session time, in ns, or where there is none, of a unit."""
    finder = PictureFinder(recording, cipher)
    return finder.at_unit(unit) if moment is None else finder.at_time(moment)


def _found_in_packets(
    recording: FolderRecording, cipher: SessionCipher | None, moment: int | None, unit: int
) -> DecodedFrame:
    """As `_found`, of copied packets."""
    # Only here: pictures that are not encoded need no PyAV.
    from recorder_worker.service.films.packet_frame import packet_frame  # noqa: PLC0415  (as above)

    return packet_frame(recording, cipher, moment, unit)


def _session_time(recording: FolderRecording, at: str) -> int:
    """Session time of `--at`, which may be by the wall clock."""
    at_ns, wall = time_of(at, "--at")
    if not wall:
        return at_ns
    window = Window(begin_ns=at_ns, end_ns=at_ns + 1, wall=True)
    return extent_of(lambda: recording_records(recording), window).begin_ns


def _tell(target: Path, found: DecodedFrame, *, packets: bool, json: bool) -> None:
    digest = blake3(found.picture.tobytes()).hexdigest()
    if json:
        print_json(
            {
                "file": str(target),
                "index": found.unit,
                "t_ns": found.t_ns,
                "wall_ns": found.wall_ns,
                "width": found.width,
                "height": found.height,
                "blake3": digest,
            }
        )
        return
    whose = "as FFmpeg decodes them" if packets else "as `recorder frames` prints it"
    text = fields(
        picture=f"{target}, {found.width}x{found.height}",
        frame=f"{found.unit}, {seconds(found.t_ns)}, {wall_time(found.wall_ns)}",
        blake3=f"{digest} (of its pixels, {whose})",
    )
    out.print(text, markup=False)
