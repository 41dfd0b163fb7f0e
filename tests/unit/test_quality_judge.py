"""From measures to conditions: nothing flaps, nothing is said too early, all of it is said once."""

from __future__ import annotations

import msgspec
import pytest
from quality_pictures import ALL, POLICY, SECOND_NS

from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.quality.judge import Look, QualityJudge
from recorder_worker.core.quality.measures import Measures

PLAIN = Measures(peak=200, contrast=40, flat=0.2, chroma=10, blur=0.3)
SHOWS: dict[Condition, Measures] = {
    Condition.BLACK: msgspec.structs.replace(PLAIN, peak=5, contrast=1),
    Condition.NO_SIGNAL: msgspec.structs.replace(PLAIN, flat=0.99, chroma=200, contrast=5),
    Condition.BLURRED: msgspec.structs.replace(PLAIN, blur=0.8),
}
BETWEEN: dict[Condition, Measures] = {
    Condition.BLACK: msgspec.structs.replace(PLAIN, peak=30),
    Condition.NO_SIGNAL: msgspec.structs.replace(PLAIN, flat=0.92, chroma=200),
    Condition.BLURRED: msgspec.structs.replace(PLAIN, blur=0.69),
}
DURATION_S = {
    Condition.BLACK: 2,
    Condition.NO_SIGNAL: 3,
    Condition.BLURRED: 5,
    Condition.FROZEN: 10,
}

measured = pytest.mark.parametrize("condition", SHOWS, ids=str)


class Watched:
    """A judge that is shown a picture a second; every picture is another one."""

    def __init__(self, *conditions: Condition) -> None:
        self.judge = QualityJudge(POLICY, conditions or ALL)
        self.at_s = -1
        self.still_since_s = 0
        self.changes: list[tuple[int, QualityChange]] = []

    def show(self, measures: Measures, times: int = 1, *, still: bool = False) -> Watched:
        for _ in range(times):
            self.at_s += 1
            if not still:
                self.still_since_s = self.at_s
            look = Look(
                t_ns=self.at_s * SECOND_NS,
                still_since_ns=self.still_since_s * SECOND_NS,
                measures=measures,
            )
            self.changes += [(self.at_s, change) for change in self.judge.see(look)]
        return self

    @property
    def said(self) -> list[tuple[int, Condition, Turn, int]]:
        """When, what, and since when; in seconds."""
        return [
            (at_s, change.condition, change.state, change.since_ns // SECOND_NS)
            for at_s, change in self.changes
        ]


@measured
def test_a_condition_is_told_once_with_the_time_of_its_first_picture(condition: Condition) -> None:
    lasts_s = DURATION_S[condition]
    watched = Watched().show(PLAIN, 4).show(SHOWS[condition], 20).show(PLAIN, 20)
    assert watched.said == [
        (4 + lasts_s, condition, Turn.BEGUN, 4),
        (26, condition, Turn.ENDED, 24),
    ]
    assert watched.changes[0][1].measures == SHOWS[condition]
    assert watched.changes[1][1].measures == PLAIN


@measured
def test_what_lasts_too_short_is_not_told(condition: Condition) -> None:
    for _ in range(3):
        watched = Watched().show(PLAIN, 3).show(SHOWS[condition], DURATION_S[condition])
        assert watched.show(PLAIN, 5).said == []


@measured
def test_what_hovers_between_the_thresholds_changes_nothing(condition: Condition) -> None:
    assert Watched().show(BETWEEN[condition], 60).said == []
    watched = Watched().show(SHOWS[condition], 10)
    for _ in range(20):
        watched.show(BETWEEN[condition]).show(SHOWS[condition])
    assert [state for _, _, state, _ in watched.said] == [Turn.BEGUN]


@measured
def test_a_flicker_does_not_end_it_and_does_not_begin_it(condition: Condition) -> None:
    watched = Watched().show(SHOWS[condition], 10)
    for _ in range(20):
        watched.show(PLAIN, 2).show(SHOWS[condition])
    assert [state for _, _, state, _ in watched.said] == [Turn.BEGUN]
    flickers = Watched()
    for _ in range(20):
        flickers.show(SHOWS[condition], 2).show(PLAIN)
    assert flickers.said == []


def test_frozen_is_told_since_the_first_of_the_equal_pictures() -> None:
    watched = Watched().show(PLAIN, 5).show(PLAIN, 30, still=True).show(PLAIN, 5)
    assert watched.said == [
        (14, Condition.FROZEN, Turn.BEGUN, 4),
        (37, Condition.FROZEN, Turn.ENDED, 35),
    ]


def test_a_single_other_picture_begins_the_count_anew() -> None:
    watched = Watched()
    for _ in range(10):
        watched.show(PLAIN).show(PLAIN, 9, still=True)
    assert watched.said == []


def test_test_bars_are_no_signal_without_being_flat() -> None:
    card = msgspec.structs.replace(PLAIN, bars=0.85)
    watched = Watched().show(card, 10).show(PLAIN, 10)
    assert [state for _, _, state, _ in watched.said] == [Turn.BEGUN, Turn.ENDED]


@pytest.mark.parametrize(
    ("measures", "never"),
    [
        (msgspec.structs.replace(PLAIN, flat=1.0, chroma=20), Condition.NO_SIGNAL),
        (msgspec.structs.replace(PLAIN, blur=1.0, contrast=10), Condition.BLURRED),
        (Measures(visible=0.01, peak=0), Condition.BLACK),
        (Measures(visible=0.0), Condition.BLACK),
    ],
    ids=["grey", "without contrast", "hardly visible", "masked"],
)
def test_what_cannot_be_judged_is_not(measures: Measures, never: Condition) -> None:
    assert Watched(never).show(measures, 30).said == []


def test_what_is_masked_away_while_it_holds_is_over() -> None:
    watched = Watched(Condition.BLACK).show(SHOWS[Condition.BLACK], 5).show(Measures(visible=0), 5)
    assert [state for _, _, state, _ in watched.said] == [Turn.BEGUN, Turn.ENDED]


def test_conditions_that_nobody_asks_for_are_not_told() -> None:
    watched = Watched(Condition.BLURRED)
    for measures in SHOWS.values():
        watched.show(measures, 20, still=True).show(PLAIN, 5)
    assert {condition for _, condition, _, _ in watched.said} == {Condition.BLURRED}


def test_two_looks_with_an_hour_between_them_are_not_enough() -> None:
    """A pause lies between them: nobody knows what was to be seen."""
    judge = QualityJudge(POLICY, ALL)
    for at_s in (0, 3600):
        look = Look(
            t_ns=at_s * SECOND_NS,
            still_since_ns=at_s * SECOND_NS,
            measures=SHOWS[Condition.BLACK],
        )
        assert judge.see(look) == ()
