"""What became of each session of a rebuild, and of all of them together."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """What a replay of one session came to."""

    SAME = "same"
    DIFFERENT = "different"
    UNSEALED = "unsealed"
    INCOMPLETE = "incomplete"
    FORGOTTEN = "forgotten"
    REMOVED = "removed"

    @property
    def means(self) -> str:
        """In words."""
        return _MEANS[self]


_MEANS = {
    Outcome.SAME: "made again, with the root that was signed",
    Outcome.DIFFERENT: "made again, with another root",
    Outcome.UNSEALED: "not sealed yet: nothing to compare with",
    Outcome.INCOMPLETE: "events or bytes that it is made of are gone",
    Outcome.FORGOTTEN: "has a folder, and the stream knows nothing of it any more",
    Outcome.REMOVED: "deleted by order or rule: what is left of it is in its folder",
}


class SessionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One session. `detail` says what differs or what is missing."""

    session_id: str
    outcome: Outcome
    root_hash: str = ""
    tree_size: int = 0
    detail: str = ""
    taken: str = ""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions, and the log of sessions: its entries, or why it was not taken over."""

    into: str
    sessions: tuple[SessionOutcome, ...]
    log_entries: int = 0
    log_problem: str = ""

    def count(self, outcome: Outcome) -> int:
        """How many sessions came to this."""
        return sum(one.outcome is outcome for one in self.sessions)

    @property
    def different(self) -> bool:
        """Whether one was made again and is not what was signed."""
        return self.count(Outcome.DIFFERENT) > 0

    @property
    def whole(self) -> bool:
        """Whether all that was not deleted, and the log, are there again."""
        made = self.count(Outcome.SAME) + self.count(Outcome.REMOVED)
        return made == len(self.sessions) and not self.log_problem
