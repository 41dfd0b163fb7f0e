#!/usr/bin/env python3
"""Follows the leaves of all sessions into an SQLite file: each exactly once, whatever is killed.

    python examples/pipeline_consumer.py --nats nats://127.0.0.1:4222 --database leaves.db

Needs nats-py. Kill it, start it again, run several of them: JetStream gives out what nobody has
acknowledged, and a leaf that comes again is known by its session and index. Lose the file, and a
new `--durable` name replays all that the stream remembers. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sqlite3
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

STREAM = "SESSIONS"
LEAVES = "session.compressed.*"
SEALS = "session.sealed.*"

TABLES = """
CREATE TABLE IF NOT EXISTS leaves (
    session_id TEXT, leaf INTEGER, kind TEXT, name TEXT, stored_size INTEGER, stored_sha256 TEXT,
    PRIMARY KEY (session_id, leaf));
CREATE TABLE IF NOT EXISTS seals (session_id TEXT PRIMARY KEY, tree_size INTEGER, root_hash TEXT);
"""


async def main() -> None:
    """Follow until told to stop."""
    options = arguments()
    database = sqlite3.connect(options.database)
    database.executescript(TABLES)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    try:
        subscription = await subscribe(bus.jetstream(), options.durable)
        print(f"following {STREAM} as {options.durable}", flush=True)
        while not stop.is_set():
            for message in await fetch(subscription):
                apply(database, message)
                # Acknowledged when it is durable here: a crash in between brings it once more.
                await message.ack()
    finally:
        await bus.close()
        database.close()


async def subscribe(js: JetStreamContext, durable: str) -> JetStreamContext.PullSubscription:
    """Create the durable consumer, or find it, and pull from it."""
    config = ConsumerConfig(
        durable_name=durable,
        filter_subjects=[LEAVES, SEALS],
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        max_ack_pending=1000,
    )
    await js.add_consumer(STREAM, config)
    return await js.pull_subscribe_bind(durable, STREAM)


async def fetch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    """The next messages; none where none come within a second."""
    try:
        return await subscription.fetch(100, timeout=1)
    except TimeoutError:
        return []


def apply(database: sqlite3.Connection, message: Msg) -> None:
    """One fact, in one transaction; one that was applied before changes nothing."""
    event: dict[str, Any] = json.loads(message.data)
    session = event["session_id"]
    with database:
        if event["type"] == "sealed":
            row = (session, event["tree_size"], event["root_hash"])
            done = database.execute("INSERT OR IGNORE INTO seals VALUES (?, ?, ?)", row)
        else:
            stored = (event.get(name) for name in ("name", "stored_size", "stored_sha256"))
            leaf = (session, event["index"], event["type"], *stored)
            done = database.execute("INSERT OR IGNORE INTO leaves VALUES (?, ?, ?, ?, ?, ?)", leaf)
    if done.rowcount:
        # Leaves come in any order: a session is whole when all below the seal's size are there.
        report(database, session)


def report(database: sqlite3.Connection, session: str) -> None:
    """Say when a session is whole."""
    seal = database.execute("SELECT tree_size FROM seals WHERE session_id = ?", (session,))
    count = database.execute("SELECT count(*) FROM leaves WHERE session_id = ?", (session,))
    size, (have,) = seal.fetchone(), count.fetchone()
    if size is not None and have == size[0]:
        print(f"whole {session}: {have} leaves", flush=True)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--database", default="leaves.db")
    parser.add_argument("--durable", default="example-pipeline")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
