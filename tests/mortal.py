"""Ports that die: a kill right before or right after any one effect of a stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process is gone: no handler of errors may see it."""


class Axe:
    """Counts effects, and falls right before or right after the one that it is set to."""

    def __init__(self, at: int = 0, *, after: bool = True) -> None:
        self.at = at
        self.after = after
        self.effects: list[str] = []

    def _falls(self, name: str) -> bool:
        self.effects.append(name)
        return len(self.effects) == self.at

    def strike(self, name: str, effect: Callable[[], Any]) -> Any:  # noqa: ANN401  (what it gives)
        falls = self._falls(name)
        if falls and not self.after:
            raise Killed(name)
        result = effect()
        if falls:
            raise Killed(name)
        return result

    async def strike_async(self, name: str, effect: Callable[[], Any]) -> Any:  # noqa: ANN401  (as above)
        falls = self._falls(name)
        if falls and not self.after:
            raise Killed(name)
        result = await effect()
        if falls:
            raise Killed(name)
        return result


class Mortal:
    """A port whose named methods have effects that the axe may fall at."""

    def __init__(self, port: Any, axe: Axe, *names: str) -> None:  # noqa: ANN401  (any port)
        self._port = port
        self._axe = axe
        self._names = names

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a port)
        found = getattr(self._port, name)
        if name not in self._names:
            return found
        strike = self._axe.strike_async if asyncio.iscoroutinefunction(found) else self._axe.strike
        return lambda *args, **kwargs: strike(name, lambda: found(*args, **kwargs))
