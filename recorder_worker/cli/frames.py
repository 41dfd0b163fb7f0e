"""`recorder frames`: every frame of a recording with the digest of its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from blake3 import blake3

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, out, print_json_line
from recorder_worker.cli.verify import check_is_recording
from recorder_worker.core.playback import DecodedFrame
from recorder_worker.core.recording_frames import recording_frames


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("frames")(frames)


def frames(
    folder: Annotated[
        Path,
        typer.Argument(help="The recording's folder.", metavar="DIR", exists=True, file_okay=False),
    ],
    identity: IdentityOption = None,
    json: JsonOption = False,
) -> None:
    """Print one line a frame: index, time in ns, width, height, BLAKE3 of its raw BGR bytes.

    The digest is over height x width x 3 bytes, rows from the top, pixels as blue, green, red: so
    that anyone can check, with other tools, that what was on the screen is what was kept.
    """
    check_is_recording(folder)
    for frame in decoded(folder, identity):
        digest = blake3(frame.picture.tobytes()).hexdigest()
        if json:
            print_json_line(
                {
                    "index": frame.unit,
                    "t_ns": frame.t_ns,
                    "wall_ns": frame.wall_ns,
                    "width": frame.width,
                    "height": frame.height,
                    "blake3": digest,
                }
            )
        else:
            out.out(f"{frame.unit} {frame.t_ns} {frame.width} {frame.height} {digest}")


def decoded(folder: Path, identities: list[Path] | None = None) -> Iterator[DecodedFrame]:
    """Every frame of a recording, in order. Raises FormatError, BlobDamagedError, RefusedError."""
    recording = FolderRecording(folder)
    return recording_frames(recording, cipher_of(recording, identities))
