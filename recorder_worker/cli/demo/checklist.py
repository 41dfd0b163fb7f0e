"""What the demo promises: each promise is checked, said, and counted."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.core.errors import RecorderError


class CheckFailedError(RecorderError):
    """A check failed, and what would come after it makes no sense any more."""

    def __init__(self, name: str, found: str) -> None:
        self.name, self.found = name, found
        super().__init__(f"{name}: {found}")


class Check(msgspec.Struct, frozen=True):
    """One promise: whether it held, and what was found."""

    name: str
    ok: bool
    found: str


class Checklist:
    """The checks so far. `say` is told of each as it is made."""

    def __init__(self, say: Callable[[Check], None]) -> None:
        self.checks: list[Check] = []
        self._say = say

    def add(self, name: str, found: str, *, ok: bool) -> None:
        """Note the outcome of a check; the demo goes on."""
        check = Check(name, ok, found)
        self.checks.append(check)
        self._say(check)

    def demand(self, name: str, found: str, *, ok: bool) -> None:
        """As `add`, for what all the rest needs. Raises CheckFailedError, which is yet to note."""
        if not ok:
            raise CheckFailedError(name, found)
        self.add(name, found, ok=ok)

    @property
    def failed(self) -> list[Check]:
        """The checks that did not hold."""
        return [check for check in self.checks if not check.ok]
