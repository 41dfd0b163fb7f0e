"""The private keys of sessions' epochs, a file for each epoch, as long as they have to sign.

```
epochs/<session>/<n>.key       private keys of epoch n, made once
epochs/<session>/<n>.erased    public keys of epoch n, once the private ones are erased
epochs/<session>/secret        32 bytes from which the salts of the session's records come
```

`<n>.erased` is stored before `<n>.key` is erased, and whoever makes a key looks for it afterwards.
So there is never a second key of an epoch, in whatever order processes race and die: a key that is
made late is erased by its maker, or by whoever wrote `<n>.erased` behind it. Whoever reads a key
looks for it afterwards, too: where there is none, what was read had not been erased. Once the
session is closed both are gone: a key that cannot be read and is not there any more was erased.

The mode of these files is not checked when they are read, unlike that of the device key: a folder
whose modes somebody widened should not stop a session that runs.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.device_key.private_keys import Kinds, PrivateKeys
from recorder_worker.core.errors import KeyErasedError, StoreError
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_KEY = ".key"
_ERASED = ".erased"
_MARK = msgspec.json.Decoder(tuple[PublicKey, ...])
_ATTEMPTS = 8


class EpochKeyFiles:
    """The epoch keys of all sessions below a folder. Every method may raise StoreError."""

    def __init__(self, root: Path, kinds: Kinds) -> None:
        self._root = root
        self._kinds = kinds
        with secret_file.store_errors(f"epoch keys {root}"):
            secret_file.make_folder(root)

    def secret(self, session_id: str, make: Callable[[], bytes]) -> bytes:
        """The session's secret; what `make` gives is stored where there is none yet."""
        place = self._folder(session_id) / "secret"
        with secret_file.store_errors(f"session secret {place}"):
            return secret_file.read(place) or secret_file.put_if_absent(place, make)

    def open(self, session_id: str, epoch: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch; made if there are none yet.

        Those of a closed epoch are told as well: a record that names them may have to be made
        again. Raises KeyErasedError where an epoch was closed that never had any.
        """
        place = self._place(session_id, epoch, _KEY)
        with secret_file.store_errors(f"epoch key {place}"):
            closed = self._closed(session_id, epoch)
            if closed is not None:
                return closed
            fresh = partial(self._fresh, session_id, epoch)
            data = secret_file.put_if_absent(place, fresh)
            closed = self._closed(session_id, epoch)
            if closed is not None:
                secret_file.erase(place)
                return closed
        return self._keys(place, data).public()

    def sign(self, session_id: str, epoch: int, kind: KeyKind, message: bytes) -> bytes:
        """A signature by an epoch's key. Raises KeyErasedError where it is erased or not made."""
        place = self._place(session_id, epoch, _KEY)
        with secret_file.store_errors(f"epoch key {place}"):
            self._refuse_erased(session_id, epoch)
            data = secret_file.read(place)
            self._refuse_erased(session_id, epoch)
        if data is None:
            raise KeyErasedError(
                f"session {session_id}: expected a key of epoch {epoch}, found none in {place}"
            )
        return self._keys(place, data).sign(kind, message)

    def close(self, session_id: str, epoch: int) -> None:
        """Erase an epoch's private keys; harmless when repeated, or behind `close_session`."""
        place = self._place(session_id, epoch, _KEY)
        with secret_file.store_errors(f"epoch key {place}"):
            data = secret_file.read(place)
            if not place.parent.exists():
                return
            erased = self._place(session_id, epoch, _ERASED)
            if not erased.exists():
                try:
                    public = () if data is None else self._keys(place, data).public()
                    secret_file.put_if_absent(erased, partial(msgspec.json.encode, public))
                except (FileNotFoundError, KeyErasedError):
                    # Another worker closes the session and was quicker: the folder is gone, and
                    # the key with it.
                    return
            secret_file.erase(place)

    def close_session(self, session_id: str) -> None:
        """Erase all that is left of a session; harmless when repeated."""
        folder = self._folder(session_id)
        with secret_file.store_errors(f"epoch keys {folder}"):
            for _ in range(_ATTEMPTS):
                if self._emptied(session_id, folder):
                    return
        raise StoreError(
            f"epoch keys {folder}: expected to remove the folder, found new files in it each time; "
            "another worker still uses this session"
        )

    def _emptied(self, session_id: str, folder: Path) -> bool:
        if not folder.exists():
            return True
        for place in folder.glob(f"*{_KEY}"):
            if place.stem.isdecimal():
                self.close(session_id, int(place.stem))
        # No key is left. So a crash from here on is as one behind: nothing of the session counts.
        try:
            for place in list(folder.iterdir()):
                secret_file.erase(place)
            folder.rmdir()
        except FileNotFoundError:
            return True  # another worker was quicker
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False
        secret_file.sync_folder(self._root)
        return True

    def _fresh(self, session_id: str, epoch: int) -> bytes:
        """Of the kinds of the epoch before: a setting that was changed holds for new sessions."""
        kinds = self._kinds
        if epoch:
            before = self._public(session_id, epoch - 1)
            kinds = tuple(key.kind for key in before) or kinds
        return PrivateKeys.generate(kinds).seeds()

    def _public(self, session_id: str, epoch: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch, open or closed; none where it never was.

        Raises KeyErasedError where its session was closed meanwhile.
        """
        place = self._place(session_id, epoch, _KEY)
        data = secret_file.read(place)
        mark = secret_file.read(self._place(session_id, epoch, _ERASED))
        if mark is not None:
            return _MARK.decode(mark)
        return () if data is None else self._keys(place, data).public()

    def _closed(self, session_id: str, epoch: int) -> tuple[PublicKey, ...] | None:
        """The public keys of a closed epoch; None where it is not. Raises KeyErasedError."""
        if not self._place(session_id, epoch, _ERASED).exists():
            return None
        public = self._public(session_id, epoch)
        if not public:
            raise KeyErasedError(
                f"session {session_id}: epoch {epoch} was closed before it had any keys"
            )
        return public

    def _refuse_erased(self, session_id: str, epoch: int) -> None:
        if self._place(session_id, epoch, _ERASED).exists():
            raise KeyErasedError(
                f"session {session_id}: the keys of epoch {epoch} have signed their last "
                "checkpoint and are erased"
            )

    def _folder(self, session_id: str) -> Path:
        if not _SESSION.fullmatch(session_id):
            raise ValueError(f"expected the id of a session, got {session_id!r}")
        return self._root / session_id

    def _place(self, session_id: str, epoch: int, suffix: str) -> Path:
        return self._folder(session_id) / f"{epoch}{suffix}"

    def _keys(self, place: Path, data: bytes) -> PrivateKeys:
        try:
            return PrivateKeys.from_seeds(data)
        except (msgspec.MsgspecError, ValueError):
            # Without its cause: nothing of what was read may show in a log.
            if not place.exists():
                raise KeyErasedError(f"epoch key {place}: erased with its session") from None
            raise StoreError(
                f"epoch key {place}: expected the keys that were stored, found something else; "
                "restore the file, or the session cannot be signed any more"
            ) from None
