"""Everything a session passes through, in memory and by a clock of its own: the same each time.

Each stage is a process; messages are delivered one after the other, in a fixed order; time passes
only where nothing else is left to do. A process that dies or stands still is replaced by one that
knows nothing, and its messages come again as JetStream brings them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nats.errors
from faststream.exceptions import NackMessage, RejectMessage, SkipMessage
from nats.aio.msg import Msg
from nats.js.api import PubAck
from time_stamp_authority import Tsa

from faults.bench import (
    DIGEST_S,
    EPOCH_S,
    MAX_AGE_S,
    NODE,
    Bench,
    Handle,
    ProcessJetStream,
    Turn,
)
from faults.brokers import Broker, MemoryBroker
from faults.clock import SetClock
from faults.engine import Engine
from faults.injector import LATE, Fault, Injector, Killed, Process
from faults.keepers import desk, patroller, sweeper
from faults.parts import MemoryParts, Parts, sessions_in
from faults.session import (
    DELETE,
    EPOCH_AT,
    HOLD,
    MARK,
    MARK_AT,
    REFUSED,
    RELEASE,
    SESSION,
    START,
)
from faults.witness import WitnessedStore
from recorder_worker.adapters.age import AgeRecipients, new_identity
from recorder_worker.bus.codec import decode, encode
from recorder_worker.bus.disposition import Disposition, RetryLimits
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.core.events import Captured
from recorder_worker.core.subjects import Command, Fact
from recorder_worker.ports import Delivery
from recorder_worker.service.observing.metrics import Metrics

SECOND_NS = 1_000_000_000
STAGES = (
    *("control", "capture", "chunk", "compress", "upload", "merkle"),
    *("owners", "log", "receipts", "storage", "table", "retention"),
)
"""In the order in which what is due at once is delivered."""
KEEPER = "audit"
REMOVER = "keeper"
"""The keeper of retention: it removes what was deleted."""
SWEEPER, PATROL, DESK = "sweep", "patrol", "desk"
"""The sweep of the second store, the patrol, and the desk that settles dead letters."""
BY_THEMSELVES: dict[str, Callable[[Bench], Handle]] = {
    KEEPER: Bench.keeper,
    REMOVER: Bench.remover,
    SWEEPER: sweeper,
    PATROL: patroller,
    DESK: desk,
}
"""What no message is delivered to: it has a turn when a world gives it one."""
STEPS = 3000
PUBLISH_S = 5.0
POISON = (Fact.CHUNKED, b"no event at all")
"""What a stage can never process: published once, so that a dead letter is among the effects."""


class _Running(NamedTuple):
    """A message in the hands of a process."""

    stage: str
    message: Any
    process: Process
    task: asyncio.Future[None]


class Damaged(NamedTuple):
    """A chunk that is damaged on purpose, and who has to tell so."""

    stage: str
    key: str
    repaired: bool


class World:
    """One run: `publish` what clients send, then `run` until nothing is left to do."""

    def __init__(
        self,
        folder: Path,
        fault: Fault | None = None,
        broker: Broker | None = None,
        clock: SetClock | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.clock = clock or SetClock()
        self.injector = Injector(fault)
        self.broker: Broker = broker or MemoryBroker(self.clock)
        self.parts: Parts = parts or MemoryParts(folder)
        self.witnessed = WitnessedStore(self.parts.store, self.parts.second)
        self.folder = folder
        self.identity, recipient = new_identity()
        self._wrap = AgeRecipients([recipient], "the fault table")
        self.engine = Engine()
        self.metrics = Metrics(version="", node=NODE)
        jetstream: Callable[[], Any] = self.broker.jetstream
        self.log = JetStreamEventLog(jetstream, EventHeaders(NODE))
        self._heard: list[Callable[[], None]] = []
        self._processes: dict[str, tuple[Process, Handle]] = {}
        self._disposition = Disposition(
            RetryLimits(backoff_s=(1.0, 5.0), max_deliver=4), self.metrics, {}
        )
        self._recording: list[_Running] = []
        self._held: list[_Running] = []
        self._late: list[tuple[str, bytes, str | None, dict[str, str]]] = []
        self._late_answers: dict[tuple[str, int], Callable[[], Awaitable[None]]] = {}
        self._happened: set[int] = set()
        self._kept = 0
        self._swapped = False
        self._to_tend = False
        self.sleep_on = False
        self.stages: tuple[str, ...] = STAGES
        self.deaf: set[str] = set()
        self.defects: dict[str, Callable[[Msg], bool]] = {}
        self.asked: dict[str, str] = {}
        self.authority: Tsa | None = None
        self.commands = (2, 1)
        self.damaged: tuple[Damaged, ...] = ()
        self.offloaded: frozenset[str] = frozenset()
        self.refused: list[str] = []
        self.before_hold: dict[str, bytes] = {}
        self.under_hold: dict[str, bytes] = {}
        self.removed: frozenset[str] = frozenset()

    async def got_on(self, _delivery: Delivery) -> None:
        """Nobody here counts at which message a process dies: it dies at each once."""

    # --- what happens ---------------------------------------------------------------------------

    async def record(self) -> None:
        """Record the session of the table, from its start until nothing is left to do."""
        await self.command(Command.START, msgspec.json.encode(START))
        fact, garbage = POISON
        await self.broker.jetstream().publish(fact.of(SESSION[:-1] + "b"), garbage)
        await self.run()
        self.check_fired()

    async def remove(self, fault: Fault | None = None) -> None:
        """Hold the session while its time runs out; release it, and delete it.

        The fault is one of what this does: what is recorded before is recorded without one.
        """
        self.injector.arm(fault)
        self.commands = (5, 2)
        await self.command(Command.HOLD, HOLD)
        await self.run()
        self.before_hold = sessions_in(self.parts)
        self.clock.now_ns += 2 * MAX_AGE_S * SECOND_NS
        self.ordered()
        await self.run()
        await self.command(Command.DELETE, DELETE)  # refused, for it is under hold
        await self.run()
        self.under_hold = sessions_in(self.parts)
        await self.command(Command.RELEASE, RELEASE)
        await self.command(Command.DELETE, DELETE)
        self.removed = frozenset({SESSION})
        await self.run()
        self.ordered()
        await self.run()
        self.check_fired()

    def ordered(self) -> None:
        """Let the keeper of retention have a round."""
        self._to_tend = True

    def check_fired(self) -> None:
        fault = self.injector.fault
        assert fault is None or self.injector.fired, f"{fault.id}: there was no such effect"

    async def command(self, command: Command, body: bytes) -> None:
        await self.broker.jetstream().publish(command.value, body)

    async def happens(self, unit: int, process: Process) -> None:
        """What comes in front of a unit, once; behind this it has taken effect."""
        if unit == MARK_AT:
            if unit not in self._happened:
                self._happened.add(unit)
                await self.command(Command.MARK, REFUSED)
                await self.command(Command.MARK, MARK)
            await self._until(process, lambda last: last.controls >= 1)
        if unit == EPOCH_AT:
            if unit not in self._happened:
                self._happened.add(unit)
                self.clock.now_ns += round(EPOCH_S * SECOND_NS)
                self.wake()
            await self._until(process, lambda last: last.epoch >= 1)

    async def _until(self, process: Process, reached: Callable[[Captured], bool]) -> None:
        while process.alive and not process.held.is_set():
            last = await self.log.last(Fact.CAPTURED, SESSION)
            if last is not None and isinstance(last.event, Captured) and reached(last.event):
                return
            await asyncio.sleep(0.001)

    def wake(self) -> None:
        for heard in self._heard:
            heard()

    @contextmanager
    def listen(self, session_id: str, heard: Callable[[], None]) -> Iterator[None]:
        """As `ControlFeed`."""
        del session_id
        self._heard.append(heard)
        try:
            yield
        finally:
            self._heard.remove(heard)

    # --- the run --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until no message waits, no process stands still, and the audit trail is entered."""
        for _ in range(STEPS):
            while self._recording and not await self._deliver():
                await self._go_on_recording()
            if not (
                await self._deliver()
                or await self.broker.pass_time(self.stages)
                or await self._keep()
                or await self._tend()
                or await self._wake_held()
                or await self._arrive()
            ):
                return
        raise AssertionError(f"it does not come to rest: {await self.broker.waiting()}")

    async def _deliver(self) -> bool:
        """Deliver one message that is due. While a session is recorded, commands alone."""
        for stage in ("control",) if self._recording else self.stages:
            message = await self.broker.take(stage)
            if message is None:
                continue
            if stage in self.deaf:
                await message.ack()
                return True
            if stage == "compress" and not self._swapped and SESSION in message.subject:
                # Of two workers the second is quicker: so merkle gets leaf 1 before leaf 0.
                self._swapped = True
                second = await self.broker.take(stage)
                if second is not None:
                    await self._give(stage, second)
            await self._give(stage, message)
            return True
        return False

    async def _give(self, stage: str, message: Msg) -> None:
        late = self._late_answers.pop((stage, message.metadata.sequence.stream), None)
        if late is not None:
            self._processes.pop(stage, None)  # it is another worker that gets it now
            await late()
        process, handle = self._process(stage)
        task = asyncio.ensure_future(handle(message))
        running = _Running(stage, message, process, task)
        if stage == "capture":
            self._recording.append(running)
        else:
            await self._attend(running)

    async def _go_on_recording(self) -> None:
        running = self._recording[0]
        if await self._attend(running, within_s=0.002):
            self._recording.remove(running)
        else:
            await self.broker.pass_time(("control",))
        for each in self._recording:
            await each.message.in_progress()

    async def _attend(self, running: _Running, within_s: float | None = None) -> bool:
        """Until the process is done, dead, or stands still; False where that takes too long."""
        stage, _, process, task = running
        signs = [asyncio.create_task(process.died.wait()), asyncio.create_task(process.held.wait())]
        waited: tuple[asyncio.Future[Any], ...] = (task, *signs)
        try:
            await asyncio.wait(waited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for sign in signs:
                sign.cancel()
        if process.held.is_set():
            self._held.append(running)
            self._forget(stage, process)
            return True
        if not process.alive:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                assert isinstance(task.exception(), Killed | None), task.exception()
            self._forget(stage, process)
            return True
        if task.done():
            task.result()
            return True
        return False

    def _forget(self, stage: str, process: Process) -> None:
        if stage in self._processes and self._processes[stage][0] is process:
            del self._processes[stage]

    async def _wake_held(self) -> bool:
        """Let who stood still go on, long after others did his work."""
        if not self._held or self.sleep_on:
            return False
        running = self._held.pop()
        await self.broker.forget_ids()
        running.process.wake()
        if running.stage == "capture":
            self._recording.append(running)
        else:
            await self._attend(running)
        return True

    async def _arrive(self, subject: str = "") -> bool:
        """What was given up as unanswered arrives: behind the next try, or at last."""
        late = [each for each in self._late if not subject or each[0] == subject]
        self._late = [each for each in self._late if each not in late]
        for where, payload, stream, headers in late:
            try:
                await self.broker.jetstream().publish(
                    where, payload, stream=stream, headers=headers
                )
                await self._receipted(where, payload)
            except nats.errors.Error:
                continue  # refused by its fence; nobody hears of it
        return bool(late)

    async def _keep(self) -> bool:
        """Let the keeper of the audit trail enter what is new."""
        info = await self.broker.jetstream().stream_info(AUDIT_STREAM)
        stored: int = info.state.last_seq
        if self._kept == stored:
            return False
        self.clock.now_ns += round(DIGEST_S * SECOND_NS)
        if await self.turn(KEEPER):
            self._kept = stored
        return True

    async def _tend(self) -> bool:
        """Let the keeper of retention have its round, again until nothing is put off."""
        if not self._to_tend:
            return False
        if await self.turn(REMOVER):
            self._to_tend = False
        return True

    async def turn(self, stage: str, asked: Any = None) -> bool:  # noqa: ANN401  (of the desk)
        """Let what goes by itself have one turn; whether that came to a good end."""
        process, turn = self._process(stage)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(turn(Turn(done, asked)))
        await self._attend(_Running(stage, None, process, task))
        return done.done() and done.result()

    async def _receipted(self, subject: str, payload: bytes) -> None:
        """Whoever receipts checkpoints hears of what was stored, and answers."""
        if subject == Fact.ANCHOR_REQUESTED.value:
            request: Any = decode(Fact.ANCHOR_REQUESTED, payload)
            receipt = self.engine.receipt(request, self.clock.now_ns // SECOND_NS)
            await self.broker.jetstream().publish(Fact.ANCHOR_RECEIPT.value, encode(receipt))

    # --- processes ------------------------------------------------------------------------------

    def _process(self, stage: str) -> tuple[Process, Handle]:
        if stage not in self._processes:
            process = Process(stage, self.injector)
            self._processes[stage] = process, self._made(stage, process)
        return self._processes[stage]

    def restart(self, stage: str) -> None:
        """The next message comes to a process that knows nothing."""
        self._processes.pop(stage, None)

    def _made(self, stage: str, process: Process) -> Handle:
        bench = Bench(self, process)
        if stage in BY_THEMSELVES:
            return BY_THEMSELVES[stage](bench)
        handle, decoded = getattr(bench, stage)()
        return partial(self._handled, process, handle, decoded)

    async def _handled(
        self, process: Process, handle: Handle, decoded: Callable[[Msg], Any], message: Msg
    ) -> None:
        """As a subscription and its middleware: the value, the handler, and what becomes of it."""
        try:
            self._fail(process.stage, message)
            await handle(decoded(message))
        except Exception as error:  # noqa: BLE001  (the product's own table decides)
            await self._disposed(process, message, error)
        else:
            await self._answer(process, message, "ack", message.ack)

    def _fail(self, stage: str, message: Msg) -> None:
        """Where a stage has a defect."""
        if stage in self.defects and self.defects[stage](message):
            raise ZeroDivisionError("a defect")

    async def _disposed(self, process: Process, message: Msg, error: Exception) -> None:
        disposed = self._disposition(message, context=_Context(self, process))
        try:
            await disposed.after_processed(type(error), error, error.__traceback__)
        except SkipMessage:
            return
        except NackMessage as nack:
            nak = partial(message.nak, **nack.extra_options)
            await self._answer(process, message, "nak", nak)
        except RejectMessage:
            await self._answer(process, message, "term", message.term)

    async def _answer(
        self, process: Process, message: Msg, verb: str, answer: Callable[[], Awaitable[None]]
    ) -> None:
        """Nobody confirms an answer: one that is lost is noticed when the message comes again."""

        async def given() -> None:
            if LATE.get():
                key = process.stage, message.metadata.sequence.stream
                self._late_answers[key] = answer
                return
            await answer()

        try:
            await process.strike_async(f"Delivery.{verb}", given)
        except nats.errors.Error:
            return

    async def published(
        self, subject: str, payload: bytes, stream: str | None, headers: dict[str, str]
    ) -> PubAck:
        """What a process publishes."""
        if LATE.get():
            self._late.append((subject, payload, stream, headers))
            raise nats.errors.TimeoutError
        try:
            stored: PubAck = await self.broker.jetstream().publish(
                subject, payload, stream=stream, headers=headers, timeout=PUBLISH_S
            )
            await self._receipted(subject, payload)
            return stored
        finally:
            await self._arrive(subject)
            if subject.startswith(Fact.CONTROL.value):
                self.wake()

    @property
    def wrap(self) -> AgeRecipients:
        return self._wrap

    @property
    def disposition(self) -> Disposition:
        return self._disposition


class _Context:
    """What the middleware asks FastStream's context for: the broker, to publish dead letters."""

    def __init__(self, world: World, process: Process) -> None:
        self._jetstream = ProcessJetStream(world, process)
        self._process = process

    def get(self, name: str) -> _Context:
        assert name == "broker"
        return self

    @property
    def jetstream(self) -> _Context:
        return self

    @property
    def client(self) -> _Context:
        return self

    max_payload = 1_048_576

    async def publish(self, *args: Any, **kwargs: Any) -> PubAck:  # noqa: ANN401  (passed on)
        effect = partial(self._jetstream.publish, *args, **kwargs)
        found: PubAck = await self._process.strike_async("DeadLetter.publish", effect)
        return found
