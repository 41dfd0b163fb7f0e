"""An anchor's own chain in a file that only grows: signed receipts, one behind the other.

One writer, by a lock. An entry is on the disk before its receipt is given to anybody; what a crash
leaves half written was never given, and is cut off. The whole file is verified when it is opened,
so that whoever changed an entry stops the anchor, and does not get it to sign behind the change.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from recorder_worker.core.errors import FormatError, IncidentError, StoreError
from recorder_worker.core.events import AnchorRequested, AnchorSeen, AnchorState
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.anchoring import judge
from recorder_worker.core.receipts.chain import (
    FIRST,
    ChainEntry,
    parse_chain_receipt,
    sign_entry,
)

_LINES = 11
"""Of a receipt: nine, an empty one, and the signature."""


class Anchored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request.

    Attributes:
        receipt: the entry, signed.
        again: it was there before.
        linked: the checkpoint before it was anchored here too, or nothing of that log was. If not,
            something between them was never seen, and that it is one log is not shown.
    """

    receipt: bytes
    again: bool
    linked: bool


class AnchorChain:
    """Open until `close`.

    Args:
        path: the file; made if missing.
        name: the anchor's name in its receipts.
        public_key: of the Ed25519 key with which `sign` signs.
        now_s: seconds since the Unix epoch.

    Raises:
        IncidentError: the file does not hold what was written there.
        StoreError: it cannot be opened, or another process has it.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        public_key: bytes,
        sign: Callable[[bytes], bytes],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._name = name
        self._public_key = public_key
        self._sign = sign
        self._now_s = now_s
        self._number = 0
        self._last = FIRST
        self._logs: dict[str, dict[int, tuple[ChainEntry, bytes]]] = {}
        self._file = _opened(path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """How many entries there are."""
        return self._number

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def anchor(self, request: AnchorRequested) -> Anchored:
        """Anchor a checkpoint; one that was anchored before gets the same receipt again.

        Raises:
            FormatError, ProofError: the request is wrong.
            IncidentError: it contradicts what was anchored before.
            StoreError: the entry could not be written.
        """
        known = self._logs.get(request.origin, {})
        judged = judge(_state(request, known), request)
        if judged.anchored:
            _, receipt = known[request.tree_size]
            return Anchored(receipt=receipt, again=True, linked=judged.linked)
        entry = ChainEntry(
            name=self._name,
            public_key=self._public_key,
            origin=request.origin,
            tree_size=request.tree_size,
            root_hash=bytes.fromhex(request.root_hash),
            note_sha256=sha256(request.note.encode()).hexdigest(),
            time_s=int(self._now_s()),
            number=self._number + 1,
            previous=self._last,
        )
        receipt = sign_entry(entry, self._sign)
        self._write(receipt)
        self._take(entry, receipt)
        return Anchored(receipt=receipt, again=False, linked=judged.linked)

    def _load(self) -> None:
        """Verify the file from its first byte: order, digests and signatures are as made here."""
        with self._path.open("rb") as file:
            lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        del lines[len(lines) // _LINES * _LINES :]
        for at in range(0, len(lines), _LINES):
            receipt = b"".join(lines[at : at + _LINES])
            number = self._number + 1
            try:
                entry = parse_chain_receipt(receipt).entry
                # Ed25519 makes the same signature again: no other key and no other text has it.
                right = sign_entry(entry, self._sign) == receipt
            except (FormatError, ProofError) as error:
                raise _changed(self._path, number, str(error)) from error
            if not right or (entry.number, entry.previous) != (number, self._last):
                raise _changed(self._path, number, f"number {entry.number}, or its signature")
            self._take(entry, receipt)
        os.ftruncate(self._file, sum(map(len, lines)))

    def _take(self, entry: ChainEntry, receipt: bytes) -> None:
        self._number, self._last = entry.number, entry.digest
        self._logs.setdefault(entry.origin, {})[entry.tree_size] = (entry, receipt)

    def _write(self, receipt: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, receipt) == len(receipt):
                os.fsync(self._file)
                return
        except OSError as error:
            os.ftruncate(self._file, before)
            raise StoreError(f"{self._path}: cannot be written: {error}") from error
        os.ftruncate(self._file, before)
        raise StoreError(f"{self._path}: expected room for {len(receipt)} bytes, found less")


def _opened(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise StoreError(
            f"{path}: expected to be its only writer, found another process that has it"
        ) from error
    return file


def _state(
    request: AnchorRequested, known: dict[int, tuple[ChainEntry, bytes]]
) -> AnchorState | None:
    """What a request is held against; where its sizes are new, any one that says the log is not."""
    if not known:
        return None
    sizes = {request.previous_size, request.tree_size} & set(known) or {next(iter(known))}
    seen = tuple(
        AnchorSeen(tree_size=size, root_hash=known[size][0].root_hash.hex(), anchored=True)
        for size in sorted(sizes)
    )
    return AnchorState(origin=request.origin, seen=seen)


def _changed(path: Path, number: int, found: str) -> IncidentError:
    return IncidentError(
        f"{path}: entry {number} is not what was written there: {found}; nothing is anchored any "
        "more: keep the file, and find out who changed it"
    )
