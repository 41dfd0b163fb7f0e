"""A finding together with what would repair it, where that is safe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from recorder_worker.core.errors import RecorderError
from recorder_worker.core.findings import Finding

Repair = Callable[[], Awaitable[str]]
"""Repairs, and says what it did. Raises RecorderError or OSError where it did not."""

YOUNG_S = 60.0
"""What is younger than this is perhaps just being worked on, and is no finding."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `repair` is there where `finding.repair` says what it would do."""

    finding: Finding
    repair: Repair | None = None


async def repaired(case: Case) -> Finding:
    """Repair one thing; a repair that fails says so and leaves the finding."""
    if case.repair is None:
        return case.finding
    try:
        return msgspec.structs.replace(case.finding, repaired=await case.repair())
    except (RecorderError, OSError) as error:
        advice = f"{case.finding.advice}; it was not repaired: {error}"
        return msgspec.structs.replace(case.finding, advice=advice)
