"""What both verifiers say of a recording: `recorder verify` and tests/reference.py."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import reference
from endurance.plan import Plan
from worker_process import RECORDER, WorkerProcess, clean_environment

from recorder_worker.core.events import SessionSealed

TIMEOUT_S = 900.0
GOOD = ("COMPLETE", "COMPLETE_WITH_GAPS")


class Found(NamedTuple):
    """A recording that was verified."""

    verdict: str
    frames: int
    gaps: list[dict[str, Any]]


class Desk:
    """Calls commands of one recorder with its settings, as a person does, and judges."""

    def __init__(
        self, plan: Plan, name: str, worker: WorkerProcess, settings: dict[str, str]
    ) -> None:
        self._plan = plan
        self._name = name
        self._worker = worker
        self._settings = settings

    async def command(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A `recorder` command, run to its end."""
        env = self._settings | {
            "RECORDER_DATA_DIR": str(self._worker.data_dir),
            "RECORDER_NATS__URL": self._worker.nats_url,
        }
        return await asyncio.to_thread(
            subprocess.run,
            [str(RECORDER), *map(str, words)],
            cwd=self._worker.folder,
            env=clean_environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    async def good(self, *words: object) -> None:
        """A command that has to succeed."""
        ended = await self.command(*words)
        said = (ended.stdout + ended.stderr)[-2000:]
        line = " ".join(map(str, words))
        self._need(ended.returncode == 0, f"recorder {line}: exit code {ended.returncode}: {said}")

    async def verified(self, folder: Path, where: str, expected: tuple[str, ...] = GOOD) -> Found:
        """Both verdicts of a folder, which have to be one, and as expected."""
        ended = await self.command("verify", folder, "--json")
        report = json.loads(ended.stdout or "{}")
        theirs = await asyncio.to_thread(reference.check, folder)
        verdict = str(report.get("verdict"))
        label = f"{folder.name} {where}"
        self._need(
            verdict in expected, f"{label}: {verdict}: {ended.stdout[-1500:]}{ended.stderr[-500:]}"
        )
        both = (verdict, report.get("root_hash"))
        self._need(
            both == (theirs["verdict"], theirs["root_hash"]),
            f"{label}: {both}, and the other one {theirs['verdict']}: {theirs['problem']}",
        )
        return Found(verdict, len(theirs["frames"]), report.get("gaps", []))

    def held_against(self, found: Found, sealed: SessionSealed, where: str) -> None:
        """Frames that were decoded, one by one, and gaps: as the seal's event told them."""
        told = (sealed.frame_count, sealed.gap_count)
        have = (found.frames, len(found.gaps))
        self._need(have == told, f"{sealed.session_id} {where}: {have}, told {told}")

    def _need(self, held: object, text: str) -> None:
        self._plan.need(held, f"{self._name}: {text}")
