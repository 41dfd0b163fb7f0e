"""What marks say, in words that a person understands, in `watch` and `verify`."""

from __future__ import annotations

import json

import msgspec
import pytest

from recorder_worker.core import notes
from recorder_worker.core.mark_words import MAX_WORDS, mark_words
from recorder_worker.core.model import Mask, SlowedBy
from recorder_worker.core.packets.film import Jump
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.quality.measures import Measures

CORNER = Mask(x=0, y=10, width=200, height=40)
SESSION = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0b"


def rate(from_fps: float, to_fps: float, reason: SlowedBy) -> str:
    body = notes.RateChanged(from_fps=from_fps, to_fps=to_fps, reason=reason, detail="measured so")
    return mark_words(notes.RATE, notes.note_text(body))


def test_masks_are_named_with_who_asked_for_them() -> None:
    body = notes.note_text(notes.MasksChanged(masks=(CORNER, CORNER), by="alice"))
    said = "blacked out: 200x40 at 0,10; 200x40 at 0,10, asked by alice"
    assert mark_words(notes.MASKS, body) == said
    assert mark_words(notes.MASKS, body.encode()) == said
    none = notes.note_text(notes.MasksChanged(masks=(), by=""))
    assert mark_words(notes.MASKS, none) == "nothing is blacked out any more"
    many = notes.note_text(notes.MasksChanged(masks=(CORNER,) * 64, by=""))
    assert mark_words(notes.MASKS, many).endswith("; 56 more")


def test_a_frame_rate_says_from_what_to_what_and_why() -> None:
    assert rate(10, 5, "overload") == (
        "lowered from 10 to 5 frames a second, for the machine is overloaded: measured so"
    )
    assert rate(10, 2.5, "behind") == (
        "lowered from 10 to 2.5 frames a second, for later stages are behind: measured so"
    )
    assert rate(2.5, 10, "behind") == "raised from 2.5 to 10 frames a second: measured so"


def test_the_other_marks_of_the_recorder() -> None:
    armed = notes.note_text(notes.Armed(pre_record_s=12.5, max_bytes=1024))
    assert mark_words(notes.ARMED, armed).startswith(
        "waits for a mark of type trigger; keeps the last 12.5 s"
    )
    change = QualityChange(
        condition=Condition.BLACK, state=Turn.BEGUN, since_ns=4_250_000_000, measures=Measures()
    )
    body = msgspec.json.encode(change)
    assert mark_words(notes.QUALITY, body) == "black begun, since 4.250 s"
    jump = Jump(what="backward", before=90_000, after=0, tick="1/90000", t_ns=5, waited_ns=7)
    assert mark_words(notes.TIMESTAMPS, msgspec.json.encode(jump)) == (
        "the source's times jumped backward by 1.000 s"
    )
    silence = msgspec.structs.replace(jump, what="silence", waited_ns=2_500_000_000)
    assert mark_words(notes.TIMESTAMPS, msgspec.json.encode(silence)) == (
        "the source sent nothing for 2.500 s"
    )


def test_a_clients_mark_is_its_text_and_its_data() -> None:
    command = {"session_id": SESSION, "text": "valve 7 opened", "data": {"ticket": "4711"}}
    assert mark_words("alarm", json.dumps(command)) == "valve 7 opened, ticket=4711"
    assert mark_words("alarm", json.dumps({"session_id": SESSION})) == ""


@pytest.mark.parametrize(
    "kind", ["note", *(notes.MASKS, notes.RATE, notes.ARMED, notes.QUALITY, notes.TIMESTAMPS)]
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[" * 60_000,
        b'"\\ud800"',
        b'{"what": "backward", "before": 1, "after": 0, "tick": "1/0", "t_ns": 1, "waited_ns": 1}',
        b'{"what": "x", "before": 0, "after": 1, "tick": "1e999999999", "t_ns": 1, "waited_ns": 1}',
        b'{"what": "x", "before": 0, "after": 9, "tick": "%b", "t_ns": 1, "waited_ns": 1}'
        % (b"9" * 9000),
        b"\x1b[2J\n" * 500,
    ],
)
def test_no_body_whatever_stops_it_or_does_anything_in_a_terminal(kind: str, body: bytes) -> None:
    said = mark_words(kind, body)
    assert len(said) <= MAX_WORDS
    assert said.isprintable()
