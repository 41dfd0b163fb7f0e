"""Frames and packets that others publish: what their headers say, and how each is answered."""

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
PRESENTATION: Final = "Recorder-Presentation-Time"
CLOCK: Final = "Recorder-Clock"
SEQUENCE: Final = "Recorder-Sequence"
END: Final = "Recorder-End"
CONTENT_TYPE: Final = "Content-Type"
STATUS: Final = "Recorder-Status"

FORMATS: Final = {"BGR": 3, "BGRA": 4, "RGB": 3, "RGBA": 4, "GRAY": 1}
"""Raw pixels, and how many bytes one has; rows follow each other without padding."""

RAW_TYPE: Final = "application/octet-stream"
PACKET_TYPES: Final = {"video/H264": "h264", "video/H265": "hevc", "image/jpeg": "mjpeg"}
"""Packets that can be copied, and FFmpeg's names of their codecs."""
MOST_LATER_NS: Final = 60_000_000_000
"""How long behind its decoding a picture may be shown."""

_PICTURES: Final = frozenset(PICTURE_TYPES.values())
_CODECS: Final = {name.lower(): codec for name, codec in PACKET_TYPES.items()}
_ENCODED: Final = ("video/", "audio/")
_LARGEST: Final = 2**63 - 1


class FrameStatus(StrEnum):
    """What became of a frame, or of a packet."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    BUSY = "busy"
    REFUSED = "refused"
    UNDECODABLE = "undecodable"
    PAUSED = "paused"
    ENDED = "ended"


class FrameAnswer(Wire, frozen=True, kw_only=True):
    """The answer to a frame, or a packet, that was published as a request.

    `accepted`: the recorder has it, and what becomes of it is in the record: a frame or a gap.
    `duplicate`: it was there before. `busy`: there is no room, `refused`: it is malformed,
    `undecodable`: a packet before it is missing, and so is all up to the next keyframe; these are
    counted, and become a gap. `paused` and `ended`: the session takes none now, or no more.
    """

    status: FrameStatus
    frame: Count = 0
    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


def answer_of(status: FrameStatus, frame: int, error: RefusedError | None) -> FrameAnswer:
    """The answer to one of them: `frame` is how many were accepted, `error` why this one is not."""
    if error is None:
        return FrameAnswer(status=status, frame=frame)
    refusal = error.refusal
    return FrameAnswer(
        status=status,
        frame=frame,
        field=refusal.field,
        expected=refusal.expected,
        got=refusal.got,
        hint=refusal.hint,
    )


class FrameHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a frame, or a packet, say.

    Raw pixels where `content_type` is empty, a packet where there is a `codec`. `time_ns` is on the
    clock that `unix` tells of: since 1970, or any that goes on steadily; of a packet it is when it
    is decoded, and `presentation_ns` when it is shown.
    """

    end: bool = False
    content_type: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    time_ns: int | None = None
    presentation_ns: int | None = None
    unix: bool = True
    sequence: int | None = None


def tells_end(headers: Mapping[str, str]) -> bool:
    """Whether a message says that no more come."""
    return any(name.lower() == END.lower() for name in headers)


def frame_headers(headers: Mapping[str, str], size: int, max_pixels: int) -> FrameHeaders:
    """What the headers of a frame of `size` bytes say, upper and lower case alike.

    Raises:
        RefusedError: they are missing, contradict each other, or tell of a larger picture.
    """
    found = _lower(headers)
    common = _common(found)
    if common.end:
        return common
    kind = _kind(found)
    if kind in _PICTURES:
        return msgspec.structs.replace(common, content_type=kind)
    _check_raw(kind)
    return _raw(common, found, size, max_pixels)


def packet_headers(headers: Mapping[str, str]) -> FrameHeaders:
    """What the headers of a packet say, upper and lower case alike.

    Raises:
        RefusedError: they are missing, contradict each other, or are those of a picture.
    """
    found = _lower(headers)
    common = _common(found)
    if common.end:
        return common
    kind = _kind(found)
    codec = _CODECS.get(kind)
    if codec is None:
        raise _refused(
            CONTENT_TYPE,
            f"one of {', '.join(PACKET_TYPES)}, with profile copy",
            kind or "nothing",
            "copy keeps packets as an encoder made them; record other pictures, and raw pixels, "
            "with profile screen",
        )
    shown_ns = _number(found, PRESENTATION)
    if shown_ns is not None:
        _check_shown(common.time_ns, shown_ns)
    return msgspec.structs.replace(common, content_type=kind, codec=codec, presentation_ns=shown_ns)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in headers.items()}


def _kind(found: Mapping[str, str]) -> str:
    return found.get(CONTENT_TYPE.lower(), "").partition(";")[0].strip().lower()


def _common(found: Mapping[str, str]) -> FrameHeaders:
    if END.lower() in found:
        return FrameHeaders(end=True, sequence=_number(found, SEQUENCE))
    clock = found.get(CLOCK.lower(), "unix").lower()
    if clock not in ("unix", "monotonic"):
        raise _refused(CLOCK, "unix or monotonic", clock, "leave it out for unix")
    return FrameHeaders(
        time_ns=_number(found, TIME), unix=clock == "unix", sequence=_number(found, SEQUENCE)
    )


def _check_shown(time_ns: int | None, shown_ns: int) -> None:
    if time_ns is None or not time_ns <= shown_ns <= time_ns + MOST_LATER_NS:
        told = f"no {TIME}" if time_ns is None else f"{(shown_ns - time_ns) / 1e9:+.3f} s from it"
        raise _refused(
            PRESENTATION,
            f"a time at or behind {TIME}, by {MOST_LATER_NS // 10**9} s at most",
            f"{shown_ns}, {told}",
            f"{TIME} of a packet is when it is decoded; leave this one out where it is the same",
        )


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


def _check_raw(kind: str) -> None:
    if kind.startswith(_ENCODED):
        raise _refused(
            CONTENT_TYPE,
            f"a picture, with profile screen: {', '.join(sorted(_PICTURES))}, or raw pixels",
            kind,
            "encoded packets are recorded with profile copy, as they are; start the session with "
            "it, or publish decoded frames",
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
