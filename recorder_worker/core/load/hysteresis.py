"""A condition that begins at a high mark and ends below a low one, so that it does not flutter."""

from __future__ import annotations

import msgspec


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """From `high` on it holds, and until the value is below `low`."""

    high: float
    low: float

    def holds(self, value: float, *, before: bool) -> bool:
        """Whether it holds at a value, `before` being whether it held until now."""
        return value >= self.high or (before and value >= self.low)
