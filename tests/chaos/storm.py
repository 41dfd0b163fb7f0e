"""Brings the faults of a plan down on the actors, and makes good behind each."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import msgspec
from chaos.actors import Actor, ChaosWorker
from chaos.plan import LEADER, Fault, Kind, Plan
from chaos.rig import Rig


class Struck(msgspec.Struct, kw_only=True):
    """A fault as it came: when, whom, and which process of his."""

    fault: Fault
    target: str
    stages: tuple[str, ...]
    began_ns: int
    healed_ns: int = 0
    pid: int


class Storm:
    """Runs a plan. Faults overlap, but an actor has one at a time, and so have all servers."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self._rig = rig
        self._plan = plan
        self._one_server = asyncio.Lock()
        self.struck: list[Struck] = []

    async def run(self, until_s: float) -> None:
        """All faults, or as many as begin before a moment of the monotonic clock."""
        running: set[asyncio.Task[None]] = set()
        for fault in self._plan.faults:
            if time.monotonic() >= until_s:
                break
            await asyncio.sleep(fault.after_s)
            task = asyncio.create_task(self._bring(fault))
            running.add(task)
            # A target that is busy makes its next fault wait, and that one the whole plan.
            if len(running) > len(self._rig.workers):
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for done in [task for task in running if task.done()]:
                running.discard(done)
                done.result()
        await asyncio.gather(*running)

    async def _bring(self, fault: Fault) -> None:
        if fault.kind in {Kind.SERVER_KILL, Kind.SERVER_STOP}:
            async with self._one_server:
                name = await self._rig.leader() if fault.target == LEADER else fault.target
                server = self._rig.servers[name]
                async with server.busy:
                    await self._to_process(fault, server)
            return
        worker = self._rig.workers[fault.target]
        async with worker.busy:
            if fault.kind in {Kind.KILL, Kind.TERM, Kind.STOP}:
                await self._to_process(fault, worker)
            else:
                await self._to_surroundings(fault, worker)

    def _strikes(self, fault: Fault, actor: Actor) -> Struck:
        stages = actor.stages if isinstance(actor, ChaosWorker) else ()
        struck = Struck(
            fault=fault,
            target=actor.name,
            stages=stages,
            began_ns=time.time_ns(),
            pid=actor.lives[-1].pid,
        )
        self.struck.append(struck)
        return struck

    async def _to_process(self, fault: Fault, actor: Actor) -> None:
        struck = self._strikes(fault, actor)
        if fault.kind in {Kind.STOP, Kind.SERVER_STOP}:
            actor.send(signal.SIGSTOP)
            await asyncio.sleep(fault.hold_s)
            actor.send(signal.SIGCONT)
        else:
            soft = fault.kind is Kind.TERM
            await actor.end(signal.SIGTERM if soft else signal.SIGKILL)
            await asyncio.sleep(fault.hold_s)
            actor.start()
        struck.healed_ns = time.time_ns()

    async def _to_surroundings(self, fault: Fault, worker: ChaosWorker) -> None:
        struck = self._strikes(fault, worker)
        if fault.kind is Kind.CLOCK:
            assert worker.clock is not None
            worker.clock.jump(fault.amount_s)
        for proxy in worker.proxies:
            if fault.kind is Kind.CUT:
                proxy.cut()
            elif fault.kind is Kind.STALL:
                proxy.stall()
            elif fault.kind is Kind.DELAY:
                proxy.delay_s = fault.amount_s
        await asyncio.sleep(fault.hold_s)
        for proxy in worker.proxies:
            proxy.heal()
        struck.healed_ns = time.time_ns()


def fresh_seed() -> int:
    """A seed to be printed."""
    return random.SystemRandom().randrange(2**32)
