"""What a session gives up under load, in words for people."""

from __future__ import annotations

from typing import Final

from recorder_worker.core.model import Slowed, SlowedBy

WHY: Final[dict[SlowedBy, str]] = {
    "overload": "the machine is overloaded",
    "behind": "later stages are behind",
}


def load_words(slowed: Slowed | None, *, held: bool) -> str:
    """Whether a session is held, or read at a lower rate than its own; empty: neither."""
    if held:
        return f"held, not read, for {WHY['behind']}"
    if slowed is not None:
        return f"slowed to {slowed.fps:g} frames a second, for {WHY[slowed.reason]}"
    return ""
