"""A JWK Set in a file, read anew for every token: keys are changed without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from recorder_worker.adapters.tokens.keyring import JWKS_BYTES
from recorder_worker.core.errors import KeysUnreadableError


class JwksFile:
    """`JwksSource` on a file. To change it, write another beside it and rename that."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return f"auth.jwks_file {self._path}"

    async def read(self) -> bytes:
        """Its bytes. Raises KeysUnreadableError."""
        try:
            return await asyncio.to_thread(self._bytes)
        except OSError as error:
            raise KeysUnreadableError(
                f"{self}: expected a readable file, found: {error.strerror}; correct the path, or "
                "its mode"
            ) from error

    def _bytes(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(JWKS_BYTES + 1)
