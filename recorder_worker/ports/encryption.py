"""Who keeps the keys of sessions while they run, and for whom they are wrapped."""

from __future__ import annotations

from typing import Protocol


class CipherKeys(Protocol):
    """Holds the key that a session is encrypted with, from its begin to its seal.

    What it makes is stored before it is given out, so that whoever asks again, after a crash or
    on another worker, gets the same.
    """

    def make(self, session_id: str) -> bytes:
        """The session's key, 32 bytes; made if there is none yet. Raises StoreError."""
        ...

    def get(self, session_id: str) -> bytes:
        """The session's key.

        Raises:
            SessionKeyMissingError: there is none, or none any more.
            StoreError: it cannot be read; try again.
        """
        ...

    def erase(self, session_id: str) -> None:
        """Erase the session's key for ever; harmless when repeated. Raises StoreError."""
        ...


class KeyWrap(Protocol):
    """Wraps keys so that their recipients alone can read them: the recorder is none of them."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """Their public keys, as text."""
        ...

    def wrap(self, key: bytes) -> str:
        """A key for all of them, as text. Another text each time."""
        ...
