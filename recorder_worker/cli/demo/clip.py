"""The clip that the demo records, and what a reader that is not ours sees in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
from blake3 import blake3

import recorder_worker
from recorder_worker.cli.frames import decoded
from recorder_worker.core.errors import RecorderError

SHIPPED = Path("demo") / "screen.mkv"


def find_clip(named: Path | None) -> Path:
    """The clip that was named, else the one beside the package in a checkout.

    Raises:
        RecorderError: there is none.
    """
    clip = named or Path(recorder_worker.__file__).parents[1] / SHIPPED
    if clip.is_file():
        return clip.absolute()
    if named:
        raise RecorderError(f"--clip: expected a video file, found none at {named}; correct it")
    raise RecorderError(
        f"expected the clip that comes with the source, found none at {clip}: an installed "
        "package does not have it; run `make demo` in a checkout, or name a short video of yours: "
        "recorder demo --clip FILE"
    )


def digests_by_opencv(clip: Path) -> Iterator[str]:
    """BLAKE3 of the raw BGR bytes of every frame, by OpenCV alone: nothing of the recorder."""
    capture = cv2.VideoCapture(str(clip))
    try:
        while True:
            found, picture = capture.read()
            if not found:
                return
            yield blake3(picture.tobytes()).hexdigest()
    finally:
        capture.release()


def digests_in_recording(folder: Path) -> Iterator[str]:
    """The same of a recording, as `recorder frames` prints them. Raises FormatError."""
    for frame in decoded(folder):
        yield blake3(frame.picture.tobytes()).hexdigest()
