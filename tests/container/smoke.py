"""Builds the image, runs it alone and as compose.yaml does, and verifies what came out.

Needs a container engine with compose, and this project's Python environment for the client and
the verifier on the outside: `make container-test`. Takes a few minutes the first time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from container.engine import ROOT, Engine, Project, SmokeError, until

from recorder_worker.client import RecorderClient

IMAGE = "session-recorder:smoke"
BASES = ("PYTHON_IMAGE", "RUNTIME_IMAGE")
STAGES = ("chunk", "compress", "merkle", "capture")
HARDENED = (
    *("--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL", "--pids-limit", "256"),
    *("--security-opt", "no-new-privileges", "--user", "65532:65532", "--memory", "1g"),
)
NO_SHELL = """
import subprocess, cv2, numpy, xcffib, recorder_worker.service.worker
try:
    subprocess.run("true", shell=True)
except FileNotFoundError:
    raise SystemExit(0)
raise SystemExit("expected no shell in the image, found one")
"""
FACT_TIMEOUT_S = 60.0
SEAL_TIMEOUT_S = 180.0


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what is done and how long it took."""
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.1f} s  {title}", flush=True)


def expect(expected: object, found: object, what: str) -> None:
    """Raises SmokeError where they differ."""
    if expected != found:
        raise SmokeError(f"{what}: expected {expected}, found {found}")


def build(engine: Engine, options: argparse.Namespace) -> None:
    """Build the image, with the secrets that a build behind a proxy needs."""
    arguments = ["build", "--file", "Containerfile", "--tag", IMAGE]
    for name in BASES:
        if os.environ.get(name):
            arguments += ["--build-arg", f"{name}={os.environ[name]}"]
    for name, path in (("pipconf", options.pipconf), ("cabundle", options.cabundle)):
        if path:
            arguments += ["--secret", f"id={name},src={path}"]
    engine(*arguments, ".")


def run_alone(engine: Engine, name: str) -> None:
    """All stages and the embedded server in one locked-down container without a network."""
    engine("run", "--rm", "--network", "none", *HARDENED, "--entrypoint", "/usr/bin/python3",
           IMAGE, "-c", NO_SHELL)  # fmt: skip
    engine("run", "--detach", "--name", name, "--network", "none", *HARDENED,
           "--volume", f"{name}:/data", IMAGE)  # fmt: skip
    try:
        until("the container is healthy", lambda: engine.health(name) == "healthy")
        started = engine("exec", name, "recorder", "start", "pattern", "--frames", "50",
                         "--pace", "fast", "--json")  # fmt: skip
        session_id = json.loads(started)["session_id"]

        def is_sealed() -> bool:
            rows = json.loads(engine("exec", name, "recorder", "ls", "--json"))
            return any(row["state"] == "sealed" for row in rows)

        until("the session is sealed", is_sealed)
        folder = f"/data/sessions/{session_id}"
        report = json.loads(engine("exec", name, "recorder", "verify", folder, "--json"))
        expect("COMPLETE", report["verdict"], "verdict inside the container")
        engine("stop", "--time", "30", name)
        expect(0, engine.inspect(name)["State"]["ExitCode"], "exit code after stop")
    finally:
        engine("rm", "--force", name)
        engine("volume", "rm", "--force", name)


async def record_file(client: RecorderClient) -> str:
    """Record the demo's screen recording as fast as it can be read; the session's id."""
    source = {"kind": "file", "uri": "/media/screen.mkv", "pace": "fast"}
    started = await client.start(source, timeout_s=FACT_TIMEOUT_S)
    sealed = await client.wait_sealed(started.session_id, SEAL_TIMEOUT_S)
    expect("source_ended", str(sealed.reason), "reason of the seal")
    return started.session_id


async def record_through_kills(client: RecorderClient, project: Project) -> str:
    """Kill one container of every stage in mid-recording, then stop; the session's id."""
    started = await client.start({"kind": "pattern", "pace": "native"}, timeout_s=FACT_TIMEOUT_S)
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


def verify_outside(project: Project, session_id: str, verdicts: set[str]) -> dict[str, Any]:
    """Copy a recording out of its volume and verify it here."""
    with tempfile.TemporaryDirectory(prefix="recorder-smoke-") as folder:
        copy = Path(folder) / session_id
        project("cp", f"capture:/data/sessions/{session_id}", str(copy))
        command = [str(Path(sys.executable).with_name("recorder")), "verify", str(copy), "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SmokeError(f"recorder verify: exit {done.returncode}\n{done.stdout}{done.stderr}")
        report: dict[str, Any] = json.loads(done.stdout)
    if report["verdict"] not in verdicts:
        raise SmokeError(f"verdict: expected {' or '.join(verdicts)}, found {report['verdict']}")
    print(
        f"          {report['verdict']}, {report['totals']['frame_count']} frames, "
        f"{report['chunks']} chunks, {len(report['gaps'])} gaps, root {report['root_hash'][:16]}…"
    )
    return report


async def run_composed(project: Project, url: str) -> None:
    """One container a stage: record, scale, kill, verify outside."""
    with step("compose up --wait"):
        project.up()
    async with RecorderClient.connect(url) as client:
        with step("a file recorded and sealed"):
            undisturbed = await record_file(client)
        verify_outside(project, undisturbed, {"COMPLETE"})
        with step("compress scaled to 3"):
            project.up("--no-recreate", "--scale", "compress=3")
        expect(3, len(project.containers("compress")), "containers of compress")
        with step("every stage killed once in one recording"):
            killed = await record_through_kills(client, project)
        report = verify_outside(project, killed, {"COMPLETE", "COMPLETE_WITH_GAPS"})
    if report["totals"]["frame_count"] == 0:
        raise SmokeError("frames of the session with kills: expected some, found none")


def main() -> None:
    """Run it all; exit 1 with one clear message where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pipconf", default=os.environ.get("PIPCONF"), help="pip.conf for the build"
    )
    parser.add_argument("--cabundle", default=os.environ.get("CABUNDLE"), help="CAs for the build")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = f"recorder-smoke-{uuid.uuid4().hex[:8]}"
    environment = {
        "SESSION_RECORDER_IMAGE": IMAGE,
        "NATS_PORT": str(port),
        "MEDIA_DIR": str(ROOT / "demo"),
    }
    try:
        engine = Engine.found(environment)
        with step("image built"):
            build(engine, options)
        with step("one hardened container: recorded, verified inside, stopped"):
            run_alone(engine, name)
        with step("compose, from up to down -v"), Project(engine, name) as project:
            asyncio.run(run_composed(project, f"nats://127.0.0.1:{port}"))
    except SmokeError as error:
        sys.exit(f"container-test: {error}")
    print("container-test: passed")


if __name__ == "__main__":
    main()
