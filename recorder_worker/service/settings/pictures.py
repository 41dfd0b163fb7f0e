"""Settings of what is told of pictures, and of thumbnails; as `tree`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from recorder_worker.service.settings.group import Group

Level = Annotated[float, Meta(ge=0, le=255)]
Share = Annotated[float, Meta(ge=0, le=1)]
Held = Annotated[float, Meta(ge=0, le=86_400)]
Conditions = Annotated[
    tuple[Literal["black", "frozen", "no_signal", "blurred"], ...], Meta(max_length=4)
]


class QualitySettings(Group, frozen=True, kw_only=True):
    """What is told of pictures, and by which numbers."""

    look_s: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    conditions: Conditions = ("black", "frozen", "no_signal", "blurred")
    display_conditions: Conditions = ("black",)
    clear_s: Held = 2.0
    black_begin: Level = 24.0
    black_end: Level = 36.0
    black_s: Held = 2.0
    frozen_s: Held = 10.0
    flat_begin: Share = 0.95
    flat_end: Share = 0.9
    flat_chroma: Level = 64.0
    bars_begin: Share = 0.5
    bars_end: Share = 0.4
    no_signal_s: Held = 3.0
    blur_begin: Share = 0.72
    blur_end: Share = 0.66
    blur_contrast: Level = 16.0
    blur_s: Held = 5.0


class ThumbnailSettings(Group, frozen=True, kw_only=True):
    """Small pictures beside the chunks."""

    enabled: bool = True
    interval_s: Annotated[float, Meta(ge=1, le=86_400)] = 10.0
    changed_share: Share = 0.01
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 60
