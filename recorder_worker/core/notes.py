"""What the recorder itself puts on a session's timeline: marks whose kind no client may use.

Their bodies are JSON objects, made here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from recorder_worker.core.model import Mask, SlowedBy

RECORDER: Final = "recorder"
"""Who says so."""

RESERVED_PREFIX: Final = "recorder."
"""How the kinds of such marks begin."""

QUALITY: Final = "recorder.quality"
"""What the picture is like has changed: `core.quality.conditions.QualityChange`."""

MASKS: Final = "recorder.masks"
"""From here on other rectangles are black: `MasksChanged`."""

RATE: Final = "recorder.rate"
"""From here on another frame rate: `RateChanged`."""

ARMED: Final = "recorder.armed"
"""From here on the last seconds are kept in memory alone, until a trigger: `Armed`."""

TIMESTAMPS: Final = "recorder.timestamps"
"""The times of a source jumped, or begin anew: which, and by how much."""


class MasksChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The masks in force from session time `t_ns` of the mark on, all of them, and who asked."""

    masks: tuple[Mask, ...]
    by: str


class RateChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Frames a second, before and from now on. `detail` is what was measured, in words."""

    from_fps: float
    to_fps: float
    reason: SlowedBy
    detail: str


class Armed(msgspec.Struct, frozen=True, kw_only=True):
    """How many seconds are kept, and in how many bytes at most."""

    pre_record_s: float
    max_bytes: int


NoteBody = MasksChanged | RateChanged | Armed


def note_text(body: NoteBody) -> str:
    """The JSON text that is stored."""
    return msgspec.json.encode(body).decode()
