"""When a film shows what: the recording's times, a constant rate, cards, and a clock."""

from __future__ import annotations

import numpy as np
import pytest

from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.screening.exposures import (
    CARD_MAX_NS,
    CARD_MIN_NS,
    MAX_PARTS,
    Exposures,
)
from recorder_worker.core.screening.scenes import Card, CardKind, Scene, Shot

S = 1_000_000_000
WALL = 1_700_000_000 * S


def shot(t_ns: int, *, cut: bool = False) -> Shot:
    frame = DecodedFrame(
        keyframe=True,
        unit=0,
        t_ns=t_ns,
        wall_ns=WALL + t_ns,
        width=2,
        height=1,
        picture=np.zeros((1, 2, 3), np.uint8),
    )
    return Shot(t_ns=t_ns, wall_ns=WALL + t_ns, frame=frame, cut=cut)


def card(t0_ns: int, t1_ns: int) -> Card:
    return Card(
        kind=CardKind.GAP,
        t0_ns=t0_ns,
        t1_ns=t1_ns,
        wall0_ns=WALL + t0_ns,
        wall1_ns=WALL + t1_ns,
        reason="pause",
    )


def exposed(
    scenes: list[Scene], end_ns: int, *, fps: float | None = None, ticking: bool = False
) -> tuple[Exposures, list[tuple[int, int, bool]]]:
    """Film time, session time, and whether something new is shown; of what is visible."""
    exposures = Exposures(scenes, end_ns, fps=fps, ticking=ticking)
    found = [(e.film_ns, e.t_ns, e.scene is not None) for e in exposures if e.visible]
    return exposures, found


def test_times_are_those_of_the_recording_from_its_first_picture_on() -> None:
    exposures, found = exposed([shot(7 * S, cut=True), shot(7 * S + 3), shot(9 * S)], 10 * S)
    assert found == [(0, 7 * S, True), (3, 7 * S + 3, True), (2 * S, 9 * S, True)]
    assert exposures.film_ns == 3 * S
    (part,) = exposures.parts
    assert (part.what, part.film0_ns, part.film1_ns) == ("pictures", 0, 3 * S)
    assert (part.t0_ns, part.t1_ns) == (7 * S, 10 * S)


@pytest.mark.parametrize(
    ("gap_ns", "shown_ns"), [(0, CARD_MIN_NS), (4 * S, 4 * S), (3600 * S, CARD_MAX_NS)]
)
def test_a_card_stays_as_long_as_somebody_reads(gap_ns: int, shown_ns: int) -> None:
    behind = S + gap_ns
    scenes: list[Scene] = [shot(0, cut=True), card(S, behind), shot(behind, cut=True)]
    exposures, found = exposed(scenes, behind + S)
    assert [film_ns for film_ns, _, _ in found] == [0, S, S + shown_ns]
    assert [t_ns for _, t_ns, _ in found] == [0, S, behind]
    assert exposures.film_ns == 2 * S + shown_ns
    assert [part.what for part in exposures.parts] == ["pictures", "gap", "pictures"]
    last = exposures.parts[2]
    assert (last.film0_ns, last.t0_ns, last.t1_ns) == (S + shown_ns, behind, behind + S)
    assert exposures.card_count == 1


def test_a_card_at_the_end_and_nothing_else() -> None:
    exposures, found = exposed([card(0, 4 * S)], 4 * S)
    assert found == [(0, 0, True)]
    assert exposures.film_ns == 4 * S
    assert exposed([], 0)[0].film_ns == 0


def test_a_constant_rate_shows_the_newest_picture_at_every_tick() -> None:
    scenes = [shot(0, cut=True), shot(S // 10), shot(S // 2), shot(S * 3 // 5)]
    exposures, found = exposed([*scenes], S, fps=4)
    assert [film_ns for film_ns, _, _ in found] == [0, S // 4, S // 2, S * 3 // 4]
    assert [t_ns for _, t_ns, _ in found] == [0, S // 4, S // 2, S * 3 // 4]
    assert [new for _, _, new in found] == [True, False, True, False]
    assert exposures.film_ns == S


def test_a_constant_rate_that_is_slow_leaves_pictures_out() -> None:
    scenes: list[Scene] = [shot(n * S // 10, cut=not n) for n in range(20)]
    exposures = Exposures(scenes, 2 * S, fps=1, ticking=False)
    seen = [(e.film_ns, e.visible) for e in exposures]
    assert [film_ns for film_ns, visible in seen if visible] == [0, S]
    assert len(seen) == 20


def test_a_rate_that_no_nanosecond_divides_does_not_drift() -> None:
    _, found = exposed([shot(0, cut=True)], 3600 * S, fps=29.97)
    assert len(found) == round(3600 * 29.97)
    assert found[-1][0] == round((len(found) - 1) * S / 29.97)


def test_a_clock_goes_on_while_a_picture_stays_but_not_on_a_card() -> None:
    scenes: list[Scene] = [shot(0, cut=True), card(5 * S // 2, 9 * S)]
    _, found = exposed(scenes, 9 * S, ticking=True)
    assert found == [
        (0, 0, True),
        (S, S, False),
        (2 * S, 2 * S, False),
        (5 * S // 2,) * 2 + (True,),
    ]


def test_wall_clock_goes_with_session_time() -> None:
    exposures = Exposures([shot(3 * S, cut=True)], 5 * S, fps=1, ticking=False)
    assert [e.wall_ns for e in exposures] == [WALL + 3 * S, WALL + 4 * S]


def test_parts_are_counted_and_the_first_kept() -> None:
    scenes: list[Scene] = [card(n, n + 1) for n in range(MAX_PARTS + 5)]
    exposures, _ = exposed(scenes, MAX_PARTS + 5)
    assert (len(exposures.parts), exposures.part_count) == (MAX_PARTS, MAX_PARTS + 5)
