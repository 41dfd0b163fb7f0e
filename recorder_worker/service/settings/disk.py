"""The settings of the disk: how much room is kept free, and what is given up on the way there."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.service.settings.group import Group

Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class DiskSettings(Group, frozen=True, kw_only=True):
    """Marks of free room, from the largest to the smallest; 0: derived from the floor."""

    warn_bytes: Bytes = 0
    refuse_bytes: Bytes = 0
    pause_bytes: Bytes = 0
    floor_bytes: Bytes = 536_870_912
    back_bytes: Bytes = 0
    start_wait_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0


def contradictions(disk: DiskSettings) -> list[tuple[str, bool, str]]:
    """For each mark: its key, whether it contradicts those below it, and what it has to be."""
    found = []
    below, name = disk.floor_bytes, "disk.floor_bytes"
    for key in ("pause_bytes", "refuse_bytes", "warn_bytes"):
        mark = getattr(disk, key)
        found.append((f"disk.{key}", 0 < mark < below, f"0, or at least {name} ({below})"))
        if mark:
            below, name = mark, f"disk.{key}"
    return found
