"""The whole chain on a real nats-server, against the same frames without bus and stages.

Run as `python -m benchmarks`. Each row is the median of some rounds: a worker with all stages in
a process of its own records a synthetic desktop as fast as it can be read. The peer does what no
recorder can do less of: draw, encode, compress and digest the same frames in one loop.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from pathlib import Path

import zstandard
from blake3 import blake3

from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.client import RecorderClient
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.sources.rules import SourceRules
from recorder_worker.service.observing import logs
from recorder_worker.service.settings.disk import DiskSettings
from recorder_worker.service.settings.tree import (
    LogSettings,
    NatsSettings,
    Settings,
    SidecarSettings,
)
from recorder_worker.service.worker import Worker

FRAMES, WIDTH, HEIGHT, ROUNDS = 300, 1280, 720, 3
SOURCE = PatternSource(width=WIDTH, height=HEIGHT, frames=FRAMES, pace="fast")


def bare_loop() -> float:
    """Seconds of processor time for the frames alone."""
    begin = time.process_time()
    source = GuardedOpener(SourceRules())(SOURCE, 10, 0)
    encoder = FrameEncoder()
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=23, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    digest = blake3()
    unit = 0
    while (frame := source.read()) is not None:
        record = encoder.encode(
            frame.picture, unit=unit, t_ns=frame.t_ns, wall_ns=0, keyframe=False
        )
        digest.update(stream.compress(record.data))
        unit += 1
    digest.update(stream.flush())
    return time.process_time() - begin


async def recorded(sessions: int) -> tuple[float, float]:
    """Seconds, and seconds of processor time, to record and seal some sessions at once."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=folder,
            nats=NatsSettings(port=-1),
            sidecar=SidecarSettings(port=-1),
            disk=DiskSettings(floor_bytes=0),
        )
        worker = Worker(settings)
        await worker.start()
        try:
            async with RecorderClient.connect(worker.nats_urls[0]) as client:
                begin, cpu = time.perf_counter(), time.process_time()
                source = {"kind": "pattern", "width": WIDTH, "height": HEIGHT, "frames": FRAMES}
                started = await asyncio.gather(
                    *(client.start(source | {"pace": "fast"}) for _ in range(sessions))
                )
                for session in started:
                    await client.wait_sealed(session.session_id, 300)
                return time.perf_counter() - begin, time.process_time() - cpu
        finally:
            await worker.stop()


def main() -> None:
    """Print the table."""
    logs.configure(LogSettings(level="error"))
    print(f"{FRAMES} frames of {WIDTH}x{HEIGHT} a session, median of {ROUNDS} rounds")
    bare = statistics.median(bare_loop() for _ in range(ROUNDS))
    print(f"{'frames alone, no bus':<24} {bare:6.2f} CPU-s   1.00x")
    for sessions in (1, 4):
        rounds = [asyncio.run(recorded(sessions)) for _ in range(ROUNDS)]
        wall = statistics.median(seconds for seconds, _ in rounds)
        cpu = statistics.median(seconds for _, seconds in rounds) / sessions
        rate = FRAMES * sessions / wall
        print(
            f"{f'recorded, {sessions} at once':<24} {cpu:6.2f} CPU-s {cpu / bare:6.2f}x"
            f"   {rate:7.0f} frames/s sealed"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"peak memory of the process: {peak:.0f} MiB; {Path('/proc/loadavg').read_text()[:14]}load"
    )


if __name__ == "__main__":
    main()
