"""Times the frame encoder and decoder, and counts bytes behind zstd.

Run as `python -m benchmarks`. Prints medians in milliseconds and bytes per frame. The
pictures are those of the pattern source, so that a second machine measures the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import zstandard

from recorder_worker.adapters.sources.opener import GuardedOpener
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.playback import FrameDecoder
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.sources.rules import SourceRules

WIDTH, HEIGHT, ROUNDS, FRAMES = 1920, 1080, 60, 200


def median_ms(work: Callable[[int], object]) -> float:
    """The median time of `work(round)`, in milliseconds."""
    times = []
    for index in range(ROUNDS):
        begin = time.perf_counter()
        work(index)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def time_encoder() -> None:
    """Identical, one tile changed, everything changed, and a keyframe."""
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    near = one.copy()
    near[500, 900] ^= 1
    cases = {
        "identical": (one, one, False),
        "one tile changed": (one, near, False),
        "everything changed": (one, other, False),
        "keyframe of noise": (one, one, True),
    }
    for name, (even, odd, keyframe) in cases.items():
        encoder = FrameEncoder()
        encoder.encode(odd, unit=0, t_ns=0, wall_ns=0, keyframe=True)
        pictures = (even, odd)

        def encode(
            index: int,
            encoder: FrameEncoder = encoder,
            pictures: tuple[np.ndarray, np.ndarray] = pictures,
            keyframe: bool = keyframe,  # noqa: FBT001  (bound here, never passed)
        ) -> None:
            encoder.encode(pictures[index % 2], unit=1, t_ns=0, wall_ns=0, keyframe=keyframe)

        print(f"encode {WIDTH}x{HEIGHT}, {name}: {median_ms(encode):.2f} ms")


def measure_pattern() -> None:
    """The synthetic desktop through encoder, zstd and decoder."""
    source = GuardedOpener(SourceRules())(
        PatternSource(width=WIDTH, height=HEIGHT, frames=FRAMES), 10.0, 0
    )
    encoder, encode_s = FrameEncoder(), 0.0
    records: list[bytes] = []
    while (frame := source.read()) is not None:
        begin = time.perf_counter()
        encoded = encoder.encode(
            frame.picture, unit=len(records), t_ns=frame.t_ns, wall_ns=0, keyframe=not records
        )
        encode_s += time.perf_counter() - begin
        records.append(bytes(encoded.data))
    source.close()
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=23, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    begin = time.perf_counter()
    stored = sum(len(compressor.compress(record)) for record in records)
    stored += len(compressor.flush())
    zstd_s = time.perf_counter() - begin
    decoder, begin = FrameDecoder(), time.perf_counter()
    for record in records:
        for _ in decoder.feed(record):
            pass
    decoder.finish()
    decode_s = time.perf_counter() - begin
    per_frame = 1e3 / FRAMES
    print(
        f"pattern, {FRAMES} frames: encode {encode_s * per_frame:.2f} ms, "
        f"zstd-3 w23 LDM {zstd_s * per_frame:.2f} ms, decode {decode_s * per_frame:.2f} ms a frame"
    )
    plain = sum(map(len, records))
    print(
        f"pattern: pixels {WIDTH * HEIGHT * 3} bytes a frame, "
        f"records {plain // FRAMES}, stored {stored // FRAMES}"
    )


def main() -> None:
    """Print the figures."""
    time_encoder()
    measure_pattern()


if __name__ == "__main__":
    main()
