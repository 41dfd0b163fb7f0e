"""The judge of a chaos run finds what it is there for: each of these is what must never be."""

from __future__ import annotations

from typing import Any

import pytest
from chaos.plan import Session, Shape
from chaos.stored import Stored
from chaos.traffic import Sent, published_picture
from chaos.witnesses import (
    chatter_problems,
    lease_problems,
    left_problems,
    published_problems,
    unit_problems,
)
from reference_format import CHUNK, GAP, h

CRASH, DEAD = 5, 8


def span(first: int, count: int) -> dict[str, int]:
    return {"first_unit": first, "unit_count": count}


def captured(*bodies: tuple[str, str, dict[str, int]]) -> list[Stored]:
    """Events by type, lease and span, in their order."""
    return [
        Stored(
            sequence=n + 1,
            subject="session.captured.x",
            at_ns=n,
            key="",
            body={"type": kind, "lease": lease, "ordinal": n, "span": of, "reason": "crash"},
        )
        for n, (kind, lease, of) in enumerate(bodies)
    ]


def record(kind: int, of: dict[str, int], reason: int = CRASH) -> dict[str, Any]:
    return {"type": kind, "span": of, "reason": reason}


EVENTS = captured(
    ("segment", "a", span(0, 5)),
    ("segment", "a", span(5, 5)),
    ("epoch", "b", span(0, 0)),
    ("gap", "b", span(10, 2)),
    ("segment", "b", span(12, 3)),
)
WHOLE = [record(CHUNK, span(0, 10)), record(GAP, span(10, 2)), record(CHUNK, span(12, 3))]


def test_a_whole_record_has_no_problem() -> None:
    assert unit_problems(EVENTS, WHOLE) == []
    assert lease_problems(EVENTS) == []


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([record(CHUNK, span(0, 8)), *WHOLE[1:]], "acknowledged units in no chunk: [8, 9]"),
        ([WHOLE[0], *WHOLE], "units more than once"),
        ([WHOLE[0], WHOLE[2]], "captured gaps"),
        ([*WHOLE, record(CHUNK, span(15, 1))], "units that no segment was acknowledged of: [15]"),
    ],
)
def test_what_was_acknowledged_and_is_not_there_once_is_found(
    records: list[dict[str, Any]], problem: str
) -> None:
    assert any(problem in found for found in unit_problems(EVENTS, records))


def test_a_gap_that_is_told_again_and_again_is_found() -> None:
    empty = record(GAP, span(10, 0))
    assert chatter_problems([*WHOLE, empty, record(CHUNK, span(15, 1)), *[empty] * 19]) == []
    (problem,) = chatter_problems([*WHOLE, *[empty] * 600])
    assert "600" in problem


def test_an_orphan_of_the_spool_is_counted_and_all_else_that_a_seal_takes_away_is_found() -> None:
    (told,) = captured(("segment", "a", span(0, 5)))
    told.body["name"] = "segments/000000000000-aa.seg"
    whole = ["records", "seal", "chunks/0000000001.zst"]
    assert left_problems([told], whole) == (0, [])
    assert left_problems([told], [*whole, "segments/000000000000-bb.seg"]) == (1, [])
    for name in (told.body["name"], "journal/leaves/0000000001", "segments/.x", ".tmp/1"):
        _, (problem,) = left_problems([told], [*whole, name])
        assert name in problem


def test_a_dead_letter_in_place_of_a_chunk_is_told_apart() -> None:
    records = [record(GAP, span(0, 10), DEAD), *WHOLE[1:]]
    (found,) = unit_problems(EVENTS, records)
    assert "0 of them in no gap of dead letters" in found


def test_a_holder_that_writes_again_and_a_hand_over_without_a_gap_are_found() -> None:
    again = captured(
        ("segment", "a", span(0, 5)), ("gap", "b", span(5, 0)), ("segment", "a", span(5, 5))
    )
    assert any("a wrote again" in found for found in lease_problems(again))
    silent = captured(("segment", "a", span(0, 5)), ("segment", "b", span(5, 5)))
    found = lease_problems(silent)
    assert found == [
        "b began with segment, not with an epoch",
        "no gap before segment 1 of b",
    ]


def sent(accepted: list[int]) -> Sent:
    session = Session(number=0, session_id="x", shape=Shape.FRAMES, units=5, seed=11, marks=0)
    return Sent(session=session, started_ns=0, sent=6, accepted=accepted)


def shown(of: Sent, *numbers: int) -> list[dict[str, Any]]:
    return [
        {"pixels": h(published_picture(of.session, number).tobytes()).hex()} for number in numbers
    ]


def test_an_accepted_frame_may_be_missing_in_a_gap_and_nowhere_else() -> None:
    of = sent([0, 1, 2, 4])
    with_gap = [record(CHUNK, span(0, 2)), record(GAP, span(2, 0)), record(CHUNK, span(2, 1))]
    assert published_problems(of, with_gap, shown(of, 0, 1, 4)) == (1, [])
    lost, problems = published_problems(of, [record(CHUNK, span(0, 3))], shown(of, 0, 1, 4))
    assert lost == 1
    assert "no gap where accepted frames [2] are missing" in problems[0]
    _, problems = published_problems(of, [record(CHUNK, span(0, 3))], shown(of, 0, 1, 2))
    assert "no gap behind the last frame, and [4] were accepted" in problems[0]
    _, problems = published_problems(of, [record(CHUNK, span(0, 5))], shown(of, 0, 1, 1, 2, 4))
    assert problems == ["frame 1 behind frame 1"]
