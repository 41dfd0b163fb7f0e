"""What may be wrong with a picture, and how that is said on the timeline."""

from __future__ import annotations

from enum import StrEnum

from recorder_worker.core.model import Nanoseconds, Wire
from recorder_worker.core.quality.measures import Measures


class Condition(StrEnum):
    """What a picture says of its source.

    `black`: nothing is bright. `frozen`: picture for picture equal, to the last bit, as no sensor
    gives them. `no_signal`: one strong colour all over, or a test card's bars. `blurred`: no edge
    is sharp.
    """

    BLACK = "black"
    FROZEN = "frozen"
    NO_SIGNAL = "no_signal"
    BLURRED = "blurred"


class Turn(StrEnum):
    """Whether a condition has begun or ended."""

    BEGUN = "begun"
    ENDED = "ended"


class QualityChange(Wire, frozen=True, kw_only=True):
    """The body of a note `recorder.quality`: a condition has begun, or ended.

    `since_ns` is the session time of the first picture that shows it: some seconds before the
    note, which waits until it is certain. `measures` are those of the picture at the note.
    """

    condition: Condition
    state: Turn
    since_ns: Nanoseconds
    measures: Measures
