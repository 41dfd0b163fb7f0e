#!/usr/bin/env python3
"""Copies every sealed recording to another directory, verifies the copy, and only then keeps it.

    python examples/storage_consumer.py --nats nats://127.0.0.1:4222 --into /srv/archive

Needs nats-py, the `recorder` command for verifying, and to see the recorder's data directory. A
copy is made under another name and renamed when it holds, so what has a session's name is whole.
It waits up to half a minute for the proof that the session stands in the log of sessions. Ctrl-C
or SIGTERM ends it; what was not finished comes again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

STREAM = "INTEGRATION"
STORED = "integration.storage.stored"
WHOLE = {"COMPLETE", "COMPLETE_WITH_GAPS"}
RECORDER = shutil.which("recorder") or str(Path(sys.executable).with_name("recorder"))


async def main() -> None:
    """Copy until told to stop."""
    options = arguments()
    options.into.mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    try:
        subscription = await subscribe(bus.jetstream(), options.durable)
        print(f"copying into {options.into}", flush=True)
        while not stop.is_set():
            for message in await fetch(subscription):
                await handle(message, options.into)
    finally:
        await bus.close()


async def subscribe(js: JetStreamContext, durable: str) -> JetStreamContext.PullSubscription:
    """Create the durable consumer, or find it, and pull from it; a copy may take ten minutes."""
    config = ConsumerConfig(
        durable_name=durable, filter_subject=STORED, ack_policy=AckPolicy.EXPLICIT, ack_wait=600
    )
    await js.add_consumer(STREAM, config)
    return await js.pull_subscribe_bind(durable, STREAM)


async def fetch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    """The next message; none where none comes within a second."""
    try:
        return await subscription.fetch(1, timeout=1)
    except TimeoutError:
        return []


async def handle(message: Msg, into: Path) -> None:
    """Copy one recording, and say to JetStream what became of it."""
    stored: dict[str, Any] = json.loads(message.data)
    source, target = Path(stored["location"]), into / stored["session_id"]
    if target.exists():
        await message.ack()  # it came again
        return
    if not (source / "proofs" / "seal").exists() and message.metadata.num_delivered <= 30:
        await message.nak(delay=1)  # the log of sessions is a moment behind the seal
        return
    verdict = await asyncio.to_thread(copy, source, target)
    if verdict in WHOLE:
        print(f"kept {stored['session_id']}: {verdict}", flush=True)
        await message.ack()
    else:
        # Trying again would give the same: somebody has to look at it.
        print(f"REFUSED {stored['session_id']}: {verdict}", flush=True)
        await message.term()


def copy(source: Path, target: Path) -> str:
    """Copy and verify; gives the verdict. The copy is kept if it is whole."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(source, part)
    except OSError as error:
        return f"cannot be copied: {error}"
    command = [RECORDER, "verify", str(part), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(ended.stdout) if ended.stdout else {}
    verdict: str = report.get("verdict", f"not verified: {ended.stderr.strip()}")
    if verdict in WHOLE:
        part.rename(target)
    return verdict


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--into", type=Path, required=True, help="Where copies go.")
    parser.add_argument("--durable", default="example-storage")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
