"""What a word behind `recorder start` means."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from recorder_worker.cli.named_values import rectangle_of
from recorder_worker.cli.source_word import source_of
from recorder_worker.core.errors import RefusedError
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
    pace = {"pace": "fast"} if "pace" in wanted else {}
    found = source_of(word.format(here=tmp_path), pace)
    assert found == {name: value.replace("{here}", str(tmp_path)) for name, value in wanted.items()}
    msgspec.convert(found, Source)


@pytest.mark.parametrize(
    ("word", "field", "have"),
    [
        (":10", {"pace": "fast"}, "file, pattern, images"),
        (":10", {"frames": 100}, "pattern"),
        ("talk.mp4", {"credentials": "door"}, "rtsp"),
        ("pattern", {"transport": "udp"}, "rtsp"),
        ("/dev/video0", {"region": {"x": 0, "y": 0, "width": 1, "height": 1}}, "x11"),
        ("nats:source.lab.frames", {"monitor": "DP-1"}, "x11"),
    ],
)
def test_what_does_not_fit_a_source_is_refused_and_not_ignored(
    word: str, field: dict[str, object], have: str
) -> None:
    with pytest.raises(RefusedError) as raised:
        source_of(word, field)
    assert raised.value.refusal.field == f"--{next(iter(field))}"
    assert raised.value.refusal.hint == f"sources of these kinds have it: {have}"


def test_fields_that_fit_are_kept() -> None:
    door = {"transport": "udp", "credentials": "door"}
    found = source_of("rtsp://camera/door", door)
    assert found == {"kind": "rtsp", "uri": "rtsp://camera/door", **door}


@pytest.mark.parametrize("word", ["http://camera/stream.mjpg", "rtmp://user:secret@host/live"])
def test_another_protocol_is_no_display(word: str) -> None:
    with pytest.raises(RefusedError, match="begins with rtsp://") as raised:
        source_of(word, {})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,x", "1,2,3,\N{SUPERSCRIPT TWO}", "1,2,3,-4", ""])
def test_what_is_no_rectangle_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="expected X,Y,WIDTH,HEIGHT"):
        rectangle_of("--mask", text)
