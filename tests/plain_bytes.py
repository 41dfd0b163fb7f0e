"""Looks for pictures that anybody can read: in every file of a folder, inflated where it can be."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.core.sources.kinds import PatternSource

MOST_INFLATED = 1 << 22


def needles(source: dict[str, object], frames: int = 3) -> list[bytes]:
    """Rows of pixels, as a tile has them, that are in the first frames of a pattern."""
    desktop = PatternDesktop(msgspec.convert(source, PatternSource), fps=10)
    found = set()
    for _ in range(frames):
        frame = desktop.read()
        assert frame is not None
        rows = (row[:64].tobytes() for row in frame.picture)
        found |= {row for row in rows if len(set(row)) > 3}
    assert len(found) > 5, "rows that could be anything"
    return sorted(found)


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that can still be read; a recorder that runs renames and removes some.

    Folders too, which `rglob` would stumble over.
    """
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    for path in sorted(found):
        try:
            if path.is_file():
                yield path, path.read_bytes()
        except FileNotFoundError:
            continue


def readable(folder: Path, wanted: list[bytes]) -> list[Path]:
    """The files in which one of the rows stands, plain or in any zstd frame."""
    return [
        path
        for path, data in files(folder)
        if any(row in text for text in (data, *_inflated(data)) for row in wanted)
    ]


def _inflated(data: bytes) -> Iterator[bytes]:
    at = data.find(zstandard.FRAME_HEADER)
    while at >= 0:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data[at:])
        with contextlib.suppress(zstandard.ZstdError):
            yield reader.read(MOST_INFLATED)
        at = data.find(zstandard.FRAME_HEADER, at + 1)


def holding(folder: Path, secret: bytes) -> list[Path]:
    """The files in which a secret stands: raw, in hexadecimal or in base64."""
    forms = (
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    )
    return [path for path, data in files(folder) if any(form in data for form in forms)]
