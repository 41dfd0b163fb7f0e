"""Dead letters as people name them, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from recorder_worker.core.errors import RefusedError

if TYPE_CHECKING:
    from recorder_worker.core.dead_letters import LetterSeen


def named(found: Sequence[LetterSeen], name: str) -> LetterSeen:
    """The one letter whose id begins so. Raises RefusedError where there is none, or several."""
    fitting = [seen for seen in found if name and seen.letter.letter.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    raise RefusedError(
        field="LETTER",
        expected="the id of one dead letter, or its begin",
        got=f"{name}, which names {len(fitting) or 'none'}",
        hint="`recorder dead ls --all` lists them",
    )


def moment(wall_ns: int) -> str:
    """A time of the wall clock, to the second."""
    moment = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
