"""compose.yaml: one container a stage, recorded from outside, killed, and verified outside."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from container.engine import ROOT, Project, SmokeError
from container.image import expect, step
from container.users import ADMIN, CLIENT, Users

from recorder_worker.client import BusUnavailableError, RecorderClient

STAGES = ("chunk", "compress", "merkle", "capture")
PATTERN = {"kind": "pattern", "pace": "native"}
FACT_TIMEOUT_S = 60.0
SEAL_TIMEOUT_S = 180.0


def check_limits(project: Project) -> None:
    """No container may write where it need not, gain a right, or take all of the machine."""
    containers = project.containers()
    expect(len(STAGES) + 1, len(containers), "containers that run")
    for container in containers:
        held = project.host_settings(container)
        expect(True, held["ReadonlyRootfs"], "root file system that is read-only")
        expect(["ALL"], held["CapDrop"], "capabilities that are dropped")
        expect(["no-new-privileges:true"], held["SecurityOpt"], "security options")
        for limit in ("Memory", "NanoCpus", "PidsLimit"):
            if not held[limit]:
                raise SmokeError(f"{limit}: expected a limit, found none")


async def record_file(client: RecorderClient) -> str:
    """Record the demo's screen recording as fast as it can be read; the session's id."""
    source = {"kind": "file", "uri": "/media/screen.mkv", "pace": "fast"}
    started = await client.start(source, timeout_s=FACT_TIMEOUT_S)
    sealed = await client.wait_sealed(started.session_id, SEAL_TIMEOUT_S)
    expect("source_ended", str(sealed.reason), "reason of the seal")
    return started.session_id


async def record_through_kills(client: RecorderClient, project: Project, display: str) -> str:
    """Kill one container of every stage in mid-recording, then stop; the session's id."""
    source = {"kind": "x11", "uri": display} if display else PATTERN
    started = await client.start(source, timeout_s=FACT_TIMEOUT_S)
    session_id = started.session_id
    for stage in STAGES:
        await next_segment(client, session_id)
        with step(f"  {stage} killed and started again"):
            project.kill(project.containers(stage)[0])
            project.up("--no-recreate", "--scale", "compress=3")
    await next_segment(client, session_id)
    await client.stop(session_id, by="smoke")
    sealed = await client.wait_sealed(session_id, SEAL_TIMEOUT_S)
    expect("stopped", str(sealed.reason), "reason of the seal")
    return session_id


async def next_segment(client: RecorderClient, session_id: str) -> None:
    """Wait until a segment is recorded from now on. Raises SmokeError."""

    async def look() -> None:
        async with client.follow(session_id, history=False) as facts:
            async for seen in facts:
                if seen.fact.value == "session.captured":
                    return

    try:
        await asyncio.wait_for(look(), FACT_TIMEOUT_S)
    except TimeoutError as error:
        raise SmokeError(f"expected a segment within {FACT_TIMEOUT_S:g} s, found none") from error


class Outside:
    """A copy of what the containers stored, and this machine's `recorder` to verify it with."""

    def __init__(self, project: Project, folder: Path) -> None:
        # In this order: whatever the log names of the others was there before.
        for name in ("log", "sessions", "audit"):
            project("cp", f"merkle:/data/{name}", str(folder / name))
        shown = json.loads(project("exec", "-T", "merkle", "recorder", "keys", "show", "--json"))
        self._trust = folder / "trust.yaml"
        self._trust.write_text(shown["trust"], encoding="utf-8")
        self._folder = folder

    def verify(self, session_id: str, verdict: str) -> dict[str, Any]:
        """The report on one recording, which has to have this verdict under a trusted key."""
        report = self._recorder("verify", str(self._folder / "sessions" / session_id))
        expect(verdict, report["verdict"], "verdict")
        expect("trusted", report["trust"]["status"], "key of the recording")
        print(
            f"          {verdict}, {report['totals']['frame_count']} frames, "
            f"{len(report['chunk_map'])} chunks, {len(report['gaps'])} gaps, "
            f"root {report['root_hash'][:16]}…"
        )
        return report

    def verify_log(self) -> None:
        """The log of sessions is held against all folders; anything wrong is an exit code."""
        self._recorder("log", "verify", str(self._folder))

    def _recorder(self, *arguments: str) -> dict[str, Any]:
        program = str(Path(sys.executable).with_name("recorder"))
        command = [program, *arguments, "--trust", str(self._trust), "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise SmokeError(f"recorder {arguments[0]}: exit {done.returncode}\n{said}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def verify_outside(project: Project, undisturbed: str, killed: str, *, live: bool) -> None:
    """Both recordings and the log of sessions, copied out of their volume."""
    with tempfile.TemporaryDirectory(prefix="recorder-smoke-") as folder:
        outside = Outside(project, Path(folder))
        report = outside.verify(undisturbed, "COMPLETE")
        expect(0, report["totals"]["gap_count"], "gaps of the recording that nothing disturbed")
        report = outside.verify(killed, "COMPLETE_WITH_GAPS")
        # Of four stages only capture loses anything, and what it lost is in the record.
        expect(["crash"], [gap["reason"] for gap in report["gaps"]], "gaps of the one with kills")
        gap = report["gaps"][0]
        away_s = (gap["wall1_ns"] - gap["wall0_ns"]) / 1e9
        print(f"          capture was away for {away_s:.1f} s: {gap['lost_units']} frames missing")
        if away_s <= 0 or not report["totals"]["frame_count"]:
            raise SmokeError(f"expected frames and a gap that took time, found {report}")
        # A pattern goes on where it was; a display does not wait.
        if live and not gap["lost_units"]:
            raise SmokeError(f"expected that the gap counts frames that are missing, found {gap}")
        outside.verify_log()


def check_no_refusal(project: Project) -> None:
    """Every stage has all the rights that it used."""
    said = project("logs", "--no-color", "--no-log-prefix", *STAGES)
    refused = [line for line in said.splitlines() if "BusPermissionDenied" in line]
    if "WorkerStarted" not in said or refused:
        raise SmokeError(f"expected that NATS refuses no stage anything, found {refused}")


async def check_nobody_else(users: Users) -> None:
    """Without a login there is no connection; a client may not stop what it started."""
    try:
        async with RecorderClient.connect(users.login(CLIENT).servers[0]):
            raise SmokeError("expected that NATS asks for a login, found that it does not")
    except BusUnavailableError:
        pass
    async with RecorderClient.connect(users.login(CLIENT)) as client:
        try:
            await client.stop("00000000-0000-0000-0000-000000000001")
        except BusUnavailableError:
            return
    raise SmokeError("expected that a client may not publish session.stop, found that it may")


async def run(project: Project, users: Users, display: str) -> None:
    """One container a stage: record, scale, kill, verify outside. A display is recorded live."""
    with step("compose up --wait"):
        project.up()
    check_limits(project)
    with step("a client records a file, and may do nothing else"):
        await check_nobody_else(users)
        async with RecorderClient.connect(users.login(CLIENT)) as client:
            undisturbed = await record_file(client)
    async with RecorderClient.connect(users.login(ADMIN)) as client:
        with step("compress scaled to 3"):
            project.up("--no-recreate", "--scale", "compress=3")
        expect(3, len(project.containers("compress")), "containers of compress")
        with step("every stage killed once in one recording"):
            killed = await record_through_kills(client, project, display)
    check_no_refusal(project)
    with step("both recordings and the log of sessions verified outside"):
        verify_outside(project, undisturbed, killed, live=bool(display))
