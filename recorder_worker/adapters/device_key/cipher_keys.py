"""The keys that running sessions are encrypted with, a file for each, until the seal.

```
ciphers/<session>.key      32 random bytes, made once
```

Whoever can read this file can read the session: its own workers, as long as it runs. At the seal
it is erased, and only the recipients have the key, wrapped, in `session.json`.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from recorder_worker.adapters.device_key import secret_file
from recorder_worker.core.cipher.session_cipher import SESSION_KEY_SIZE
from recorder_worker.core.errors import SessionKeyMissingError, StoreError

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


class CipherKeyFiles:
    """Keys below a folder; satisfies `CipherKeys`. Thread-safe; holds no key.

    Args:
        root: the folder; made with the first key.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def make(self, session_id: str) -> bytes:
        """The session's key; made if there is none yet, durable before it is given out."""
        place = self._place(session_id)
        with secret_file.store_errors(f"session key {place}"):
            found = secret_file.put_if_absent(place, lambda: secrets.token_bytes(SESSION_KEY_SIZE))
        return _checked(place, found)

    def get(self, session_id: str) -> bytes:
        """The session's key. Raises SessionKeyMissingError where there is none."""
        place = self._place(session_id)
        with secret_file.store_errors(f"session key {place}"):
            found = secret_file.read(place)
        if found is None:
            raise SessionKeyMissingError(
                f"session key {place}: expected the key that session {session_id} is encrypted "
                "with, found none; it is erased at the seal, and must not be lost before: give "
                "all workers that share sessions one data_dir"
            )
        return _checked(place, found)

    def erase(self, session_id: str) -> None:
        """Erase the session's key, as far as a file system can."""
        place = self._place(session_id)
        with secret_file.store_errors(f"session key {place}"):
            if self._root.exists():
                secret_file.erase(place)

    def _place(self, session_id: str) -> Path:
        if not _SESSION.fullmatch(session_id):
            raise ValueError(f"expected the id of a session, got {session_id!r}")
        return self._root / f"{session_id}.key"


def _checked(place: Path, data: bytes) -> bytes:
    # While it is being erased, and where that was cut short, it is zeros.
    if len(data) != SESSION_KEY_SIZE or data == bytes(SESSION_KEY_SIZE):
        raise StoreError(
            f"session key {place}: expected {SESSION_KEY_SIZE} secret bytes, found something "
            "else; restore the file, or what this session records from here on is lost"
        )
    return data
