"""What the embedded server is told, and where its files are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

HOST = "127.0.0.1"
FREE_PORT = -1


class NatsServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to run the server.

    Attributes:
        folder: where its files go; made if missing.
        port: the port on loopback; -1 for a free one.
        max_payload_bytes: the largest message.
        max_store_bytes: the most that all streams together may reserve. JetStream's own default,
            a share of the free disk, would refuse to make streams on a small disk although they
            are empty; each stream has its own limit.
        memory_bytes: where the server begins to give back what it has read: without a word from
            us it waits until it holds twice what it needs, 1.6 bytes for each byte of the journal.
        user, password, token: what clients have to show, where set.
        ready_timeout_s: how long the start may take. Recovering 100,000 messages takes 0.3 s.
        stop_timeout_s: how long a stop may take before the server is killed.
    """

    folder: Path
    port: int = FREE_PORT
    max_payload_bytes: int = 1_048_576
    max_store_bytes: int = 1 << 42
    memory_bytes: int = 268_435_456
    user: str = ""
    password: str = ""
    token: str = ""
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0

    def __repr__(self) -> str:
        return (
            f"NatsServerOptions(folder={str(self.folder)!r}, port={self.port}, user={self.user!r})"
        )

    @property
    def ports_folder(self) -> Path:
        """Where the server says on which port it listens."""
        return self.folder / "ports"

    @property
    def lock_file(self) -> Path:
        """Whose lock is held while a server runs on this folder."""
        return self.folder / "lock"

    @property
    def config_file(self) -> Path:
        """The server's configuration; readable by its owner only, for it may hold a password."""
        return self.folder / "server.conf"


def write_config(options: NatsServerOptions, port: int) -> Path:
    """Write the server's configuration; returns its path. Raises OSError."""
    options.ports_folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    for stale in options.ports_folder.glob("*.ports"):
        stale.unlink(missing_ok=True)  # of servers that were killed; a pid may come again
    path = options.config_file
    # Removed first: the mode of an existing file would stay as it is.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_text(options, port))
    return path


def _text(options: NatsServerOptions, port: int) -> str:
    folder = options.folder.absolute()
    lines = [
        "# Written by the recorder at every start; changes are lost.",
        f"host: {quoted(HOST)}",
        f"port: {port}",
        f"server_name: {quoted('recorder-embedded')}",
        f"ports_file_dir: {quoted(str(options.ports_folder.absolute()))}",
        f"max_payload: {options.max_payload_bytes}",
        "logtime: false",
        "jetstream {",
        f"  store_dir: {quoted(str(folder))}",
        "  max_memory_store: 268435456",
        f"  max_file_store: {options.max_store_bytes}",
        "  # An acknowledged message is on the disk: without this, a power cut takes back up to",
        "  # two minutes of them.",
        "  sync_interval: always",
        "}",
    ]
    if options.token:
        lines.append(f"authorization {{ token: {quoted(options.token)} }}")
    elif options.user:
        user, password = quoted(options.user), quoted(options.password)
        lines.append(f"authorization {{ user: {user}, password: {password} }}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Text as nats-server's configuration takes it: a JSON string, in which `$` means nothing."""
    return json.dumps(text, ensure_ascii=False)
