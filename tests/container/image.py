"""The image: built as `make image` builds it, and looked at from the outside."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from container.engine import ROOT, Engine, SmokeError

NAME = "session-recorder:smoke"
BASES = ("PYTHON_IMAGE", "RUNTIME_IMAGE")
SECRETS = {"pipconf": "PIPCONF", "cabundle": "CABUNDLE"}
"""Build secrets by the variable that names their file."""
MB = 1_000_000


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


def labels() -> dict[str, str]:
    """The build arguments that `make image` gives, by name."""
    printed = subprocess.run(
        ["make", "--silent", "--no-print-directory", "image-labels"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return dict(line.split("=", 1) for line in printed.splitlines())


def build(engine: Engine, environment: Mapping[str, str], *options: str, name: str = NAME) -> None:
    """Build the image, with the secrets that a build behind a proxy needs."""
    arguments = ["build", "--file", "Containerfile", "--tag", name, *engine.build_options, *options]
    given = {name: environment[name] for name in BASES if environment.get(name)} | labels()
    for key, value in given.items():
        arguments += ["--build-arg", f"{key}={value}"]
    for secret, variable in SECRETS.items():
        if environment.get(variable):
            arguments += ["--secret", f"id={secret},src={environment[variable]}"]
    engine(*arguments, ".")


def check_form(engine: Engine, name: str = NAME) -> None:
    """What the image says of itself: who runs, what is asked for health, where it comes from."""
    found = engine.inspect(name, "image")
    config = found["Config"]
    expect("65532:65532", config["User"], "user of the image")
    expect(["recorder"], config["Entrypoint"], "entry point of the image")
    health = config["Healthcheck"]["Test"][:2]
    expect(["CMD", "/usr/bin/python3"], health, "health check, which needs no shell")
    for key, value in labels().items():
        label = f"org.opencontainers.image.{key.lower()}"
        expect(value, config["Labels"].get(label), f"label {label}")
    print(f"          {found['Architecture']}, {found['Size'] // MB} MB", flush=True)


def machine_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The files that tell pip on this machine where packages are and whom it trusts."""
    certificates = os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt"
    files = {"PIPCONF": "/etc/pip.conf", "CABUNDLE": certificates}
    return {
        variable: path
        for variable, path in files.items()
        if not environment.get(variable) and os.access(path, os.R_OK)
    }
