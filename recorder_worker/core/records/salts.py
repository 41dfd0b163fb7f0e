"""The salt of each leaf record.

Without it a handed-out inclusion proof would leak its neighbours: their records hold little that
cannot be guessed. It is derived rather than drawn, so that a redelivery makes the same record.
"""

from __future__ import annotations

from blake3 import blake3

from recorder_worker.core.errors import FormatError

SECRET_SIZE = 32
SALT_SIZE = 16


class Salts:
    """The salts of one session, from its 32-byte secret. Never shows the secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise FormatError(f"session secret: expected {SECRET_SIZE} bytes, got {len(secret)}")
        self._secret = secret

    def salt(self, index: int) -> bytes:
        """16 bytes: BLAKE3 keyed with the secret, over the index as u64, cut to its beginning."""
        return blake3(index.to_bytes(8, "big"), key=self._secret).digest(length=SALT_SIZE)

    def __repr__(self) -> str:
        return "Salts(secret hidden)"
