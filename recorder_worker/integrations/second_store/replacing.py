"""Which late file in the second store may become another one, and by what. Blocking.

Receipts grow, and heads move on; all else that comes late never changes. But what is here may be
damaged, or older than its copy: a disk that was set back to a snapshot has an older head, and the
newer one in the copy is the evidence that the log was longer. So nothing is written over there but
by what is shown to be at least as good: receipts as `stages/receipts` changes them, a head by a
signed one whose tree goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.beacon import Beacon, parse_beacon
from recorder_worker.core.receipts.ots import merge_ots, verify_ots
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.core.session_log.stored_log import verify_log_note
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.core.signing.note import SignedNote, parse_note
from recorder_worker.core.signing.origins import log_origin
from recorder_worker.ports import BlobStore

CHECKPOINT = keys.log_key(keys.LOG_CHECKPOINT)
BEACON = keys.log_key(keys.LOG_BEACON)
HEADS = (CHECKPOINT, BEACON)
"""Replaced so often that they are compared with the copy at each turn."""

TRUSTED, VALID, UNKNOWN, WRONG = 3, 2, 1, 0
"""How good a time-stamp is; `UNKNOWN`: this program cannot tell."""


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """By what this recorder knows its own.

    Attributes:
        recorder: its id.
        log_keys: the device's Ed25519 keys, that in force and former ones.
        trusted: whose time-stamps are taken; empty: anybody's.
    """

    recorder: str
    log_keys: tuple[bytes, ...] = ()
    trusted: tuple[TimestampAuthority, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """Why the copy stays; `rolled_back`: the log here is shorter than it, or another one."""

    why: str
    rolled_back: bool = False


class Replacing:
    """Holds what is here against what the second store has, where they differ."""

    def __init__(self, local: BlobStore, ours: Callable[[], Ours]) -> None:
        self._local = local
        self._ours = ours

    def kept(self, key: str, there: bytes) -> Kept | None:
        """Why what is there may not become what is here; None: it may.

        What is here is read behind what was read there: others may have brought a newer one.

        Raises:
            BlobMissingError: it is here no more.
            StoreError: it cannot be read here.
        """
        here = self._local.get(key)
        try:
            if key == CHECKPOINT:
                return self._checkpoint(here, there)
            if key == BEACON:
                return self._beacon(here, there)
            if key.endswith(".tsr"):
                return self._timestamp(here, there, self._note(key))
            return self._ots(here, there, self._note(key))
        except (FormatError, ProofError) as error:
            return Kept(f"{key}: {error}")

    def _note(self, key: str) -> bytes:
        """The checkpoint of the log that a receipt is over."""
        size = key.rpartition("/")[2].partition(".")[0]
        name = keys.log_key(f"{keys.LOG_RECEIPTS}/{size}.note")
        try:
            return self._local.get(name)
        except BlobMissingError as error:
            raise FormatError(f"expected what it is over in {name}, found none") from error

    def _timestamp(self, here: bytes, there: bytes, note: bytes) -> Kept | None:
        """As the receipts stage: the first one stays, but for one of nobody who is trusted."""
        verify_timestamp(here, note)
        if self._worth(here, note) > self._worth(there, note) != UNKNOWN:
            return None
        return Kept("expected a better time-stamp than the one there, found another one")

    def _worth(self, data: bytes, note: bytes) -> int:
        try:
            found = verify_timestamp(data, note, self._ours().trusted)
        except UnsupportedError:
            return UNKNOWN
        except (FormatError, ProofError):
            return WRONG
        return VALID if found.trusted_by is None else TRUSTED

    def _ots(self, here: bytes, there: bytes, note: bytes) -> Kept | None:
        """Proofs are merged, so that a newer one has all that the older one had."""
        verify_ots(here, note)
        try:
            verify_ots(there, note)
        except UnsupportedError:
            raise
        except (FormatError, ProofError):
            return None
        if merge_ots(there, here) == here:
            return None
        return Kept("expected all attestations of the proof there, found others")

    def _beacon(self, here: bytes, there: bytes) -> Kept | None:
        """The newest one that has a time-stamp; one that has none is worth nothing."""
        size, worth = self._of_beacon(parse_beacon(here))
        if worth < VALID:
            return Kept("expected a time-stamp over its checkpoint, found none")
        try:
            size_there, worth_there = self._of_beacon(parse_beacon(there))
        except (FormatError, ProofError):
            return None
        if (worth >= worth_there and size >= size_there) or worth > worth_there != UNKNOWN:
            return None
        return Kept(f"expected a beacon of size {size_there} or more, found one of {size}")

    def _of_beacon(self, beacon: Beacon) -> tuple[int, int]:
        note = self._signed(beacon.note.encode())
        if note.head.tree_size != beacon.tree_size:
            raise FormatError(f"expected the checkpoint of size {beacon.tree_size}")
        return beacon.tree_size, self._worth(beacon.timestamp, note.raw)

    def _checkpoint(self, here: bytes, there: bytes) -> Kept | None:
        """Only a head of ours whose tree, as it is stored here, has the other one's root."""
        note, copied = self._signed(here).head, parse_note(there).head
        if copied.origin != note.origin:
            return Kept(f"expected a checkpoint of {note.origin}, there is one of {copied.origin}")
        if note.tree_size < copied.tree_size:
            return Kept(
                f"expected the log of at least {copied.tree_size} entries that is signed in the "
                f"second store, found one of {note.tree_size}",
                rolled_back=True,
            )
        try:
            tree = TiledTree(lambda name: self._local.get(keys.log_key(name)), note.tree_size)
            roots = tree.root(), tree.root(copied.tree_size)
        except BlobMissingError as error:
            if self._local.get(CHECKPOINT) != here:
                raise  # it has grown meanwhile, and partial tiles were filled
            raise FormatError(str(error)) from error
        if roots[0] != note.root_hash:
            raise ProofError("the tiles here do not give its root")
        if roots[1] != copied.root_hash:
            return Kept(
                f"expected root {copied.root_hash.hex()} at size {copied.tree_size}, as it is "
                f"signed in the second store, the log here gives {roots[1].hex()}",
                rolled_back=True,
            )
        return None

    def _signed(self, data: bytes) -> SignedNote:
        """A checkpoint of our log, by one of our keys. Raises FormatError or ProofError."""
        note, ours = parse_note(data), self._ours()
        refused = ProofError("there is no key that could have signed it")
        for key in ours.log_keys:
            try:
                verify_log_note(note, log_origin(ours.recorder), key)
            except ProofError as error:
                refused = error
            else:
                return note
        raise refused


def is_replaced(key: str) -> bool:
    """Whether a file may become another one: receipts that grow, and heads."""
    return key in HEADS or (f"/{keys.RECEIPTS}/" in key and key.endswith((".tsr", ".ots")))
