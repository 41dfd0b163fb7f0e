"""Frames and packets that others publish, in the schemas: message, headers, answer, channels."""

from __future__ import annotations

from typing import Any, Final

from recorder_worker.core import frame_messages as frames
from recorder_worker.core.picture_header import PICTURE_TYPES
from recorder_worker.core.pipeline import CAPTURE
from recorder_worker.core.subjects import FRAMES

Document = dict[str, Any]

FRAME: Final = f"{FRAMES}.frame"
ANSWER: Final = f"{FRAMES}.frame.answer"
_HEADERS: Final = "FrameHeaders"
_ANSWER_HEADERS: Final = "FrameAnswerHeaders"


def types() -> dict[str, Any]:
    """Schema name to type. A frame itself is no JSON."""
    return {ANSWER: frames.FrameAnswer}


def messages() -> Document:
    """The frame; its answer is made of its type, and gets headers beside it."""
    return {
        FRAME: {
            "name": FRAME,
            "title": "A frame, or a packet",
            "summary": "Pixels, an encoded picture, or a packet of an encoder, as the headers say; "
            "of any program.",
            "headers": {"$ref": f"#/components/schemas/{_HEADERS}"},
            "payload": {},
            "tags": [{"name": "frame"}],
        }
    }


def headers_of(name: str) -> Document | None:
    """The headers of a message of `types`."""
    return {"$ref": f"#/components/schemas/{_ANSWER_HEADERS}"} if name == ANSWER else None


def channels() -> Document:
    """Where frames are published, and the inbox that a publisher names for the answer."""
    return {
        FRAME: {
            "address": f"{FRAMES}.{{name}}",
            "title": "Frames, or packets, to be recorded",
            "description": "The subject that a session of kind `nats` names, which `sources."
            "subjects` allows; in no stream. A client publishes below its own name.",
            "parameters": {
                "name": {"description": "One token or several, such as `lab.frames`."},
            },
            "messages": _messages(FRAME),
            "tags": [{"name": "frame"}],
        },
        ANSWER: {
            "address": None,
            "description": "The inbox that the frame names, where it was published as a request.",
            "messages": _messages(ANSWER),
        },
    }


def operations() -> Document:
    """Every frame is taken, and answered."""
    return {
        f"{CAPTURE.name}.records.{FRAME}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{FRAME}"},
            "messages": [{"$ref": f"#/channels/{FRAME}/messages/{FRAME}"}],
            "summary": f"by: {CAPTURE.name}",
            "reply": {
                "address": {
                    "location": "$message.header#/reply",
                    "description": "The inbox that comes with a NATS request.",
                },
                "channel": {"$ref": f"#/channels/{ANSWER}"},
                "messages": [{"$ref": f"#/channels/{ANSWER}/messages/{ANSWER}"}],
            },
        }
    }


def headers() -> Document:
    """Schemas of the headers: numbers are written in decimal digits."""
    number = {"type": "string", "pattern": "^[0-9]{1,19}$"}
    raw = "Of raw pixels"
    return {
        _HEADERS: {
            "type": "object",
            "properties": {
                frames.CONTENT_TYPE: {
                    "enum": sorted(
                        {*PICTURE_TYPES.values(), frames.RAW_TYPE, *frames.PACKET_TYPES}
                    ),
                    "description": "Of an encoded picture; left out for raw pixels. With profile "
                    f"`copy`: {', '.join(frames.PACKET_TYPES)}.",
                },
                frames.WIDTH: number | {"description": f"{raw}: pixels of a row."},
                frames.HEIGHT: number | {"description": f"{raw}: rows, without padding."},
                frames.FORMAT: {
                    "enum": [*frames.FORMATS],
                    "description": f"{raw}: the order of their bytes.",
                },
                frames.TIME: number
                | {
                    "description": "When it was made, in nanoseconds; of a packet: when it is "
                    "decoded."
                },
                frames.PRESENTATION: number
                | {
                    "description": "Of a packet that is shown later than it is decoded: when, by "
                    "the same clock."
                },
                frames.CLOCK: {
                    "enum": ["unix", "monotonic"],
                    "description": "What the time counts from; unix where it is left out.",
                },
                frames.SEQUENCE: number
                | {"description": "The publisher's count: what it skips is missing."},
                frames.END: {"type": "string", "description": "The publisher has no more frames."},
            },
        },
        _ANSWER_HEADERS: {
            "type": "object",
            "required": [frames.STATUS],
            "properties": {frames.STATUS: {"enum": [str(status) for status in frames.FrameStatus]}},
        },
    }


def _messages(*names: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
