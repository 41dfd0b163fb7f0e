"""Copies one blob to the second store, and looks that it is there.

The order is what counts: the bytes are sent, the store says that it has them, and then its own word
for their digest, or the bytes as they come back, are held against what was read here. Only then is
a blob copied. Where they differ the copy is written over, by whole bytes in hand, and the next try
looks at it; nothing is taken out of the second store, for it may be the only copy by then.

What was told or signed of a blob (`Expected`) is held against the bytes here while they are sent:
what was damaged on this disk never becomes a copy. Blocking; called in a thread.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import NoReturn

import msgspec

from recorder_worker.core.copy_marker import Expected
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    CopyDamagedError,
    ImmutableConflictError,
    SecondStoreError,
    StoreError,
)
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.ports import BlobStore, Checked, CopyMetrics

SMALL_BYTES = 65_536
"""Up to this size asking whether a blob is there costs as much as sending it."""

DeletionOf = Callable[[str], Deletion | None]
"""By which the bytes of a session go or went; None where they stay. Blocking."""

KNOWN = 50_000
"""So many names of checked copies are kept, so that a seal does not check a whole session again."""


class Copied(msgspec.Struct, frozen=True):
    """A blob as it is in the second store."""

    size: int
    sha256: str
    checked: Checked


class Copier:
    """Thread-safe.

    Args:
        local: where stages write.
        open_second: gives the second store; called until it has given one.
        read_back: believe no store, but read every copy.
        deletion_of: what those who copy ask before a copy, and again behind it (`removal.py`).
    """

    def __init__(
        self,
        local: BlobStore,
        open_second: Callable[[], BlobStore],
        metrics: CopyMetrics,
        *,
        read_back: bool = False,
        deletion_of: DeletionOf = lambda _session_id: None,
    ) -> None:
        self.local = local
        self.deletion_of = deletion_of
        self._open_second = open_second
        self._second: BlobStore | None = None
        self._metrics = metrics
        self._read_back = read_back
        self._known: OrderedDict[str, Copied] = OrderedDict()
        self._knowing = threading.Lock()
        self._opening = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let what is under way end at its next piece."""
        self._stopping.set()

    @property
    def second(self) -> BlobStore:
        """The second store. Raises SecondStoreError: it cannot be opened."""
        with self._opening:
            if self._second is None:
                with of_second():
                    self._second = self._open_second()
            return self._second

    def copy(self, key: str, expected: Expected | None = None) -> Copied:
        """Have a blob in the second store, and be sure of it. What is there is not sent again.

        Raises:
            SecondStoreError: it is away, full, refuses, or gave back other bytes: try again.
            ImmutableConflictError: it holds other bytes under this name, which we did not send.
            BlobDamagedError: the blob here is not what was told of it; nothing is copied.
            BlobMissingError: it is neither here nor there.
            StoreError: it cannot be read here.
        """
        known = self._known.get(key)
        if known is not None and expected in {None, Expected(known.size, known.sha256)}:
            return known
        held = self._is_there(key)
        begun_s = time.monotonic()
        given = (expected or self._read(key)) if held else self._send(key, expected)
        found = self.look(key)
        if found is None or (found.size, found.sha256) != (given.size, given.sha256):
            self._differs(key, given, found, sent=not held)
        self._metrics.copied(found.checked, 0 if held else found.size, time.monotonic() - begun_s)
        self._remember(key, found)
        return found

    def _is_there(self, key: str) -> bool:
        """Whether to send it at all. What is small is sent: the store says if it has it."""
        size = self.local.size(key)
        if size is not None and size <= SMALL_BYTES:
            return False
        second = self.second
        with of_second():
            return second.size(key) is not None

    def mirror(self, key: str, *, replaced: bool) -> bool:
        """As `copy`, for small files that nothing is signed of by itself; False where it is there.

        Args:
            key: of the blob.
            replaced: whether other bytes there are an older state, and are written over.
        """
        data = self.local.get(key)
        given = Expected(len(data), sha256(data).hexdigest())
        found = self.look(key)
        if found is not None and (found.size, found.sha256) == (given.size, given.sha256):
            return False
        if found is not None and not replaced:
            self._differs(key, given, found, sent=False)
        begun_s = time.monotonic()
        with of_second():
            self.second.replace(key, data)
        found = self.look(key)
        if found is None or (found.size, found.sha256) != (given.size, given.sha256):
            self._differs(key, given, found, sent=True)
        self._metrics.copied("read_back", given.size, time.monotonic() - begun_s)
        return True

    def look(self, key: str) -> Copied | None:
        """What the second store has under a name, by its word or read; None: nothing, or a part.

        That is believed when it was said twice: a store of several servers may not find, once, what
        it has.
        """
        return self._look(key) or self._look(key)

    def _look(self, key: str) -> Copied | None:
        with of_second():
            try:
                found = self.second.digest(key, read_back=self._read_back)
            except (BlobMissingError, BlobDamagedError):
                return None
        return Copied(found.size, found.sha256, found.checked)

    def forget(self, prefix: str) -> None:
        """Blobs below a prefix are looked at anew, where they are asked for again."""
        with self._knowing:
            for key in [key for key in self._known if key.startswith(f"{prefix}/")]:
                del self._known[key]

    def _read(self, key: str) -> Expected:
        found, size = sha256(), 0
        for piece in self.local.stream(key):
            found.update(piece)
            size += len(piece)
        return Expected(size, found.hexdigest())

    def _send(self, key: str, expected: Expected | None) -> Expected:
        found, size = sha256(), 0
        with of_second():
            writer = self.second.writer(key)
        try:
            for piece in self.local.stream(key):
                if self._stopping.is_set():
                    raise SecondStoreError(f"{key}: this worker stops; it is copied later")
                found.update(piece)
                size += len(piece)
                with of_second():
                    writer.write(piece)
            given = Expected(size, found.hexdigest())
            if expected is not None and given != expected:
                raise BlobDamagedError(
                    f"{key}: expected {expected.size} bytes of SHA-256 {expected.sha256}, found "
                    f"{given.size} of {given.sha256}; nothing was copied: run recorder verify"
                )
            with of_second():
                writer.commit()
        finally:
            with suppress(StoreError):
                writer.abort()
        return given

    def _differs(self, key: str, given: Expected, found: Copied | None, *, sent: bool) -> NoReturn:
        with self._knowing:
            self._known.pop(key, None)
        where = self.second.location(key)
        what = f"{found.size} of {found.sha256}" if found else "none, or a part"
        text = f"{where}: expected {given.size} bytes of SHA-256 {given.sha256}, found {what}"
        if not sent and found is not None:
            raise ImmutableConflictError(
                f"{text}; it is not replaced: find out who wrote it, and remove it there"
            )
        # Ours, and damaged on its way or there; or a part that nobody can read; or whole, and its
        # store was wrong about it. It may be the only copy, or become it while we look: it is
        # written over with the whole bytes in our hand, and never taken out.
        self._metrics.copy_damaged()
        data = self._whole(key, given, text)
        with of_second():
            self.second.replace(key, data)
        raise CopyDamagedError(f"{text}; it was written over, and is looked at again")

    def _whole(self, key: str, given: Expected, text: str) -> bytes:
        try:
            data = self.local.get(key)
        except BlobMissingError as error:
            raise BlobMissingError(f"{text}, and no file here; nothing is removed there") from error
        if (len(data), sha256(data).hexdigest()) != (given.size, given.sha256):
            raise BlobDamagedError(
                f"{text}, and {len(data)} other bytes here; nothing is removed there"
            )
        return data

    def _remember(self, key: str, copied: Copied) -> None:
        with self._knowing:
            self._known[key] = copied
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)


@contextmanager
def of_second() -> Iterator[None]:
    """Errors of the second store are told from those of the first."""
    try:
        yield
    except SecondStoreError:
        raise
    except StoreError as error:
        raise SecondStoreError(f"second store: {error}") from error
