"""What the desk that settles dead letters needs of the bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recorder_worker.core.dead_letters import DeadLetter, LetterSeen
from recorder_worker.core.events import DeadLetterSettled


class DeadLetters(Protocol):
    """The dead letters of all stages. Every method raises BusUnavailableError."""

    async def all(self) -> Sequence[LetterSeen]:
        """All that are kept, the oldest first, with what became of each."""
        ...

    async def body(self, letter: DeadLetter) -> bytes:
        """The message as it came. Raises BlobMissingError where it is not there any more."""
        ...

    async def settle(self, letter: DeadLetter, event: DeadLetterSettled) -> DeadLetterSettled:
        """Say what becomes of a letter, once and for all; gives what stands there in the end."""
        ...

    async def send_again(self, letter: DeadLetter, body: bytes, bearer: str) -> bool:
        """Let its stage have it once more; whether this was the first time."""
        ...
