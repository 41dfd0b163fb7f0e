"""How long it took until things went on behind a fault, by the server's own times of storing."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from chaos.stored import Stored, Streams
from chaos.storm import Struck

FACT_OF_STAGE = {
    "capture": "session.captured",
    "chunk": "session.chunked",
    "compress": "session.compressed",
    "merkle": "session.checkpoint",
}


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a fault to the next event of the stages that it hit, and, for each session
    whose lease the worker held, to that session's next captured event.
    """

    struck: Struck
    stage_s: float | None
    held_s: tuple[float, ...]


def recoveries(struck: Sequence[Struck], streams: Streams) -> list[Recovery]:
    """Of every fault. Where nothing came behind one, because the run ended, there is no time."""
    times = {
        stage: [one.at_ns for one in streams.all_of(fact)] for stage, fact in FACT_OF_STAGE.items()
    }
    sessions: dict[str, list[Stored]] = defaultdict(list)
    for one in streams.all_of("session.captured"):
        sessions[one.session_id].append(one)
    return [
        Recovery(
            struck=one,
            stage_s=_next_of_stages(one, times),
            held_s=tuple(_held(one, sessions.values())) if "capture" in one.stages else (),
        )
        for one in struck
    ]


def _next_of_stages(struck: Struck, times: dict[str, list[int]]) -> float | None:
    """Until each of the stages has published something; a server hits all of them."""
    took_s = []
    for stage in struck.stages or tuple(times):
        place = bisect_right(times[stage], struck.began_ns)
        if place == len(times[stage]):
            return None
        took_s.append((times[stage][place] - struck.began_ns) / 1e9)
    return max(took_s)


def _held(struck: Struck, sessions: Iterable[list[Stored]]) -> list[float]:
    found = []
    for events in sessions:
        place = bisect_right([one.at_ns for one in events], struck.began_ns)
        if not 0 < place < len(events):
            continue
        if events[place - 1].body["lease"].split(":")[-4] == str(struck.pid):
            found.append((events[place].at_ns - struck.began_ns) / 1e9)
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
