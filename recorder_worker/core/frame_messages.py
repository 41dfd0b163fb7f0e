"""Frames that other programs publish: what their headers say, and how each is answered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from recorder_worker.core.errors import RefusedError
from recorder_worker.core.model import Count, Wire
from recorder_worker.core.picture_header import MAX_SIDE, PICTURE_TYPES

WIDTH: Final = "Recorder-Width"
HEIGHT: Final = "Recorder-Height"
FORMAT: Final = "Recorder-Format"
TIME: Final = "Recorder-Time"
CLOCK: Final = "Recorder-Clock"
SEQUENCE: Final = "Recorder-Sequence"
END: Final = "Recorder-End"
CONTENT_TYPE: Final = "Content-Type"
STATUS: Final = "Recorder-Status"

FORMATS: Final = {"BGR": 3, "BGRA": 4, "RGB": 3, "RGBA": 4, "GRAY": 1}
"""Raw pixels, and how many bytes one has; rows follow each other without padding."""

RAW_TYPE: Final = "application/octet-stream"
_PICTURES: Final = frozenset(PICTURE_TYPES.values())
_PACKET_TYPES: Final = ("video/", "audio/")
_LARGEST: Final = 2**63 - 1


class FrameStatus(StrEnum):
    """What became of a frame."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    BUSY = "busy"
    REFUSED = "refused"
    PAUSED = "paused"
    ENDED = "ended"


class FrameAnswer(Wire, frozen=True, kw_only=True):
    """The answer to a frame that was published as a request.

    `accepted`: the recorder has it, and what becomes of it is in the record: a frame or a gap.
    `duplicate`: it was there before. `busy`: there is no room, `refused`: it is malformed; both are
    counted, and become a gap. `paused` and `ended`: the session takes none now, or no more.
    """

    status: FrameStatus
    frame: Count = 0
    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


class FrameHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a frame say; raw pixels where `content_type` is empty.

    `time_ns` is on the clock that `unix` tells of: since 1970, or any that goes on steadily.
    """

    end: bool = False
    content_type: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    time_ns: int | None = None
    unix: bool = True
    sequence: int | None = None


def frame_headers(headers: Mapping[str, str], size: int, max_pixels: int) -> FrameHeaders:
    """What the headers of a frame of `size` bytes say, upper and lower case alike.

    Raises:
        RefusedError: they are missing, contradict each other, or tell of a larger picture.
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    if END.lower() in found:
        return FrameHeaders(end=True, sequence=_number(found, SEQUENCE))
    clock = found.get(CLOCK.lower(), "unix").lower()
    if clock not in ("unix", "monotonic"):
        raise _refused(CLOCK, "unix or monotonic", clock, "leave it out for unix")
    common = FrameHeaders(
        time_ns=_number(found, TIME), unix=clock == "unix", sequence=_number(found, SEQUENCE)
    )
    kind = found.get(CONTENT_TYPE.lower(), "").partition(";")[0].strip().lower()
    if kind in _PICTURES:
        return msgspec.structs.replace(common, content_type=kind)
    _check_no_packets(kind)
    return _raw(common, found, size, max_pixels)


def _raw(
    common: FrameHeaders, found: Mapping[str, str], size: int, max_pixels: int
) -> FrameHeaders:
    pixels = found.get(FORMAT.lower(), "").upper()
    if pixels not in FORMATS:
        raise _refused(
            FORMAT, f"one of {', '.join(FORMATS)}", pixels or "nothing", _HOW_TO_SAY_WHAT_IT_IS
        )
    width, height = _number(found, WIDTH) or 0, _number(found, HEIGHT) or 0
    if not (width and height and max(width, height) <= MAX_SIDE and width * height <= max_pixels):
        expected = f"1 to {max_pixels} pixels (sources.max_pixels), at most {MAX_SIDE} a side"
        raise _refused(f"{WIDTH}, {HEIGHT}", expected, f"{width}x{height}", _HOW_TO_SAY_WHAT_IT_IS)
    wanted = width * height * FORMATS[pixels]
    if size != wanted:
        raise _refused(
            "$",
            f"{wanted} bytes: {width}x{height} pixels of {pixels}",
            f"{size} bytes",
            "send rows without padding, or correct width, height and format",
        )
    return msgspec.structs.replace(common, width=width, height=height, format=pixels)


def _check_no_packets(kind: str) -> None:
    """The place for encoded packets: a profile that copies them takes them here."""
    if kind.startswith(_PACKET_TYPES):
        raise _refused(
            CONTENT_TYPE,
            f"a picture: {', '.join(sorted(_PICTURES))}, or raw pixels",
            kind,
            "encoded packets are for the profile copy, which takes none from a subject yet; "
            "publish decoded frames",
        )
    if kind not in ("", RAW_TYPE):
        raise _refused(
            CONTENT_TYPE,
            f"one of {', '.join(sorted(_PICTURES))}, or {RAW_TYPE} for raw pixels",
            kind,
            _HOW_TO_SAY_WHAT_IT_IS,
        )


_HOW_TO_SAY_WHAT_IT_IS: Final = (
    f"give {CONTENT_TYPE} for an encoded picture, or {WIDTH}, {HEIGHT} and {FORMAT} for raw pixels"
)


def _number(found: Mapping[str, str], name: str) -> int | None:
    text = found.get(name.lower())
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= _LARGEST):
        expected = f"a whole number from 0 to {_LARGEST}"
        raise _refused(name, expected, text[:40], "write decimal digits only")
    return int(text)


def _refused(field: str, expected: str, got: str, hint: str) -> RefusedError:
    return RefusedError(field=field, expected=expected, got=got, hint=hint)
