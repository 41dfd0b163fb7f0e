"""Packages of another Debian suite or architecture, through a private apt state.

The machine's own apt sources say where from, with the suite's name swapped, so that a mirror or a
proxy that is set up here is used; signatures are checked as ever. The machine's own package lists
and what is installed on it stay as they are.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
FAILED_TAIL = 2000


class LabError(Exception):
    """The lab cannot be had; the text says what was expected and what was found."""


def run(
    command: Sequence[str | Path],
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a program; its output. Raises LabError with the end of what it said."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-FAILED_TAIL:]
        raise LabError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{said}")
    return done.stdout


def unavailable() -> str:
    """Why this machine cannot be used; empty if it can."""
    if platform.system() != "Linux" or shutil.which("apt-get") is None:
        return "this is not a Debian system with apt-get"
    if os.geteuid() != 0:
        return "this is not root"
    if not any(path.is_file() for path in SOURCES):
        return f"none of {', '.join(map(str, SOURCES))} exists"
    return ""


def native_architecture() -> str:
    """Debian's name of what this machine is: amd64, arm64."""
    return run(["dpkg", "--print-architecture"]).strip()


def install(packages: Iterable[str]) -> None:
    """Install on this machine what is missing of these. Raises LabError."""
    missing = [name for name in packages if not _is_installed(name)]
    if not missing:
        return
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "install", "-y",
               "--no-install-recommends", *missing]  # fmt: skip
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(command, environment=quiet)
    except LabError:
        # Perhaps only the package lists are old or absent.
        run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"])
        run(command, environment=quiet)


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def sources(suite: str) -> tuple[str, str]:
    """The name and the text of apt sources for a suite, made from those of this machine."""
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    here = re.search(r"^VERSION_CODENAME=(\w+)$", release, re.MULTILINE)
    if here is None:
        raise LabError("expected VERSION_CODENAME in /etc/os-release, found none; use Debian")
    path = next(path for path in SOURCES if path.is_file())
    text = path.read_text(encoding="utf-8")
    return f"debian{path.suffix}", re.sub(rf"\b{here[1]}\b", suite, text)


class Packages:
    """The packages of one suite for one architecture, kept in a directory."""

    def __init__(self, state: Path, suite: str, architecture: str) -> None:
        self._root = state / f"{suite}-{architecture}"
        self.sources = self._root / "sources"
        self._suite = suite
        self._architecture = architecture

    def fetch(self, names: Sequence[str]) -> list[Path]:
        """The .deb files of these packages, newest versions, in the order of the names."""
        folder = self._root / "debs"
        if not folder.is_dir():
            self._update()
            folder.mkdir()
        missing = [name for name in names if not list(folder.glob(f"{name}_*.deb"))]
        if missing:
            run(["apt-get", *self._options(), "download", *missing], cwd=folder)
        return [next(folder.glob(f"{name}_*.deb")) for name in names]

    def unpack(self, names: Sequence[str], root: Path) -> None:
        """Unpack packages into a directory without running anything of theirs."""
        root.mkdir(parents=True, exist_ok=True)
        for file in self.fetch(names):
            run(["dpkg-deb", "--extract", file, root])

    def _update(self) -> None:
        for folder in ("sources", "lists/partial", "archives/partial"):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        name, text = sources(self._suite)
        (self.sources / name).write_text(text, encoding="utf-8")
        # Nothing is installed there: what is fetched depends on nothing here.
        (self._root / "status").touch()
        run(["apt-get", *self._options(), "update"])

    def _options(self) -> list[str]:
        settings = {
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": self.sources,
            "Dir::State": self._root,
            "Dir::State::Lists": self._root / "lists",
            "Dir::State::status": self._root / "status",
            "Dir::Cache": self._root,
        }
        return ["-qq", *(f"-o{name}={value}" for name, value in settings.items())]
