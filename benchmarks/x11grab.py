"""A live display, from the screen to stored bytes: ours beside FFmpeg's x11grab pipeline.

    .venv/bin/python -m benchmarks x11grab

Xvfb of 1920x1080 at 10 frames a second, on which a program of its own draws. Ours is the source,
the frame encoder, the spool and the chunks; beside it FFmpeg (through PyAV) grabs the same display
and throws the pixels away, or has x264 encode them, lossless and lossy, in one thread. Neither
records a pointer. The ways take turns; medians of the processor time of this process and of the X
server, less what drawing takes the server. `X11GRAB_SECONDS` sets the length of a turn (5).
"""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import av
from av.video.frame import PictureType

from benchmarks.displays import FPS, HEIGHT, LOADS, WIDTH, drawn_on, processor_s
from benchmarks.peers import print_table
from benchmarks.screen_codec import ScreenCodec
from benchmarks.video_codecs import VIDEO_CODECS, VideoCodec
from recorder_worker.adapters.sources.x11.source import X11Display
from recorder_worker.core.frames.pictures import Picture, Region
from recorder_worker.core.sources.kinds import X11Source

SECONDS = float(os.environ.get("X11GRAB_SECONDS", "5"))
ROUNDS = 3
FRAMES = round(SECONDS * FPS)
OURS = "ours"


class Cost(NamedTuple):
    """Processor seconds for a recorded minute, of reader and X server, and MB for an hour."""

    reader: float
    server: float
    size: float


class Live(Sequence[Picture]):
    """Pictures of a display, each read when it is due and asked for; `changed` is what it said."""

    def __init__(self, display: str) -> None:
        self._source = X11Display(X11Source(uri=display), display=display, fps=FPS)
        self._begin = time.monotonic()
        self.changed: list[tuple[Region, ...] | None] = [None] * FRAMES

    def __len__(self) -> int:
        return FRAMES

    @overload
    def __getitem__(self, unit: int) -> Picture: ...

    @overload
    def __getitem__(self, unit: slice) -> Sequence[Picture]: ...

    def __getitem__(self, unit: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(unit, slice):
            raise TypeError("a display has no slices")
        time.sleep(max(0.0, self._begin + unit / FPS - time.monotonic()))
        frame = self._source.read()
        self.changed[unit] = frame.changed
        return frame.picture

    def close(self) -> None:
        """Let go of the display."""
        self._source.close()


def ours(display: str) -> int:
    """Record for some seconds; bytes that are stored."""
    live = Live(display)
    try:
        return ScreenCodec().record(live, live.changed).stored_size
    finally:
        live.close()


def grabbed(display: str) -> Iterator[av.VideoFrame]:
    """What FFmpeg grabs in some seconds, at its own pace."""
    options = {"video_size": f"{WIDTH}x{HEIGHT}", "framerate": str(FPS), "draw_mouse": "0"}
    with av.open(display, format="x11grab", options=options) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == FRAMES:
                return
            yield frame


def raw(display: str) -> int:
    """Grab, and throw the pixels away; how many bytes they were."""
    return sum(plane.buffer_size for frame in grabbed(display) for plane in frame.planes)


def encoded(display: str, codec: VideoCodec) -> int:
    """Grab and encode in one thread; bytes of the packets."""
    context: Any = av.CodecContext.create(codec.codec, "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, codec.pixels
    context.framerate, context.options, context.thread_count = FPS, codec.options, 1
    size: int = 0
    for number, seen in enumerate(grabbed(display)):
        frame = seen.reformat(format=codec.pixels)
        frame.pict_type, frame.pts = PictureType.NONE, number
        size += sum(packet.size for packet in context.encode(frame))
    size += sum(packet.size for packet in context.encode(None))
    return size


def ways() -> dict[str, Callable[[str], int]]:
    """Each gives the bytes of `FRAMES` frames of a display."""
    found: dict[str, Callable[[str], int]] = {OURS: ours, "x11grab, thrown away": raw}
    for name, codec in VIDEO_CODECS.items():
        if not codec.intra:
            found[f"x11grab, {name}"] = functools.partial(encoded, codec=codec)
    return found


def measure(what: str, width: int, height: int) -> dict[str, Cost]:
    """The median cost of each way, of one load."""
    costs: dict[str, list[Cost]] = {way: [] for way in ways()}
    with drawn_on(what, width, height) as (display, pid):
        before_s, begin = processor_s(pid), time.monotonic()
        time.sleep(SECONDS)
        drawing = (processor_s(pid) - before_s) / (time.monotonic() - begin)
        for _ in range(ROUNDS):
            for way, record in ways().items():
                server_s, reader_s, begin = processor_s(pid), time.process_time(), time.monotonic()
                size = record(display)
                taken_s = time.monotonic() - begin
                reader_s = time.process_time() - reader_s
                server_s = processor_s(pid) - server_s - drawing * taken_s
                minute = 60 * FPS / FRAMES
                costs[way].append(
                    Cost(reader_s * minute, server_s * minute, size * 60 * minute / 1e6)
                )
    return {way: Cost(*map(statistics.median, zip(*each))) for way, each in costs.items()}  # noqa: B905  (all of one length)


def main() -> None:
    """Print the figures."""
    if shutil.which("Xvfb") is None:
        print("no Xvfb here: displays are not recorded")
        return
    for name, (what, width, height) in LOADS.items():
        costs = measure(what, width, height)
        own = sum(costs[OURS][:2])
        rows = {
            way: (
                *(f"{value:.2f}" for value in cost[:2]),
                f"{sum(cost[:2]) / own:.1f}x",
                f"{cost.size:.0f}",
                f"{cost.size / costs[OURS].size:.1f}x",
            )
            for way, cost in costs.items()
        }
        title = f"{name}: {WIDTH}x{HEIGHT} at {FPS} frames a second, medians of {ROUNDS} turns"
        heads = ("CPU-s a minute", "X server", "of ours", "MB an hour", "of ours")
        print_table(title, rows, heads)


if __name__ == "__main__":
    main()
