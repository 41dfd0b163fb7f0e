"""Little pictures take turns, and only they; an error ends a turn."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest

from recorder_worker.core.frames.pictures import Picture, Region
from recorder_worker.stages.capture.one_at_a_time import turn

DEADLINE_S = 30.0


def picture(width: int, height: int) -> Picture:
    return np.zeros((height, width, 3), np.uint8)


def waits(shown: Picture, changed: tuple[Region, ...] | None, *, wait_s: float) -> bool:
    """Whether another thread waits for the turn of a little picture before it computes.

    It does where it has not begun within so long; one that does not wait may need a moment.
    """
    ready, entered = Event(), Event()

    def compute() -> None:
        ready.set()
        with turn(shown, changed):
            entered.set()

    with turn(picture(8, 8)):
        thread = Thread(target=compute)
        thread.start()
        ready.wait()
        waited = not entered.wait(wait_s)
    thread.join(DEADLINE_S)
    assert entered.is_set()
    return waited


LITTLE = Region(x=64, y=64, width=128, height=64)


@pytest.mark.parametrize(
    ("width", "height", "changed", "expected"),
    [
        (352, 288, None, True),
        (640, 480, None, False),
        (1920, 1080, (), True),
        (1920, 1080, (LITTLE,), True),
        (1920, 1080, (LITTLE,) * 20, False),
    ],
)
def test_what_is_little_waits_for_its_turn(
    width: int,
    height: int,
    changed: tuple[Region, ...] | None,
    expected: bool,
) -> None:
    wait_s = 0.2 if expected else DEADLINE_S
    assert waits(picture(width, height), changed, wait_s=wait_s) is expected


def test_an_error_ends_a_turn() -> None:
    def fail() -> None:
        with turn(picture(8, 8)):
            raise ValueError("of a picture")

    for _ in range(2):
        with pytest.raises(ValueError, match="of a picture"):
            fail()
