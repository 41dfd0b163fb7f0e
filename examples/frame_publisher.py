#!/usr/bin/env python3
"""Publishes pictures to be recorded, one after the other, each behind the answer to the last.

    python examples/frame_publisher.py --subject source.lab.frames --fps 10 one.png two.png
    nats pub session.start '{"source":{"kind":"nats","uri":"source.lab.frames"}}'

Needs nats-py. Takes PNG, JPEG, WebP and BMP files of at most what the server allows in a message
(1 MiB, where nothing else is set). Start it before the session or behind it: it waits for whoever
records. A refused picture is told on stderr, and is a gap in the recording. Ctrl-C or SIGTERM ends
it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".bmp": "bmp"}


async def publish(bus: Client, subject: str, files: list[Path], fps: float) -> None:
    """All that it takes: what it is, when it was made, and which one it is by our count."""
    for number, path in enumerate(files):
        headers = {
            "Content-Type": f"image/{TYPES[path.suffix.lower()]}",
            "Recorder-Time": str(time.time_ns()),
            "Recorder-Sequence": str(number),
        }
        answer = await answered(bus, subject, path.read_bytes(), headers)
        report(path, json.loads(answer.data))
        await asyncio.sleep(1 / fps)
    await answered(bus, subject, b"", {"Recorder-End": "1"})


async def answered(bus: Client, subject: str, data: bytes, headers: dict[str, str]) -> Msg:
    """The recorder's answer. While nobody records, and in a pause, it is asked again."""
    while True:
        try:
            answer = await bus.request(subject, data, timeout=5, headers=headers)
            if (answer.headers or {}).get("Recorder-Status") not in {"paused", "ended"}:
                return answer
        except (NoRespondersError, TimeoutError):
            pass
        await asyncio.sleep(0.1)
        if "Recorder-Time" in headers:
            headers["Recorder-Time"] = str(time.time_ns())


def report(path: Path, answer: dict[str, str]) -> None:
    """One line for each picture."""
    if answer["status"] in {"accepted", "duplicate"}:
        print(f"{path.name}: {answer['status']}", flush=True)
    else:
        words = f"{answer['field']}: expected {answer['expected']}, found {answer['got']}"
        print(f"{path.name}: {answer['status']}, {words}; {answer['hint']}", file=sys.stderr)


async def main() -> None:
    """Publish until the end, or until told to stop."""
    options = arguments()
    bus = await nats.connect(options.nats, max_reconnect_attempts=-1)
    work = asyncio.create_task(publish(bus, options.subject, options.files, options.fps))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        pass
    finally:
        await bus.close()


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=picture)
    parser.add_argument("--nats", default="nats://127.0.0.1:4222")
    parser.add_argument("--subject", default="source.lab.frames")
    parser.add_argument("--fps", type=float, default=10.0)
    return parser.parse_args()


def picture(text: str) -> Path:
    """A file whose name tells which kind of picture it is."""
    path = Path(text)
    if path.suffix.lower() not in TYPES or not path.is_file():
        raise argparse.ArgumentTypeError(
            f"expected a file named *{', *'.join(TYPES)}, found {text}"
        )
    return path


if __name__ == "__main__":
    asyncio.run(main())
