"""What the recorder itself puts on a session's timeline: marks whose kind no client may use."""

from __future__ import annotations

from typing import Final

RECORDER: Final = "recorder"
"""Who says so."""

RESERVED_PREFIX: Final = "recorder."
"""How the kinds of such marks begin."""

QUALITY: Final = "recorder.quality"
"""What the picture is like has changed: `core.quality.conditions.QualityChange`."""
