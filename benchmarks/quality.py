"""What watching the picture costs, and how many bytes thumbnails are.

Run as `python -m benchmarks quality`. Processor time, of all threads; medians. The watch is the one
of the capture stage with the settings that are in force where nobody sets others.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
from blake3 import blake3

from benchmarks.encryption import medians
from benchmarks.peers import print_table
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.keyframes import AvKeyframes
from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.ports import Coding, Frame, Packet
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.policies import SMALL_PICTURE_PIXELS, thumbnail_policy, watch_policy
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails

SESSION = "00000000-0000-4000-8000-000000000001"
DEMO = Path(__file__).parents[1] / "demo" / "screen.mkv"
SECOND_NS = 1_000_000_000
FPS = 10
SIZES = ((1280, 720), (1920, 1080), (3840, 2160))
REPEATED = 20
CODECS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}
"""Of packets that are copied, and who encodes them here."""
THUMBNAIL_MINUTES = 20


def demo() -> list[Picture]:
    """The pictures of the demo's clip."""
    capture = cv2.VideoCapture(str(DEMO), cv2.CAP_FFMPEG)
    found: list[Picture] = []
    while True:
        read, picture = capture.read()
        if not read:
            return found
        found.append(picture.astype("uint8"))


def watch(folder: Path, kind: str) -> PictureWatch:
    """The watch of a session that records a kind of source."""
    store, optics = DirectoryStore(folder), OpenCvOptics()
    policy, small = watch_policy(QualitySettings()), thumbnail_policy(ThumbnailSettings())
    if small is None:
        raise TypeError("thumbnails are off by default now")
    return PictureWatch(
        optics=optics,
        policy=policy,
        conditions=policy.told_of(kind),
        thumbnails=Thumbnails(
            store=store, session_id=SESSION, cipher=None, optics=optics, policy=small
        ),
    )


def time_a_look(picture: Picture) -> None:
    """Milliseconds of each part of one look, by the size of the picture."""
    optics, rows = OpenCvOptics(), {}
    for width, height in SIZES:
        large = cv2.resize(picture, (width, height)).astype("uint8")
        small = optics.shrink(large, (), SMALL_PICTURE_PIXELS)

        works: dict[str, Callable[[], object]] = {
            "shrink": lambda p=large: optics.shrink(p, (), SMALL_PICTURE_PIXELS),  # type: ignore[misc]
            "measure": lambda s=small: optics.measure(s),  # type: ignore[misc]
            "digest": lambda p=large: blake3(p.data).digest(),  # type: ignore[misc]
            "jpeg": lambda s=small: optics.jpeg(s.picture, 60),  # type: ignore[misc]
        }
        found = medians({name: _repeated(work) for name, work in works.items()})
        rows[f"{width}x{height}"] = tuple(
            f"{seconds / REPEATED * 1e3:.2f} ms" for seconds in found.values()
        )
    print_table("one look", rows, ("shrink", "measure", "digest", "JPEG"))


def _repeated(work: Callable[[], object]) -> Callable[[], None]:
    def again() -> None:
        for _ in range(REPEATED):
            work()

    return again


def time_a_minute(pictures: list[Picture]) -> None:
    """Processor seconds that the watch takes of a recorded minute at 10 frames a second."""
    large = [cv2.resize(picture, (1920, 1080)).astype("uint8") for picture in pictures[:60]]
    rows = {}
    for name, kind, changed in (
        ("a display that says that nothing changes", "x11", ()),
        ("a display in use", "x11", None),
        ("a camera or film", "file", None),
    ):
        taken = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                watching = watch(Path(folder), kind)
                shown = itertools.cycle(large)
                begin = time.process_time()
                for number in range(60 * FPS):
                    t_ns = number * SECOND_NS // FPS
                    frame = Frame(next(shown), t_ns, changed if number else None)
                    watching.see(frame, t_ns, number)
                taken.append(time.process_time() - begin)
                if not list(Path(folder).rglob("*.jpg")):
                    raise RuntimeError("expected a thumbnail, found none: the watch has stopped")
        rows[name] = (f"{sorted(taken)[1]:.3f} s",)
    print_table("1920x1080, of a recorded minute", rows, ("processor time",))


def keyframe(codec: str, picture: Picture) -> tuple[Coding, bytes]:
    """A picture as a camera sends it: by one of `CODECS`."""
    encoder: Any = av.CodecContext.create(CODECS[codec], "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base = Fraction(1, FPS)
    if codec != "mjpeg":
        encoder.options = {"preset": "veryfast", "x265-params": "log-level=none"}
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
    frame.pts = 0
    made = [*encoder.encode(frame.reformat(format=encoder.pix_fmt)), *encoder.encode(None)]
    return Coding(codec, bytes(encoder.extradata or b"")), bytes(made[0])


def time_a_keyframe(picture: Picture) -> None:
    """Milliseconds of decoding one keyframe, by its codec and its size."""
    decoder, rows = AvKeyframes(1 << 27, 1), {}
    for width, height in SIZES:
        large = cv2.resize(picture, (width, height)).astype("uint8")
        made = {codec: keyframe(codec, large) for codec in CODECS}
        found = medians(
            {
                codec: _repeated(lambda k=each: decoder.picture(*k))  # type: ignore[misc]
                for codec, each in made.items()
            }
        )
        rows[f"{width}x{height}"] = tuple(
            f"{seconds / REPEATED * 1e3:.1f} ms" for seconds in found.values()
        )
    print_table("one keyframe, decoded", rows, tuple(CODECS))


def time_a_copied_minute(picture: Picture) -> None:
    """Processor seconds of a recorded minute of packets, of which one a second is looked at."""
    large = cv2.resize(picture, (1920, 1080)).astype("uint8")
    rows = {}
    for codec in CODECS:
        coding, data = keyframe(codec, large)
        taken = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                metrics = Metrics(version="", node="")
                looks = KeyframeLooks(
                    decoder=AvKeyframes(1 << 27, 1),
                    watch=watch(Path(folder), "rtsp"),
                    look_ns=SECOND_NS,
                    clock=SystemClock(),
                    metrics=metrics,
                    waits=True,
                )
                begin = time.process_time()
                for second in range(60):
                    t_ns = second * SECOND_NS
                    packet = Packet(
                        video=True,
                        keyframe=True,
                        pts=second,
                        dts=second,
                        duration=1,
                        t_ns=t_ns,
                        data=data,
                    )
                    looks.see(packet, coding, second, t_ns)
                looks.finish()
                taken.append(time.process_time() - begin)
                seen = metrics.registry.get_sample_value(
                    "recorder_keyframe_looks_total", {"outcome": "seen"}
                )
                if seen != 60:
                    raise RuntimeError(f"expected 60 looks, found {seen}: the machine is too busy")
        rows[f"copied packets, {codec}"] = (f"{sorted(taken)[1]:.3f} s",)
    print_table("1920x1080, of a recorded minute", rows, ("processor time",))


def weigh_thumbnails(pictures: list[Picture]) -> None:
    """How many thumbnails an hour has, and their bytes; by what is shown."""
    pattern = PatternDesktop(PatternSource(width=1920, height=1080), fps=1)
    sources: dict[str, Iterator[Picture]] = {
        "a display that stands still, 1280x720": itertools.repeat(pictures[0]),
        "a desktop in use, 1920x1080": _pictures(pattern),
        "the demo's clip again and again, 1280x720": itertools.cycle(pictures[::FPS]),
    }
    rows = {}
    for name, shown in sources.items():
        with tempfile.TemporaryDirectory() as folder:
            watching = watch(Path(folder), "x11")
            for second in range(THUMBNAIL_MINUTES * 60):
                t_ns = second * SECOND_NS
                watching.see(Frame(next(shown), t_ns), t_ns, second)
            sizes = [path.stat().st_size for path in Path(folder).rglob("*.jpg")]
        hours = THUMBNAIL_MINUTES / 60
        rows[name] = (
            f"{len(sizes) / hours:.0f}",
            f"{sum(sizes) / hours / (1 << 20):.2f} MiB",
            f"{sum(sizes) / len(sizes) / 1024:.1f} KiB",
        )
    print_table("thumbnails", rows, ("an hour", "an hour", "each"))


def _pictures(pattern: PatternDesktop) -> Iterator[Picture]:
    while (frame := pattern.read()) is not None:
        yield frame.picture


def main() -> None:
    """Print them all."""
    pictures = demo()
    time_a_look(pictures[0])
    time_a_minute(pictures)
    time_a_keyframe(pictures[0])
    time_a_copied_minute(pictures[0])
    weigh_thumbnails(pictures)
