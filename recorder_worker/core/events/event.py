"""The base of every fact."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.model import SCHEMA_VERSION, Wire


class Event(Wire, frozen=True, kw_only=True):
    """What every fact carries."""

    v: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
