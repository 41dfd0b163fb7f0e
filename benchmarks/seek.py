"""How long one picture takes, anywhere in a long recording: `python -m benchmarks seek`.

The recordings are made first, by a whole worker: an hour of a synthetic desktop takes some minutes.
`SEEK_SECONDS` sets how long it is (3600). Pictures are chosen at random, the same ones each time;
files are in the page cache. What it is compared with decodes all frames from the keyframe on.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers import ROUNDS, print_table, run
from benchmarks.recordings import desktop_recording, motion_recording
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.frames.playback import DecodedFrame, FrameDecoder
from recorder_worker.core.reading.checked_chunk import checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.reading.picture_finder import PictureFinder
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord

SECONDS = int(os.environ.get("SEEK_SECONDS", "3600"))
FRAMES_A_SECOND = 10
PICTURES, PLAYED = 500, 50
RECORDER = Path(sys.executable).with_name("recorder")


def played(recording: FolderRecording, unit: int) -> DecodedFrame:
    """The same picture by decoding every frame from its keyframe on."""
    records = [decode_record(data) for data in recording_records(recording)]
    chunks = [record for record in records if isinstance(record, ChunkRecord)]
    last = next(r for r in chunks if unit < r.span.first_unit + r.span.unit_count)
    wanted = [r for r in chunks if last.keyframe_index <= r.index <= last.index]
    for frame in _frames(recording, wanted):
        if frame.unit == unit:
            return frame
    raise SystemExit(f"unit {unit} was not found: these figures would mean nothing")


def _frames(recording: FolderRecording, chunks: list[ChunkRecord]) -> Iterator[DecodedFrame]:
    decoder = FrameDecoder()
    for record in chunks:
        for piece in checked_plain(recording, record, None):
            yield from decoder.feed(piece)


def processor_s() -> float:
    """Seconds of processor time of this process and of those that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def milliseconds(work: Callable[[int], object], units: list[int]) -> list[str]:
    """Median and 99th percentile over some units: of time, and of processor time.

    The second does not grow where other work takes the processor away.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for unit in units:
        begin = (time.perf_counter(), processor_s())
        work(unit)
        times[0].append(time.perf_counter() - begin[0])
        times[1].append(processor_s() - begin[1])
    return [
        f"{sorted(found)[len(found) * part // 100] * 1e3:.1f} ms"
        for found in times
        for part in (50, 99)
    ]


def time_pictures(title: str, folder: Path) -> None:
    """Pictures at random out of one recording."""
    recording = FolderRecording(folder)
    begin = time.perf_counter()
    finder = PictureFinder(recording)
    opened_ms = (time.perf_counter() - begin) * 1e3
    count = sum(1 for _ in recording_records(recording))
    ends = [
        record.span.first_unit + record.span.unit_count
        for data in recording_records(recording)
        if isinstance(record := decode_record(data), ChunkRecord)
    ]
    units = random.Random(1).choices(range(max(ends)), k=PICTURES)  # noqa: S311  (not for secrets)
    if (finder.at_unit(units[0]).picture != played(recording, units[0]).picture).any():
        raise SystemExit("the pictures differ: these figures would mean nothing")
    command = [str(RECORDER), "frame", str(folder), "picture.png", "--force", "--unit"]
    rows = {
        "the picture of a unit": milliseconds(finder.at_unit, units),
        "the picture at a time": milliseconds(
            lambda unit: finder.at_time(unit * 1_000_000_000 // FRAMES_A_SECOND), units
        ),
        "decoding from its keyframe on": milliseconds(
            lambda unit: played(recording, unit), units[:PLAYED]
        ),
        "`recorder frame`, a process": milliseconds(
            lambda unit: run([*command, str(unit)]), units[: ROUNDS * 3]
        ),
    }
    print_table(
        f"{title}: {max(ends)} frames, {len(ends)} chunks; its {count} records read in "
        f"{opened_ms:.1f} ms, once",
        rows,
        ("median", "p99", "CPU, median", "CPU, p99"),
    )


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        desktop = desktop_recording(Path(name) / "desktop", SECONDS * FRAMES_A_SECOND)
        time_pictures("a synthetic desktop, 1920x1080", desktop)
        (Path(name) / "motion").mkdir()
        motion = motion_recording(Path(name) / "motion")
        time_pictures("a 640x360 film of noise on 1920x1080", motion)


if __name__ == "__main__":
    main()
