"""The book of attempts of a process that keeps nothing: it finds what fails, and no killer."""

from __future__ import annotations

from recorder_worker.ports import AttemptBook, MessagePlace, Tally
from recorder_worker.ports.attempts import NOTHING


class MemoryBook(AttemptBook):
    """A dictionary."""

    def __init__(self) -> None:
        self._tallies: dict[MessagePlace, Tally] = {}

    def read(self, place: MessagePlace) -> Tally:
        """As the port says."""
        return self._tallies.get(place, NOTHING)

    def write(self, place: MessagePlace, tally: Tally) -> None:
        """As the port says."""
        self._tallies.pop(place, None)
        if tally != NOTHING:
            self._tallies[place] = tally
