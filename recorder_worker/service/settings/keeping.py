"""Settings of what is kept: how long, how much, and how it is looked after."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.service.settings.group import Group


class RetentionSettings(Group, frozen=True, kw_only=True):
    """How long sealed recordings are kept, and how much of them."""

    max_age_s: Annotated[int, Meta(ge=0, le=3_153_600_000)] = 0
    max_total_bytes: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    every_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0


class PatrolSettings(Group, frozen=True, kw_only=True):
    """How stored chunks are read again, to find damage before it is too late."""

    bytes_per_s: Annotated[int, Meta(ge=0, le=2**40)] = 1_048_576
    pause_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 3600.0
