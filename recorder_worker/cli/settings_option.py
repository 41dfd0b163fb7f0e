"""Loads the settings for a command, and what follows from them for a client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recorder_worker.core.errors import SettingsError

if TYPE_CHECKING:
    from recorder_worker.bus.connection.broker import Login
    from recorder_worker.service.settings.tree import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; else config/settings.yaml if it is there."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(help="File with the token for commands; else auth.bearer."),
]
NatsOption = Annotated[
    str | None,
    typer.Option("--nats", help="URL of the NATS server; else nats.url, else loopback."),
]


def load_settings(config: Path | None) -> Settings:
    """The settings. Raises SettingsError."""
    from recorder_worker.service.settings import loading  # noqa: PLC0415  (loads dynaconf)

    return loading.load(config)[0]


def client_login(config: Path | None, url: str | None) -> Login:
    """Where a client finds NATS: the option, the setting, or where the embedded server listens."""
    from recorder_worker.service import policies  # noqa: PLC0415  (loads NATS)

    settings = load_settings(config)
    found = url or settings.nats.url or f"nats://127.0.0.1:{settings.nats.port}"
    urls = tuple(part.strip() for part in found.split(",") if part.strip())
    return policies.login(settings, urls, "recorder cli")


def client_bearer(config: Path | None, token_file: Path | None) -> str:
    """The token that commands carry; empty where none is set.

    Raises:
        SettingsError: its file cannot be read.
    """
    if token_file is None:
        return load_settings(config).auth.bearer.strip()
    try:
        return token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"--token-file: expected a file with a token at {token_file}, found: {error}; correct "
            "the path"
        ) from error
