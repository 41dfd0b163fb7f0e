"""One chaos run: the plan, the storm over the sessions, and the judgement."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import nats.errors
from chaos.judge import Judged, judge
from chaos.plan import Plan, plan_of
from chaos.recovery import Recovery, recoveries
from chaos.rig import Rig
from chaos.stored import Streams, read_streams, waiting
from chaos.storm import Storm
from chaos.traffic import Sent, Traffic
from nats.js.errors import Error
from worker_process import run_recorder

QUIET_S = 120.0
"""How long consumers have, behind the last seal, to be done with everything."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `seconds` bounds the storm; sessions end, and are judged, behind it."""

    seed: int
    faults: int
    seconds: float
    servers: int = 1
    sessions: int = 4
    together: bool = False


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a run. `problems` are of no one session."""

    options: Options
    plan: Plan
    folder: Path
    lasted_s: float
    judged: list[Judged]
    recoveries: list[Recovery]
    problems: list[str]
    exits: Counter[str]

    @property
    def all_problems(self) -> list[str]:
        """Every one, with the session that it is of."""
        return [
            *self.problems,
            *(f"{one.session_id}: {text}" for one in self.judged for text in one.problems),
        ]


async def run_chaos(options: Options, folder: Path) -> Outcome:
    """Run it in an empty folder, which keeps the plan, the logs and the recordings."""
    began_s = time.monotonic()
    rig = Rig(folder, servers=options.servers, together=options.together)
    async with rig:
        plan = plan_of(
            options.seed,
            options.faults,
            rig.worker_names,
            rig.server_names,
            clocks=rig.has_clocks,
        )
        (folder / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
        storm, traffic = Storm(rig, plan), Traffic(rig, options.seed, options.sessions)
        recording = asyncio.create_task(traffic.run())
        try:
            await storm.run(time.monotonic() + options.seconds)
            traffic.end()
            await recording
        finally:
            recording.cancel()
            (folder / "struck.json").write_bytes(
                msgspec.json.format(msgspec.json.encode(storm.struck))
            )
        problems = await _still_waiting(rig)
        (folder / "sent.json").write_bytes(msgspec.json.encode(traffic.sessions))
        streams = await read_streams(rig.bus)
        await rig.stop_workers()
        exits = Counter(
            f"{worker.name.rsplit('-', 1)[0]} ended by itself with {life.code}"
            for worker in rig.workers.values()
            for life in worker.lives
            if life.code is not None and not life.asked_for
        )
    judged = await asyncio.to_thread(_judge_all, rig.data, traffic.sessions, streams)
    problems += _dead_letters(streams) + await asyncio.to_thread(_log_of_sessions, rig)
    found = recoveries(storm.struck, streams)
    (folder / "recoveries.json").write_bytes(msgspec.json.encode(found))
    return Outcome(
        options=options,
        plan=plan,
        folder=folder,
        lasted_s=time.monotonic() - began_s,
        judged=judged,
        recoveries=found,
        problems=problems,
        exits=exits,
    )


def _judge_all(data: Path, sessions: Iterable[Sent], streams: Streams) -> list[Judged]:
    return [judge(data, sent, streams) for sent in sessions]


async def _still_waiting(rig: Rig) -> list[str]:
    """Nothing may be left in the consumers."""
    left: dict[str, tuple[int, int]] = {}
    by_s = time.monotonic() + QUIET_S
    while time.monotonic() < by_s:
        with suppress(nats.errors.Error, Error):
            if not (left := await waiting(rig.bus)):
                return []
        await asyncio.sleep(0.3)
    return [
        f"{name}: {new} not delivered, {open_} not acked" for name, (new, open_) in left.items()
    ]


def _dead_letters(streams: Streams) -> list[str]:
    return [f"a dead letter on {one.subject}" for one in streams.dead]


def _log_of_sessions(rig: Rig) -> list[str]:
    """The log of sessions has every one of them, opened and sealed."""
    said = run_recorder("log", "verify", str(rig.data), folder=rig.folder)
    return [] if said.returncode == 0 else [f"recorder log verify: {said.stdout}{said.stderr}"]
