"""What a word on the command line means as a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

_PREFIXES: Final = {
    "rtsp://": "rtsp",
    "rtsps://": "rtsp",
    "nats:": "nats",
    "/dev/video": "v4l2",
    "/dev/v4l/": "v4l2",
}


def source_of(word: str, pace: str, frames: int | None) -> dict[str, Any]:
    """The source object of `session.start`. `frames` is the length of a pattern."""
    for prefix, kind in _PREFIXES.items():
        if word.startswith(prefix):
            return {"kind": kind, "uri": word.removeprefix("nats:")}
    path = Path(word)
    if word == "pattern":
        return {"kind": "pattern", "pace": pace} | ({} if frames is None else {"frames": frames})
    if path.is_dir() or (not path.exists() and any(sign in path.name for sign in "*?%")):
        return {"kind": "images", "uri": str(path.absolute()), "pace": pace}
    if ":" in word and not word.startswith("file://") and not path.exists():
        return {"kind": "x11", "uri": word}
    uri = word if word.startswith("file://") else str(path.absolute())
    return {"kind": "file", "uri": uri, "pace": pace}
