"""`recorder frames`: every frame of a recording with the digest of its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from blake3 import blake3

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.identities import IdentityOption, cipher_of
from recorder_worker.cli.output import JsonOption, out, print_json_line
from recorder_worker.cli.verify import check_is_recording
from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.reading.frames import recording_frames

_COLUMNS: Final = ("index", "t_ns", "width", "height", "blake3")
_POINTER_COLUMNS: Final = ("x", "y", "blake3")
"""Behind the others, in lines of frames whose pointer is known."""


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
    """Print one line a frame: index, time in ns, width, height, BLAKE3 of its BGR bytes, pointer.

    The digest is over height x width x 3 bytes, rows from the top, pixels as blue, green, red: so
    that anyone can check, with other tools, that what was on the screen is what was kept. Where a
    pointer is known, the line goes on: x and y of its hot spot, and BLAKE3 of the raw BGRA bytes
    of its shape.
    """
    check_is_recording(folder)
    for frame in decoded(folder, identity):
        fields: dict[str, object] = {
            "index": frame.unit,
            "t_ns": frame.t_ns,
            "wall_ns": frame.wall_ns,
            "width": frame.width,
            "height": frame.height,
            "blake3": blake3(frame.picture.tobytes()).hexdigest(),
        }
        columns = [fields[name] for name in _COLUMNS]
        if frame.pointer is not None:
            pointer = _shown(frame.pointer)
            fields["pointer"] = pointer
            columns += [pointer[name] for name in _POINTER_COLUMNS]
        if json:
            print_json_line(fields)
        else:
            out.out(" ".join(map(str, columns)))


def _shown(pointer: Pointer) -> dict[str, object]:
    """A pointer's place, its hot spot and size in pixels, and the digest of its shape."""
    height, width, _ = pointer.shape.shape
    return {
        "x": pointer.x,
        "y": pointer.y,
        "hot_x": pointer.hot_x,
        "hot_y": pointer.hot_y,
        "width": width,
        "height": height,
        "blake3": blake3(pointer.shape.tobytes()).hexdigest(),
    }


def decoded(folder: Path, identities: list[Path] | None = None) -> Iterator[DecodedFrame]:
    """Every frame of a recording, in order. Raises FormatError, BlobDamagedError, RefusedError."""
    recording = FolderRecording(folder)
    return recording_frames(recording, cipher_of(recording, identities))
