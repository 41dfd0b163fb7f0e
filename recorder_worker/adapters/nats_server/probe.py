"""Asks a nats-server over a plain socket whether its JetStream answers.

Four lines of the client protocol (docs.nats.io, "NATS Client Protocol") are all that is needed,
and keep NATS client libraries out of the adapters.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from recorder_worker.adapters.nats_server.config import HOST, NatsServerOptions

_REPLY = "_INBOX.recorder.probe"
_LINE_MAX_BYTES = 1 << 20


def read_port(ports_folder: Path, pid: int) -> int | None:
    """The port that the server of this pid says it listens on; None while it says nothing."""
    for path in ports_folder.glob(f"*_{pid}.ports"):
        try:
            urls = json.loads(path.read_text(encoding="utf-8")).get("nats", [])
        except (OSError, ValueError):
            return None  # being written
        if urls:
            return int(urls[0].rsplit(":", 1)[1])
    return None


async def jetstream_answers(port: int, options: NatsServerOptions) -> bool:
    """Whether JetStream's API answers on this port; False while nothing or not yet.

    The caller bounds the time.
    """
    try:
        reader, writer = await asyncio.open_connection(HOST, port, limit=_LINE_MAX_BYTES)
    except OSError:
        return False
    try:
        answer = await _ask(reader, writer, options)
    except (OSError, ValueError):
        return False
    finally:
        writer.close()
    return answer is not None and "error" not in answer


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: NatsServerOptions
) -> dict[str, object] | None:
    """JetStream's account info; None where there is no JetStream or the server hangs up."""
    banner = await reader.readline()
    if not banner.startswith(b"INFO ") or not json.loads(banner[5:]).get("jetstream"):
        return None
    writer.write(_request(options))
    while line := await reader.readline():
        if line.startswith(b"MSG "):
            answer: dict[str, object] = json.loads(await reader.readline())
            return answer
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")
    return None


def _request(options: NatsServerOptions) -> bytes:
    hello: dict[str, object] = {"verbose": False, "pedantic": False, "name": "recorder-probe"}
    if options.token:
        hello["auth_token"] = options.token
    elif options.user:
        hello |= {"user": options.user, "pass": options.password}
    lines = [
        f"CONNECT {json.dumps(hello)}",
        f"SUB {_REPLY} 1",
        f"PUB $JS.API.INFO {_REPLY} 0",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
