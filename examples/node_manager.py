#!/usr/bin/env python3
"""Shows every worker: what it runs, records and uses; marks those that are silent or draining.

    python examples/node_manager.py --nats nats://127.0.0.1:4222
    python examples/node_manager.py --once --json

Needs nats-py. A worker is silent when nothing came from it for three heartbeats, by the server's
clock. It reads the newest word of each worker first, so a table is there at once. Ctrl-C or SIGTERM
ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from datetime import UTC, datetime
from typing import Any

import nats
from nats.js.api import DeliverPolicy

STREAM = "NODES"
FACTS = "integration.node.>"
SILENT_BEATS = 3
HEAD = ("worker", "state", "stages", "sessions", "cpu %", "load", "memory free", "disk free", "fps")
GIB = 1 << 30


class Table:
    """The newest heartbeat of each worker, and whether it is draining."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, datetime] = {}
        self._draining: set[str] = set()

    def hear(self, fact: dict[str, Any], at: datetime) -> None:
        """Take a fact in, in any order."""
        worker = fact["worker"]
        if fact["type"] == "node_draining":
            self._draining.add(worker)
        if at >= self._heard.get(worker, at):
            self._heard[worker] = at
            self._newest[worker] = self._newest.get(worker, {}) | fact

    def rows(self, now: datetime) -> list[dict[str, Any]]:
        """One row for each worker, sorted by name."""
        return [
            {"state": self._state(worker, fact, now), **fact}
            for worker, fact in sorted(self._newest.items())
        ]

    def _state(self, worker: str, fact: dict[str, Any], now: datetime) -> str:
        if worker in self._draining:
            return "draining"
        quiet_s = (now - self._heard[worker]).total_seconds()
        return "SILENT" if quiet_s > SILENT_BEATS * fact["heartbeat_s"] else "alive"


async def main() -> None:
    """Show the table until told to stop."""
    options = arguments()
    table, stop = Table(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    try:
        subscription = await bus.jetstream().subscribe(
            FACTS,
            stream=STREAM,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
        )
        while not stop.is_set():
            await listen(subscription, table, 1.0 if options.once else options.every)
            show(table.rows(datetime.now(UTC)), as_json=options.json)
            if options.once:
                return
    finally:
        await bus.close()


async def listen(subscription: Any, table: Table, for_s: float) -> None:  # noqa: ANN401  (nats-py's)
    """Take in what comes for a while."""
    end = asyncio.get_running_loop().time() + for_s
    while (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            message = await subscription.next_msg(timeout=left)
        except TimeoutError:
            return
        table.hear(json.loads(message.data), message.metadata.timestamp)


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the table, or a line of JSON."""
    if as_json:
        print(json.dumps(rows), flush=True)
        return
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row as text; what no heartbeat has told yet is empty."""
    load = row.get("load", {})
    rate = row["frames"] / row["since_s"] if row.get("since_s") else 0.0
    return (
        row["worker"],
        row["state"],
        ",".join(row["stages"]),
        f"{len(row['sessions'])}/{row['capacity']}",
        f"{load.get('cpu_percent', 0):.0f}",
        f"{load.get('load_1m', 0):.2f}",
        f"{load.get('memory_available_bytes', 0) / GIB:.1f} GiB",
        f"{load.get('disk_free_bytes', 0) / GIB:.1f} GiB",
        f"{rate:.1f}",
    )


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between two tables.")
    parser.add_argument("--once", action="store_true", help="Show what is known, and end.")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
