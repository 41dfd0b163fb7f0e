"""Keys of sessions in memory for tests; behind an erasure there is none, or another one."""

from __future__ import annotations

import secrets

from recorder_worker.core.errors import SessionKeyMissingError


class MemoryCipherKeys:
    """A `CipherKeys`."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def make(self, session_id: str) -> bytes:
        return self.held.setdefault(session_id, secrets.token_bytes(32))

    def get(self, session_id: str) -> bytes:
        if session_id not in self.held:
            raise SessionKeyMissingError(f"session {session_id}: expected its key, found none")
        return self.held[session_id]

    def erase(self, session_id: str) -> None:
        self.held.pop(session_id, None)
