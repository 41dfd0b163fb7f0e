"""Builds the image, runs it alone and as compose.yaml does, and verifies what came out.

Uses the container engine that is there (ENGINE=docker, ENGINE=podman); without one it brings up an
engine of its own, on Debian and as root (ENGINE=lab). ARM64=1 then builds for arm64, too, and runs
that image emulated. Needs this project's Python environment for
the client and the verifier on the outside: `make container-test`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from container import alone, composed, image
from container.debian import LabError
from container.engine import ROOT, Engine, Project, SmokeError
from container.foreign import ARCHITECTURE, emulated
from container.image import expect, step
from container.lab import Lab
from container.standins import PAIRS, StandIns
from container.users import Users
from xserver import XServer

STATE = ROOT / ".cache" / "container-lab"
LAB = "lab"
EX_UNAVAILABLE = 69


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def engine_of_machine(wanted: str | None, environment: dict[str, str]) -> Engine | None:
    """The engine that is there; None where the lab has to bring one. Raises LabError."""
    if wanted == LAB:
        return None
    engine = Engine.found(wanted, environment)
    if engine and os.environ.get("ARM64"):
        raise LabError(
            "ARM64: expected ENGINE=lab beside it, found an engine that is there; add it"
        )
    if engine is None and wanted:
        raise LabError(
            f"ENGINE: expected an engine with compose that answers, found that {wanted} does not;"
            " start it, or leave ENGINE out"
        )
    return engine


def bring_up_lab(held: ExitStack, environment: dict[str, str]) -> StandIns:
    """An engine of our own with the base images of a pair. Raises LabError."""
    pair = os.environ.get("PAIR") or "3.13"
    if pair not in PAIRS:
        raise LabError(f"PAIR: expected {' or '.join(PAIRS)}, found {pair}")
    with step("the lab's engine"):
        lab = held.enter_context(Lab(STATE))
    with step(f"the lab's base images, Python {pair}"):
        bases = StandIns(lab, PAIRS[pair])
        bases.make()
    environment |= image.machine_settings(environment)
    environment |= {"PYTHON_IMAGE": PAIRS[pair].builder, "RUNTIME_IMAGE": PAIRS[pair].runtime}
    environment |= lab.environment
    return bases


def run_for_arm64(engine: Engine, environment: dict[str, str], bases: StandIns) -> None:
    """Build across architectures; the result imports everything and answers, emulated."""
    name = image.NAME + "-arm64"
    with step("built for arm64 and run emulated"), emulated(bases.lab):
        environment = environment | {"RUNTIME_IMAGE": bases.make_foreign_runtime(ARCHITECTURE)}
        image.build(engine, environment, "--platform", f"linux/{ARCHITECTURE}", name=name)
        image.check_form(engine, name)
        expect(ARCHITECTURE, engine.inspect(name, "image")["Architecture"], "architecture")
        alone.check_hardened(engine, name)
        alone.check_wrong_setting(engine, name)


def run(engine: Engine, environment: dict[str, str], users: Users) -> None:
    """Everything, on an engine. Raises SmokeError."""
    name = f"recorder-smoke-{uuid.uuid4().hex[:8]}"
    with step("image built"):
        image.build(engine, environment)
    with step("labels, user, health check"):
        image.check_form(engine)
    with step("no shell, nothing to write, a wrong setting is named"):
        alone.check_hardened(engine)
        alone.check_wrong_setting(engine)
    with step("one hardened container: recorded, verified inside, stopped"):
        alone.record(engine, name)
    with display_of_machine() as display, step("compose, from up to down -v"):
        files = ["compose.yaml", *(["tests/container/display.yaml"] if display else [])]
        with Project(engine, name, files) as project:
            asyncio.run(composed.run(project, users, display))


@contextmanager
def display_of_machine() -> Iterator[str]:
    """An X display outside of all containers; empty where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        print("          no Xvfb: a pattern is recorded in place of a display", flush=True)
        yield ""
        return
    # Its clients are of another user, in a container.
    with XServer(options=["-ac"]) as server:
        yield server.display


def main() -> None:
    """Run it all; exit 1 where something is not as it should be, 69 where there is no engine."""
    # As Ctrl-C, so that everything is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    port = free_port()
    users = Users(port)
    names = (*image.BASES, *image.SECRETS.values())
    environment = {name: os.environ[name] for name in names if os.environ.get(name)} | {
        "SESSION_RECORDER_IMAGE": image.NAME,
        "NATS_PORT": str(port),
        "NATS_CONF": str(users.folder),
        "MEDIA_DIR": str(ROOT / "demo"),
    }
    with step("all of it"), ExitStack() as held:
        held.callback(users.forget)
        bases = None
        try:
            engine = engine_of_machine(os.environ.get("ENGINE") or None, environment)
            if engine is None:
                bases = bring_up_lab(held, environment)
                # The lab's containers reach nothing; only builds have to.
                engine = Engine("docker", environment, ("--network", "host"))
        except LabError as error:
            print(f"container-test: {error}", file=sys.stderr)
            sys.exit(EX_UNAVAILABLE)
        try:
            run(engine, environment, users)
            if bases and os.environ.get("ARM64"):
                run_for_arm64(engine, environment, bases)
        except (SmokeError, LabError) as error:
            sys.exit(f"container-test: {error}")
    print("container-test: passed")


if __name__ == "__main__":
    main()
