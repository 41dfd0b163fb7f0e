"""What is wrong with a command, in words of people who write JSON and no Python."""

from __future__ import annotations

import difflib
import re
from typing import Final, get_args

import msgspec

from recorder_worker.core.commands import MarkSession, MaskSession, StartSession
from recorder_worker.core.model import Mask
from recorder_worker.core.sources.kinds import RtspSource, Source

_KINDS: Final = {str(kind.__struct_config__.tag): kind for kind in get_args(Source)}
_WORDS: Final = {
    "$.source.kind": f"one of {', '.join(_KINDS)}",
    "$.session_id": "a UUID in lower case with hyphens",
    "$.source.pace": "native or fast",
    "$.source.transport": "tcp or udp",
    "$.profile": "screen or copy",
    "$.when_behind": "slow, gap or stop",
    "$.type": "1 to 64 characters that do not begin with recorder.",
    "$.source.fourcc": "four letters or digits, such as MJPG",
    "$.source.credentials": "the name of a login that the worker keeps: letters, digits, and . _ -",
}
"""Expectations that a regular expression, or the name of a type, would state badly."""
_URIS: Final = {
    "x11": "a display such as :10 or host:10",
    "rtsp": "a URL such as rtsp://camera.lan/stream or rtsps://camera.lan/stream",
    "v4l2": "a device such as /dev/video0, or a name below /dev/v4l/by-id or /dev/v4l/by-path",
    "nats": "a subject of at least two names, such as source.lab.frames, without * and >",
    "file": "an absolute path or a file:// URI of a video on the worker's machine",
    "images": "an absolute path or a file:// URI of a directory, or a pattern such as "
    "/shots/frame%04d.png",
}
_HINTS: Final = {
    "$.session_id": "take it from session.started.<id>; in session.start it may be left out",
}
_TYPES: Final = (
    ("float", "a number"),
    ("int", "a whole number"),
    ("str", "a text"),
    ("array", "a list"),
    ("object", "an object"),
)


def expected_words(path: str, what: str, kind: str = "") -> str:
    """What was expected at a place, where msgspec says `what`; `kind` is that of the source."""
    if path == "$.source.uri" and kind in _URIS:
        return _URIS[kind]
    return _WORDS.get(path) or _plain(what)


def hint_at(path: str, other: str) -> str:
    """What to do about a wrong value at a place; `other` where nothing better is known."""
    return _HINTS.get(path, other)


def hint_for_unknown(path: str, name: str) -> str:
    """What to do about an unknown field; empty where nothing comes near."""
    kinds = [kind for kind, of in _KINDS.items() if name in of.__struct_fields__]
    if path == "$.source" and name in StartSession.__struct_fields__:
        return f"'{name}' stands beside source, not in it"
    if path == "$.source" and kinds:
        return f"sources of these kinds have it: {', '.join(kinds)}"
    if path == "$" and kinds:
        return f"'{name}' stands in source"
    close = difflib.get_close_matches(name, _known_fields() - {name}, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _plain(what: str) -> str:
    for name, word in _TYPES:
        what = re.sub(rf"(^|`|\| ){name}\b", rf"\g<1>{word}", what)
    return re.sub(r"(\d)\.0\b", r"\1", what.replace("`", "").replace(" | ", " or "))


def _known_fields() -> set[str]:
    structs: list[type[msgspec.Struct]] = [
        *(StartSession, MarkSession, MaskSession, RtspSource, Mask),
        *_KINDS.values(),
    ]
    return {name for struct in structs for name in struct.__struct_fields__}
