"""When it is looked again whether what was deleted is gone, and what was sealed is tidy.

A worker that stood still over a chunk, or a request to a second store that was given up, may bring
a file hours behind tombstone or seal. So it is looked again ten minutes behind the first look,
twenty behind that, and so on: often while somebody may still be at it, and seldom for years.
"""

from __future__ import annotations

FIRST_NS = 600_000_000_000


class Looks:
    """At sessions that are done with, on the monotonic clock; a new process begins anew."""

    def __init__(self) -> None:
        self._next: dict[str, tuple[int, int]] = {}

    def is_due(self, session_id: str, now_ns: int) -> bool:
        """Whether it is time, or was never done in this process."""
        found = self._next.get(session_id)
        return found is None or now_ns >= found[0]

    def done(self, session_id: str, now_ns: int) -> None:
        """It was looked; the next time comes behind twice as long."""
        _, wait_ns = self._next.get(session_id, (0, FIRST_NS // 2))
        self._next[session_id] = (now_ns + 2 * wait_ns, 2 * wait_ns)
