"""What a word on the command line means as a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.sources.kinds import Source

_PREFIXES: Final = {
    "rtsp://": "rtsp",
    "rtsps://": "rtsp",
    "nats:": "nats",
    "/dev/video": "v4l2",
    "/dev/v4l/": "v4l2",
}
_KINDS: Final = {str(kind.__struct_config__.tag): kind for kind in get_args(Source)}


def source_of(word: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The source object of `session.start`: what a word means, with the fields that were given.

    Raises:
        RefusedError: it is a URL of another kind, or that kind of source has no such field.
            Nothing that was asked for is ignored.
    """
    source = _named(word)
    known = _KINDS[source["kind"]].__struct_fields__
    for name, value in fields.items():
        if name not in known:
            have = ", ".join(kind for kind, of in _KINDS.items() if name in of.__struct_fields__)
            raise RefusedError(
                field=f"--{name}",
                expected=f"nothing, for {word} is taken for a source of kind {source['kind']}",
                got=str(value),
                hint=f"sources of these kinds have it: {have}",
            )
    return source | fields


def _named(word: str) -> dict[str, Any]:
    for prefix, kind in _PREFIXES.items():
        if word.startswith(prefix):
            return {"kind": kind, "uri": word.removeprefix("nats:")}
    path = Path(word)
    if word == "pattern":
        return {"kind": "pattern"}
    if path.is_dir() or (not path.exists() and any(sign in path.name for sign in "*?%")):
        return {"kind": "images", "uri": str(path.absolute())}
    if "://" in word and not word.startswith("file://"):
        raise RefusedError(
            field="SOURCE",
            expected="a URL that begins with rtsp://, rtsps:// or file://",
            got=word.partition("://")[0] + "://…",
            hint="other protocols are not recorded; have ffmpeg or another program write a file, "
            "or publish pictures on NATS",
        )
    if ":" in word and not word.startswith("file://") and not path.exists():
        return {"kind": "x11", "uri": word}
    return {"kind": "file", "uri": word if word.startswith("file://") else str(path.absolute())}
