#!/usr/bin/env python3
"""Follows who did what, and takes a token back that was denied too often.

    python examples/auth_service.py --denials 5 --within 60

Needs nats-py. A token that is denied so many times within so many seconds goes into the bucket
`recorder-revocations`, under its id (`jti`), with the reason; recorders look there before they
accept a command. It follows `audit.>` from where it was when it ended: nothing is missed while it
is down, and times are those at which the audit stream stored the facts. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from collections import defaultdict, deque
from datetime import datetime, timedelta

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

STREAM = "AUDIT"
BUCKET = "recorder-revocations"
KEY = re.compile(r"[-/_=.a-zA-Z0-9]+")


class Rule:
    """So many denials of one token within so long a time."""

    def __init__(self, denials: int, within: timedelta) -> None:
        self._denials = denials
        self._within = within
        self._recent: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def broken_by(self, token: str, at: datetime) -> bool:
        """Count one denial; whether the token has had too many now."""
        recent = self._recent[token]
        recent.append(at)
        while recent[0] < at - self._within:
            recent.popleft()
        return len(recent) >= self._denials


async def main() -> None:
    """Follow until told to stop."""
    options = arguments()
    rule = Rule(options.denials, timedelta(seconds=options.within))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    try:
        js = bus.jetstream()
        config = ConsumerConfig(
            durable_name=options.durable, filter_subject="audit.>", ack_policy=AckPolicy.EXPLICIT
        )
        await js.add_consumer(STREAM, config)
        subscription = await js.pull_subscribe_bind(options.durable, STREAM)
        revoked = await bucket(js)
        print(f"following {STREAM} as {options.durable}", flush=True)
        while not stop.is_set():
            try:
                messages = await subscription.fetch(100, timeout=1)
            except TimeoutError:
                continue
            for message in messages:
                await judge(message, rule, revoked)
                await message.ack()
    finally:
        await bus.close()


async def bucket(js: JetStreamContext) -> KeyValue:
    """The bucket of revoked tokens; made where no recorder has made it yet."""
    try:
        return await js.key_value(BUCKET)
    except NotFoundError:
        return await js.create_key_value(bucket=BUCKET)


async def judge(message: Msg, rule: Rule, revoked: KeyValue) -> None:
    """Revoke the token of a denial that was one too many."""
    fact = json.loads(message.data)
    if fact["type"] != "command_denied" or not KEY.fullmatch(fact["token_id"]):
        return  # nobody's token, or none that a bucket can name
    token, at = fact["token_id"], message.metadata.timestamp
    if rule.broken_by(token, at):
        reason = f"denied too often, last for {fact['command']}: {fact['reason']}"
        value = {"reason": reason, "actor": fact["actor"], "at": at.isoformat()}
        await revoked.put(token, json.dumps(value).encode())
        print(f"revoked {token} of {fact['actor']}", flush=True)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--denials", type=int, default=5)
    parser.add_argument("--within", type=float, default=60.0, help="Seconds.")
    parser.add_argument("--durable", default="example-auth")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
