"""The login to a bucket in a file of its own, which may change while a worker runs.

The form is that of AWS's shared credentials, which other tools write: keys that are rotated, and
those that expire. The file is looked at before each request is signed, and read where it is another
one than before. Whoever replaces it should do so by a rename: a half-written file is no login, and
the next try reads it anew.
"""

from __future__ import annotations

import configparser
import threading
from pathlib import Path

import botocore.credentials

from recorder_worker.core.errors import StoreError

SECTION = "default"
KEY_ID, SECRET, TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
MAX_BYTES = 65_536


class LoginFile(botocore.credentials.Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials as botocore asks for them, at each request. Thread-safe."""

    def __init__(self, path: Path) -> None:
        super().__init__("", "", method="storage.credentials_file")
        self._path = path
        self._reading = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._login = botocore.credentials.ReadOnlyCredentials("", "", None)

    def load_credentials(self) -> LoginFile:
        """As botocore asks whoever provides credentials. Nothing is read yet."""
        return self

    def get_frozen_credentials(self) -> botocore.credentials.ReadOnlyCredentials:
        """What the file says now. Raises StoreError: it says nothing of use."""
        with self._reading:
            try:
                found = self._path.stat()
                seen = (found.st_ino, found.st_size, found.st_mtime_ns)
                if seen != self._seen:
                    self._login, self._seen = self._read(), seen
            except OSError as error:
                raise self._fault(error.strerror or repr(error)) from error
            return self._login

    def _read(self) -> botocore.credentials.ReadOnlyCredentials:
        with self._path.open("rb") as file:
            data = file.read(MAX_BYTES)
        parser = configparser.RawConfigParser(default_section="")
        try:
            parser.read_string(data.decode())
            section = parser[SECTION]
            key_id, secret = section[KEY_ID], section[SECRET]
        except (UnicodeDecodeError, configparser.Error, KeyError) as error:
            # The text of these errors has lines of the file in it.
            raise self._fault("something else") from error
        if not key_id or not secret:
            raise self._fault("empty ones")
        return botocore.credentials.ReadOnlyCredentials(key_id, secret, section.get(TOKEN) or None)

    def _fault(self, found: str) -> StoreError:
        return StoreError(
            f"storage.credentials_file: expected [{SECTION}] with {KEY_ID} and {SECRET} in "
            f"{self._path}, found: {found}; write it there: it is read anew, and nothing has to be "
            "restarted"
        )
