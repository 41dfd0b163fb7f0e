"""What is remembered of messages that come again, so that one which kills its worker is found."""

from __future__ import annotations

from typing import Protocol

import msgspec


class MessagePlace(msgspec.Struct, frozen=True, kw_only=True):
    """One message of one consumer. `stored_ns` tells it from that of a stream made anew."""

    consumer: str
    sequence: int
    stored_ns: int


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How a message went: attempts that begun and never ended, and those that failed as such."""

    begun: int = 0
    failed: int = 0


NOTHING = Tally()


class AttemptBook(Protocol):
    """Outlives the process that writes it; not more, for a loss of power is no fault of a message.

    It never raises: what cannot be written is not counted, and holds up nothing. Every method may
    block for as long as a disk does.
    """

    def read(self, place: MessagePlace) -> Tally:
        """What is known of a message; `NOTHING` where nothing is."""
        ...

    def write(self, place: MessagePlace, tally: Tally) -> None:
        """Take the place of what was known; `NOTHING` forgets the message."""
        ...
