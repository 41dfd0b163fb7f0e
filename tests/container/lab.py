"""A Docker engine for a Debian machine that has none: unpacked, private, stopped at the end.

It makes no firewall rule, forwards nothing and has no bridge of its own: builds use the machine's
network, and published ports go through Docker's proxy. What it downloaded and built stays in its
directory, for the next run; what runs, and the volumes, go.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from container.debian import (
    FAILED_TAIL,
    LabError,
    Packages,
    install,
    native_architecture,
    run,
    unavailable,
)

# The first suite whose engine knows `start_interval`, and whose programs run on Debian 12, too.
SUITE = "trixie"
ENGINE = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd")
# Needed on the machine itself. iptables is for the name server inside of a container's network.
TOOLS = ("iptables", "mmdebstrap", "runc")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.1


class Lab:
    """The engine, running between enter and exit. Raises LabError where it cannot be had."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._engine = state / "engine"
        self._clean_up = ExitStack()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        if reason := unavailable():
            raise LabError(
                f"expected Debian and root, to bring up an engine for the test: {reason};"
                " install docker or podman with compose and start it"
            )
        self.state.mkdir(parents=True, exist_ok=True)
        with self._clean_up as clean_up:
            clean_up.enter_context(_locked(self.state))
            install(TOOLS)
            if not self._engine.is_dir():
                unpacked = self.state / "engine.partial"
                shutil.rmtree(unpacked, ignore_errors=True)
                packages = Packages(self.state, SUITE, native_architecture())
                packages.unpack(ENGINE, unpacked)
                unpacked.rename(self._engine)
            # A socket's path has to be short; a checkout's need not be.
            run_time = Path(tempfile.mkdtemp(prefix="container-lab-"))
            clean_up.callback(_forget, run_time)
            clean_up.enter_context(self._daemon(run_time))
            # What a killed run has left.
            self._empty()
            clean_up.callback(self._empty)
            self._clean_up = clean_up.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._clean_up.close()

    def docker(self, *arguments: str | Path) -> str:
        """Run a command of this engine; its output. Raises LabError."""
        return run(["docker", *arguments], environment=self.environment)

    @contextmanager
    def _daemon(self, run_time: Path) -> Iterator[None]:
        """The engine from when it answers until it has ended."""
        socket = run_time / "docker.sock"
        self._point_at(socket)
        settings = run_time / "daemon.json"
        settings.write_text("{}", encoding="utf-8")
        log = self.state / "dockerd.log"
        # Not those of an engine of the machine, and nothing in its network.
        command: list[str | Path] = [
            *("setpriv", "--pdeathsig", "TERM", "--"),
            *(self._engine / "usr/sbin/dockerd", "--config-file", settings),
            *("--host", f"unix://{socket}", "--pidfile", run_time / "docker.pid"),
            *("--exec-root", run_time / "exec", "--data-root", self.state / "docker"),
            *("--userland-proxy-path", self._engine / "usr/sbin/docker-proxy"),
            *("--storage-driver", "overlay2", "--bridge", "none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        ]
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_for(process, log)
            yield
        finally:
            _stop(process)

    def _point_at(self, socket: Path) -> None:
        programs = [str(self._engine / "usr/sbin"), str(self._engine / "usr/bin")]
        config = socket.parent / "config"
        config.mkdir()
        plugins = {"cliPluginsExtraDirs": [str(self._engine / "usr/libexec/docker/cli-plugins")]}
        (config / "config.json").write_text(json.dumps(plugins), encoding="utf-8")
        self.environment = {
            "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_CONFIG": str(config),
            "DOCKER_BUILDKIT": "1",
        }

    def _wait_for(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(LabError):
                self.docker("version")
                return
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-FAILED_TAIL:]
                raise LabError(f"dockerd did not come up; the end of {log}:\n{said}")
            time.sleep(POLL_S)

    def _empty(self) -> None:
        """No container, network or volume is left; images and the build cache are."""
        if found := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *found)
        self.docker("network", "prune", "--force")
        self.docker("volume", "prune", "--all", "--force")


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Two engines on one directory would damage it."""
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another run uses {state}; wait until it has ended") from None
        yield


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forget(run_time: Path) -> None:
    """Remove a directory in which an engine may have left mounts, namespaces for example."""
    mounted = Path("/proc/self/mounts").read_text(encoding="utf-8")
    points = [line.split()[1] for line in mounted.splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{run_time}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)
    shutil.rmtree(run_time, ignore_errors=True)
