"""What a word behind `recorder start` means."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from recorder_worker.cli.source_word import source_of
from recorder_worker.core.sources.kinds import Source


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("pattern", {"kind": "pattern", "pace": "fast"}),
        (":10", {"kind": "x11", "uri": ":10"}),
        ("host:1.0", {"kind": "x11", "uri": "host:1.0"}),
        ("{here}/a.mp4", {"kind": "file", "uri": "{here}/a.mp4", "pace": "fast"}),
        ("file:///a/b.mp4", {"kind": "file", "uri": "file:///a/b.mp4", "pace": "fast"}),
        ("{here}", {"kind": "images", "uri": "{here}", "pace": "fast"}),
        ("{here}/*.png", {"kind": "images", "uri": "{here}/*.png", "pace": "fast"}),
        ("{here}/%03d.png", {"kind": "images", "uri": "{here}/%03d.png", "pace": "fast"}),
        ("{here}/50%.mp4", {"kind": "file", "uri": "{here}/50%.mp4", "pace": "fast"}),
        ("/dev/video0", {"kind": "v4l2", "uri": "/dev/video0"}),
        ("rtsp://camera/door", {"kind": "rtsp", "uri": "rtsp://camera/door"}),
        ("rtsps://camera:322/x", {"kind": "rtsp", "uri": "rtsps://camera:322/x"}),
        ("nats:source.lab.frames", {"kind": "nats", "uri": "source.lab.frames"}),
    ],
)
def test_a_word_is_a_source(tmp_path: Path, word: str, wanted: dict[str, str]) -> None:
    (tmp_path / "50%.mp4").touch()
    found = source_of(word.format(here=tmp_path), "fast", None)
    assert found == {name: value.replace("{here}", str(tmp_path)) for name, value in wanted.items()}
    msgspec.convert(found, Source)
