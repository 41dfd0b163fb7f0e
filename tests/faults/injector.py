"""Puts one fault into one effect of one stage, or none, and lists the effects as they come."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

import nats.errors

from faults.port_effects import EFFECTS, kind_of
from recorder_worker.core.errors import BusUnavailableError, StoreError

ERRORS: dict[str, Callable[[str], Exception]] = {
    "BlobStore": StoreError,
    "BlobWriter": StoreError,
    "CipherKeys": StoreError,
    "Copies": BusUnavailableError,
    "DeadLetter": lambda _: nats.errors.TimeoutError(),
    "DeadLetters": BusUnavailableError,
    "Delivery": lambda _: nats.errors.ConnectionClosedError(),
    "EntryTable": BusUnavailableError,
    "EventLog": BusUnavailableError,
    "Signer": StoreError,
}
"""What a port says when it fails, as its Protocol has it."""

ON_THE_BUS = frozenset({"Copies", "DeadLetter", "DeadLetters", "EntryTable", "EventLog"})
"""What may arrive after it was given up."""

LATE: contextvars.ContextVar[bool] = contextvars.ContextVar("late", default=False)
"""Whether what is published now shall arrive later, and be reported as failed."""


class Killed(BaseException):
    """The process is gone: no handler of errors may see it."""


class Kind(StrEnum):
    """What goes wrong with an effect.

    NOT_APPLIED: it fails, and is not done. REPORTED_FAILED: it is done, and fails all the same.
    DELAYED: it fails, and is done later, behind the repetition; an acknowledgement arrives when
    another worker has the message. HELD_UP: the process stands still in front of it until all
    others have done its work, and then goes on. KILLED: the process dies right behind it.
    """

    NOT_APPLIED = "not_applied"
    REPORTED_FAILED = "applied_but_reported_failed"
    DELAYED = "delayed"
    HELD_UP = "held_up"
    KILLED = "killed_right_after"


class Effect(NamedTuple):
    """The n-th effect of a name, counted from 1 over all processes of its stage."""

    stage: str
    name: str
    number: int


class Fault(NamedTuple):
    """What goes wrong with which effect."""

    effect: Effect
    kind: Kind

    @property
    def id(self) -> str:
        return f"{self.effect.stage}-{self.effect.name}-{self.effect.number}-{self.kind}"


def kinds_for(name: str) -> tuple[Kind, ...]:
    """The kinds of fault that an effect can have.

    A local write cannot fail and be done later: what is late about it is the process that does it.
    """
    port = name.split(".", maxsplit=1)[0]
    if port in ON_THE_BUS:
        return tuple(Kind)
    late = Kind.DELAYED if port == "Delivery" else Kind.HELD_UP
    return (Kind.NOT_APPLIED, Kind.REPORTED_FAILED, late, Kind.KILLED)


class Injector:
    """Counts effects, and says when the one with the fault has come."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.fired = False
        self.effects: list[Effect] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def arm(self, fault: Fault | None) -> None:
        """From here on count anew, and for this fault."""
        with self._lock:
            self.fault, self.fired, self.effects = fault, False, []
            self._counts.clear()

    def comes(self, stage: str, name: str) -> Kind | None:
        """An effect comes; gives the fault that it has."""
        with self._lock:
            self._counts[stage, name] += 1
            effect = Effect(stage, name, self._counts[stage, name])
            self.effects.append(effect)
            if self.fault is None or self.fired or effect != self.fault.effect:
                return None
            self.fired = True
            return self.fault.kind


class Process:
    """One worker process of one stage. What it has in memory dies with it."""

    def __init__(self, stage: str, injector: Injector) -> None:
        self.stage = stage
        self.alive = True
        self.died = asyncio.Event()
        self.held = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._injector = injector
        self._go = threading.Event()
        self._go_on = asyncio.Event()

    def check(self) -> None:
        """A dead process does nothing any more."""
        if not self.alive:
            raise Killed(self.stage)

    def kill(self) -> None:
        self.alive = False
        self._loop.call_soon_threadsafe(self.died.set)

    def wake(self) -> None:
        """Let a process that stands still go on."""
        self.held.clear()
        self._go.set()
        self._go_on.set()

    def port(self, name: str, port: Any, label: str = "") -> Any:  # noqa: ANN401  (any port)
        """A port, as this process sees it."""
        return _Struck(self, name, port, label)

    def strike(self, name: str, effect: Callable[[], Any]) -> Any:  # noqa: ANN401  (what it gives)
        """Do a blocking effect, with the fault that it has."""
        self.check()
        kind = self._injector.comes(self.stage, name)
        if kind is Kind.NOT_APPLIED:
            raise self._error(name)
        if kind is Kind.HELD_UP:
            self._loop.call_soon_threadsafe(self.held.set)
            assert self._go.wait(60), f"nobody woke {self.stage}"
        result = effect()
        self._behind(name, kind)
        return result

    async def strike_async(self, name: str, effect: Callable[[], Any]) -> Any:  # noqa: ANN401  (as above)
        """As `strike`, on the event loop."""
        self.check()
        kind = self._injector.comes(self.stage, name)
        if kind is Kind.NOT_APPLIED:
            raise self._error(name)
        if kind is Kind.DELAYED:
            with late():
                return await effect()
        if kind is Kind.HELD_UP:
            self.held.set()
            await self._go_on.wait()
        result = await effect()
        self._behind(name, kind)
        return result

    def _behind(self, name: str, kind: Kind | None) -> None:
        if kind is Kind.KILLED:
            self.kill()
        self.check()
        if kind is Kind.REPORTED_FAILED:
            raise self._error(name)

    @staticmethod
    def _error(name: str) -> Exception:
        return ERRORS[name.split(".", maxsplit=1)[0]](f"{name}: a fault of the table")


@contextmanager
def late() -> Iterator[None]:
    """Within this, what is published is reported as failed and arrives later."""
    token = LATE.set(True)
    try:
        yield
    finally:
        LATE.reset(token)


class _Struck:
    """A port whose effects may fail, and which a dead process cannot use."""

    def __init__(self, process: Process, name: str, port: Any, label: str) -> None:  # noqa: ANN401  (any port)
        self._process = process
        self._name = name
        self._port = port
        self._label = label

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of a port)
        found = getattr(self._port, name)
        if not callable(found):
            return found
        if name not in EFFECTS.get(self._name, ()):
            return self._alive(name, found)
        strike = self._process.strike
        if inspect.iscoroutinefunction(found):
            strike = self._process.strike_async
        return lambda *args, **kwargs: strike(
            f"{self._name}.{name}{self._about(args)}", lambda: found(*args, **kwargs)
        )

    def _alive(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (passed on)
            self._process.check()
            result = found(*args, **kwargs)
            if self._name == "BlobStore" and name == "writer":
                return self._process.port("BlobWriter", result, self._kind(args[0]))
            return result

        return call

    def _kind(self, key: str) -> str:
        """Which store, unless it is the first; and what in it."""
        return f"{self._label}{kind_of(key)}"

    def _about(self, args: tuple[Any, ...]) -> str:
        """What an effect is about, where a port has effects of many kinds."""
        match self._name:
            case "BlobStore":
                return f" {self._kind(args[0])}"
            case "BlobWriter":
                return f" {self._label}"
            case "EventLog":
                return f" {args[0].value}"
            case "Copies":
                return f" {args[1].fact.value}"
            case _:
                return ""
