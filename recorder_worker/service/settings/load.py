"""The settings of load: when sessions are slowed down."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.service.settings.group import Group

Share = Annotated[float, Meta(ge=0, le=1)]
Messages = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class LoadSettings(Group, frozen=True, kw_only=True):
    """When sessions are slowed down, because machine or later stages do not keep up."""

    lowest_fps: Annotated[float, Meta(gt=0, le=240)] = 1.0
    window_s: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    late_high: Annotated[float, Meta(gt=0, le=1)] = 0.2
    late_low: Share = 0.02
    calm_windows: Annotated[int, Meta(ge=1, le=1000)] = 6
    behind_high_messages: Messages = 2000
    behind_high_bytes: Bytes = 4_294_967_296
    behind_low_messages: Messages = 500
    behind_low_bytes: Bytes = 1_073_741_824
    behind_step_s: Annotated[float, Meta(ge=0.1, le=3600)] = 15.0
