"""What encryption costs: sealing and opening payloads, and a whole recording with and without it.

Run as `python -m benchmarks encryption`. Payloads are paired with what every chunk costs anyway,
its two digests; recordings with the same ones unencrypted. All take turns; medians of processor
time.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from blake3 import blake3

from benchmarks.peers import print_table
from recorder_worker.adapters.age import AgeRecipients, new_identity
from recorder_worker.client import RecorderClient
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    EncryptionSettings,
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

SESSION = "00000000-0000-4000-8000-000000000001"
CHUNK = Place(PayloadKind.CHUNK, 1)
PAYLOAD_MIB = 16
"""As large as a chunk is stored at most."""
SOURCE = {"kind": "pattern", "width": 1920, "height": 1080, "frames": 300, "pace": "fast"}
ROUNDS = 5


def medians(works: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """The median seconds of processor time of each piece of work; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.process_time()
            work()
            times[name].append(time.process_time() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def time_payloads() -> None:
    """Seconds a GiB for one chunk after the other, on one core."""
    cipher = SessionCipher(SESSION, secrets.token_bytes(32))
    payload = secrets.token_bytes(PAYLOAD_MIB << 20)
    stored = b"".join(cipher.seal(CHUNK, payload))
    parts = [stored[at : at + (1 << 20)] for at in range(0, len(stored), 1 << 20)]

    def digested() -> None:
        for part in parts:
            blake3(part).digest()
            hashlib.sha256(part).digest()

    seconds = medians(
        {
            "BLAKE3 and SHA-256 of it": digested,
            "sealed": lambda: sum(map(len, cipher.seal(CHUNK, payload))),
            "opened": lambda: sum(map(len, cipher.unseal(CHUNK, parts))),
        }
    )
    rows = {
        name: (f"{found * 1024 / PAYLOAD_MIB:.2f} s", f"{PAYLOAD_MIB / found:.0f} MiB/s")
        for name, found in seconds.items()
    }
    title = f"a payload of {PAYLOAD_MIB} MiB, {len(stored) - len(payload)} bytes longer when stored"
    print_table(title, rows, ("a GiB", ""))


def time_wrapping() -> None:
    """What a session costs once: its key for two recipients."""
    wrap = AgeRecipients([new_identity()[1] for _ in range(2)], "benchmark")
    found = medians({"a key wrapped to two recipients": lambda: wrap.wrap(bytes(32))})
    rows = {name: (f"{seconds * 1e3:.2f} ms",) for name, seconds in found.items()}
    print_table("once a session", rows, ("median",))


async def recorded(recipients: tuple[str, ...]) -> tuple[float, int]:
    """Seconds of processor time to record and seal a session, and its stored bytes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=folder,
            nats=NatsSettings(port=-1, max_bytes=1 << 30),
            sidecar=SidecarSettings(port=-1),
            disk=DiskSettings(floor_bytes=0),
            encryption=EncryptionSettings(recipients=recipients),
        )
        worker = Worker(settings)
        await worker.start()
        try:
            async with RecorderClient.connect(worker.nats_urls[0]) as client:
                begin = time.process_time()
                started = await client.start(SOURCE)
                await client.wait_sealed(started.session_id, 300)
                taken = time.process_time() - begin
            chunks = Path(folder) / "sessions" / started.session_id / "chunks"
            return taken, sum(path.stat().st_size for path in chunks.iterdir())
        finally:
            await worker.stop()


def time_recordings() -> None:
    """A synthetic desktop, recorded with and without encryption, in turns."""
    ways = {"not encrypted": (), "encrypted": (new_identity()[1],)}
    rounds = [
        {name: asyncio.run(recorded(recipients)) for name, recipients in ways.items()}
        for _ in range(ROUNDS)
    ]
    base = statistics.median(found["not encrypted"][0] for found in rounds)
    rows = {}
    for name in ways:
        taken = statistics.median(found[name][0] for found in rounds)
        size = rounds[0][name][1]
        rows[name] = (f"{taken:.2f} CPU-s", f"{taken / base:.2f}x", f"{size / 1e6:.2f} MB")
    title = f"{SOURCE['frames']} frames of {SOURCE['width']}x{SOURCE['height']}, to the seal"
    print_table(title, rows, ("", "", "stored"))


def main() -> None:
    """Print the figures."""
    time_payloads()
    time_wrapping()
    time_recordings()


if __name__ == "__main__":
    main()
