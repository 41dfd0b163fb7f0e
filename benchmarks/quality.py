"""What watching the picture costs, and how many bytes thumbnails are.

Run as `python -m benchmarks quality`. Processor time, of all threads; medians. The watch is the one
of the capture stage with the settings that are in force where nobody sets others.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
from blake3 import blake3

from benchmarks.encryption import medians
from benchmarks.peers import print_table
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import Cursor
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.ports import Frame
from recorder_worker.service.policies import SMALL_PICTURE_PIXELS, thumbnail_policy, watch_policy
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails

SESSION = "00000000-0000-4000-8000-000000000001"
DEMO = Path(__file__).parents[1] / "demo" / "screen.mkv"
SECOND_NS = 1_000_000_000
FPS = 10
SIZES = ((1280, 720), (1920, 1080), (3840, 2160))
REPEATED = 20
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


def watch(folder: Path, kind: str) -> tuple[PictureWatch, SegmentWriter]:
    """The watch of a session that records a kind of source, and the writer that it looks at."""
    store, optics = DirectoryStore(folder), OpenCvOptics()
    policy, small = watch_policy(QualitySettings()), thumbnail_policy(ThumbnailSettings())
    if small is None:
        raise TypeError("thumbnails are off by default now")
    writer = SegmentWriter(
        store=store,
        session_id=SESSION,
        clock=SystemClock(),
        cursor=Cursor(unit=1),  # as if the frame of unit 0 had been added
        limits=SegmentLimits(duration_ns=SECOND_NS, plain_size=1 << 25, level=1),
        keyframes=KeyframePolicy(),
        masks=(),
    )
    watching = PictureWatch(
        writer=writer,
        optics=optics,
        policy=policy,
        conditions=policy.told_of(kind),
        thumbnails=Thumbnails(
            store=store, session_id=SESSION, cipher=None, optics=optics, policy=small
        ),
    )
    return watching, writer


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
                watching, writer = watch(Path(folder), kind)
                shown = itertools.cycle(large)
                begin = time.process_time()
                for number in range(60 * FPS):
                    t_ns = number * SECOND_NS // FPS
                    writer.restart(Cursor(unit=number + 1, t_ns=t_ns))  # as if it were added
                    watching.see(Frame(next(shown), t_ns, changed if number else None), t_ns)
                taken.append(time.process_time() - begin)
                if not list(Path(folder).rglob("*.jpg")):
                    raise RuntimeError("expected a thumbnail, found none: the watch has stopped")
        rows[name] = (f"{sorted(taken)[1]:.3f} s",)
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
            watching, writer = watch(Path(folder), "x11")
            for second in range(THUMBNAIL_MINUTES * 60):
                t_ns = second * SECOND_NS
                writer.restart(Cursor(unit=second + 1, t_ns=t_ns))
                watching.see(Frame(next(shown), t_ns), t_ns)
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
    """Print all three."""
    pictures = demo()
    time_a_look(pictures[0])
    time_a_minute(pictures)
    weigh_thumbnails(pictures)
