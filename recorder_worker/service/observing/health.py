"""Whether this process is alive, and whether it is ready for work.

Liveness is weak on purpose: a process that answers is alive, whatever NATS or the disk do, for a
restart would not help them and would cost a gap in every session. Only `fail` ends it. Readiness
is the conjunction of named checks.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.ports import Clock


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one check found. `needed`: without it this process is not ready for work."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


class Health:
    """Named checks, and whether something failed for good.

    A check must be quick: it runs on the event loop.
    """

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], Check]] = {}
        self._fatal: str | None = None

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Register a check; one of the same name is replaced."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Forget a check; harmless where there is none."""
        self._checks.pop(name, None)

    def fail(self, reason: str) -> None:
        """Declare that only a restart can help. The first reason stays."""
        if self._fatal is None:
            self._fatal = reason

    def live(self) -> Check:
        """Whether the process should go on."""
        return Check("alive", self._fatal is None, self._fatal or "the event loop runs")

    def checks(self) -> list[Check]:
        """What all checks find now. One that raises has failed; its error is the detail."""
        return [self._run(name, check) for name, check in self._checks.items()]

    def ready(self) -> tuple[bool, list[Check]]:
        """Whether all that is needed is well, and what was found, liveness first."""
        found = [self.live(), *self.checks()]
        return all(check.ok or not check.needed for check in found), found

    @staticmethod
    def _run(name: str, check: Callable[[], Check]) -> Check:
        try:
            return check()
        except Exception as error:  # noqa: BLE001  (a broken check must not take /readyz down)
            return Check(name, ok=False, detail=f"the check failed: {error!r}")


def bus_check(connected: Callable[[], bool], url: str) -> Callable[[], Check]:
    """A check that NATS is connected. `url` must not carry credentials: it is shown."""

    def check() -> Check:
        ok = connected()
        detail = f"connected to {url}" if ok else f"not connected to {url}; is it running?"
        return Check("bus", ok, detail)

    return check


class StageProgress:
    """Whether a stage gets on.

    It is stalled when messages wait and none was handled for `stall_s` seconds. A stage with
    nothing to do is well.
    """

    def __init__(self, stage: str, clock: Clock, stall_s: float) -> None:
        self._stage = stage
        self._clock = clock
        self._stall_s = stall_s
        self._waiting = 0
        self._since_ns = clock.monotonic_ns()

    def handled(self) -> None:
        """A message was handled with success."""
        self._since_ns = self._clock.monotonic_ns()

    def waiting(self, count: int) -> None:
        """How many messages wait or are being handled, as JetStream says."""
        if self._waiting == 0:
            # Idle until now: the time without work does not count.
            self._since_ns = self._clock.monotonic_ns()
        self._waiting = count

    def check(self) -> Check:
        """The check for `Health.add`."""
        name = f"stage.{self._stage}"
        idle_s = (self._clock.monotonic_ns() - self._since_ns) / 1e9
        if self._waiting and idle_s > self._stall_s:
            detail = f"{self._waiting} messages wait and none was handled for {idle_s:.0f} s"
            return Check(name, ok=False, detail=f"{detail}; see the log of this stage")
        return Check(name, ok=True, detail=f"{self._waiting} messages wait")
