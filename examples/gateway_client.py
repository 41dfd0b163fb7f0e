#!/usr/bin/env python3
"""Asks the recorder about its sessions, and watches them.

    python examples/gateway_client.py list --state sealed
    python examples/gateway_client.py get SESSION
    python examples/gateway_client.py proof SESSION --chunk NUMBER --out chunk.proof
    python examples/gateway_client.py stats
    python examples/gateway_client.py watch

Needs nats-py. Prints JSON, a line for each session; a refusal goes to stderr, with exit code 1.
`--token` goes along as the header `Authorization`, for a recorder that asks who asks. `recorder
verify-proof` checks a proof. `watch` goes on until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

API = "recorder.api"
BUCKET = "recorder-sessions"
ERROR_CODE = "Nats-Service-Error-Code"


async def ask(bus: Client, endpoint: str, token: str, **request: object) -> bytes:
    """One request; ends the program where it is refused."""
    given = {name: value for name, value in request.items() if value is not None}
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await bus.request(
        f"{API}.{endpoint}", json.dumps(given).encode(), timeout=30, headers=headers
    )
    if ERROR_CODE in (answer.headers or {}):
        error: dict[str, Any] = json.loads(answer.data)
        sys.exit("{code}: {field}: expected {expected}, got {got}; {hint}".format(**error))
    return answer.data


async def list_all(bus: Client, options: argparse.Namespace) -> None:
    """Page by page, the newest session in front."""
    before = ""
    while True:
        asked = {"state": options.state, "owner": options.owner, "before": before, "limit": 100}
        page: dict[str, Any] = json.loads(await ask(bus, "list", options.token, **asked))
        for session in page["sessions"]:
            print(json.dumps(session))
        if not (before := page["next"]):
            return


async def prove(bus: Client, options: argparse.Namespace) -> None:
    """Write the proof as it came: its bytes are what is checked."""
    asked = {"session_id": options.session, "chunk": options.chunk, "leaf": options.leaf}
    options.out.write_bytes(await ask(bus, "proof", options.token, **asked))
    print(f"check it: recorder verify-proof {options.out}")


async def watch(bus: Client) -> None:
    """Every entry as it is, then every change of one."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bucket = await bus.jetstream().key_value(BUCKET)
    watcher: Any = await bucket.watchall(ignore_deletes=True)
    while not stop.is_set():
        try:
            update = await watcher.updates(timeout=1)
        except TimeoutError:
            continue
        if update is not None:  # None: from here on it is what changes
            print(update.value.decode(), flush=True)
    await watcher.stop()


async def main() -> None:
    """Do what was asked for."""
    options = arguments()
    bus = await nats.connect(options.nats)
    try:
        match options.command:
            case "list":
                await list_all(bus, options)
            case "proof":
                await prove(bus, options)
            case "watch":
                await watch(bus)
            case "get":
                data = await ask(bus, "get", options.token, session_id=options.session)
                print(data.decode())
            case _:
                print((await ask(bus, "stats", options.token)).decode())
    finally:
        await bus.close()


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--token", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    lister = commands.add_parser("list")
    lister.add_argument("--state")
    lister.add_argument("--owner")
    commands.add_parser("get").add_argument("session")
    prover = commands.add_parser("proof")
    prover.add_argument("session")
    which = prover.add_mutually_exclusive_group(required=True)
    which.add_argument("--chunk", type=int)
    which.add_argument("--leaf", type=int)
    prover.add_argument("--out", type=Path, required=True)
    commands.add_parser("stats")
    commands.add_parser("watch")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
