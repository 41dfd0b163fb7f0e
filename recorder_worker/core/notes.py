"""What the recorder itself puts on a session's timeline: marks whose kind no client may use."""

from __future__ import annotations

from typing import Final

RECORDER: Final = "recorder"
"""Who says so."""

RESERVED_PREFIX: Final = "recorder."
"""How the kinds of such marks begin."""

TIMESTAMPS: Final = "recorder.timestamps"
"""The times of a source jumped, or begin anew: which, and by how much."""
