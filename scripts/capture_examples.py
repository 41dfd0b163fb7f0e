#!/usr/bin/env python3
"""Writes the examples of the AsyncAPI document: messages of a recorder that really ran.

    PYTHONPATH=tests .venv/bin/python scripts/capture_examples.py        or: make examples

Records the sessions of `tests/full_session.py` on a real nats-server, and keeps the first message
of each kind. Run it when a kind of message is new, or has changed; then `make schemas`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import full_session
from full_session import Message

from recorder_worker.bus.schemas.message_examples import FILE
from recorder_worker.service.observing import logs
from recorder_worker.service.settings.tree import LogSettings
from recorder_worker.service.stages import BOOT_ID_FILE

PLACE = "/srv/recorder"
AUTHORITY = "https://tsa.example/"
BOOT_ID = "1c5a3f0e-8f0b-4a53-9a86-2f2f6c5a7b10"


async def captured(folder: Path) -> list[Message]:
    """All messages of a run in a folder."""
    async with full_session.recorder_in(folder) as recorder:
        await full_session.run(recorder, folder)
        return await full_session.messages(recorder)


def example(message: Message, folder: Path) -> dict[str, Any]:
    """One message in AsyncAPI's form; of this machine only what says nothing about it."""
    text = message.data.decode().replace(str(folder), PLACE)
    if BOOT_ID_FILE.exists():
        text = text.replace(BOOT_ID_FILE.read_text().strip(), BOOT_ID)
    payload = json.loads(text)
    if "target" in payload:
        payload["target"] = AUTHORITY
    headers = {name: message.headers[name] for name in sorted(message.headers)}
    return {"name": payload.get("type", message.name), "headers": headers, "payload": payload}


def main() -> int:
    """Record, choose, write."""
    logs.configure(LogSettings(level="error"))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for message in asyncio.run(captured(folder)):
            if message.data != full_session.GARBAGE:
                made = example(message, folder)
                found.setdefault(message.name, {}).setdefault(made["name"], made)
    chosen = {name: [kinds[kind] for kind in sorted(kinds)] for name, kinds in found.items()}
    FILE.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{sum(map(len, chosen.values()))} examples of {len(chosen)} messages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
