"""Checks receipts over the log of sessions and stores them: with the log, and with the session.

A receipt is taken if it is over the exact checkpoint that stands in a log proof of its session, or
of no session in that of an AUDIT entry; the latter is kept with the log alone. Anything else is
refused, and nothing is stored.

The first time-stamp for a size stays; a second one of another authority adds nothing, and a
redelivery finds the same bytes. Only one of an authority that is trusted here replaces one of
nobody who is.

OpenTimestamps proofs for a size are merged into one. Which Bitcoin block is real cannot be told
here, so whatever takes one away can be made to take away the honest one; an attestation of a block
that nobody made proves nothing to whoever verifies, and harms nothing. One that would make the file
too large is kept beside it in the log's folder, so that filling the file does not lose it either.

Receipts of an anchor's own chain are taken of anchors that are named here, and of nobody else: a
key costs nothing, and each has a file of its own.

What a crash leaves: every write is repeated by the redelivery, in the same order, from the stored
receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256

import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    ImmutableConflictError,
)
from recorder_worker.core.events import AnchorReceipt
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.beacon import (
    MAX_BEACON_TIMESTAMP_SIZE,
    Beacon,
    encode_beacon,
    parse_beacon,
)
from recorder_worker.core.receipts.chain import (
    Anchor,
    fingerprint,
    parse_chain_receipt,
    verify_chain_receipt,
)
from recorder_worker.core.receipts.ots import merge_ots, verify_ots
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.core.retention.statement import MAX_STATEMENTS
from recorder_worker.core.session_log.entries import NO_SESSION
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.ports import BlobStore
from recorder_worker.stages.store_check import check_store

log = structlog.get_logger(__name__)

SUFFIXES = {"rfc3161": "tsr", "opentimestamps": "ots"}
"""Of the receipts' files. Those of a chain have the anchor's key in their name, one file each."""

MAX_AHEAD_NS = 300 * 1_000_000_000
"""How far a time-stamp of nobody in particular may be ahead of our clock to get into the next OPEN:
5 minutes are a clock that is off, more is a time that would be held against honest receipts."""


class ReceiptsStage:
    """The handler of `integration.anchor.receipt`.

    Args:
        store: where recordings and the log of sessions are.
        trusted: whose time-stamps are taken; empty: anybody's.
        wall_ns: our own clock, nanoseconds since the Unix epoch.
        anchors: whose entries of their own chains are taken; empty: nobody's.
    """

    def __init__(
        self,
        store: BlobStore,
        trusted: Sequence[TimestampAuthority] = (),
        wall_ns: Callable[[], int] = time.time_ns,
        anchors: Sequence[Anchor] = (),
    ) -> None:
        self._store = store
        self._trusted = trusted
        self._anchors = anchors
        self._wall_ns = wall_ns

    async def handle(self, receipt: AnchorReceipt) -> None:
        """Store one receipt.

        Raises:
            BlobMissingError: its session has no log proof here.
            ProofError, FormatError: it is not over that proof's checkpoint, or of nobody who is
                trusted.
            StoreError: try again.
        """
        try:
            await asyncio.to_thread(self._handle, receipt)
        except BlobMissingError:
            await asyncio.to_thread(check_store, self._store)
            raise

    def _handle(self, receipt: AnchorReceipt) -> None:
        note, of_session = self._note(receipt)
        self._check(receipt, note)
        name = _file_name(receipt)
        self._store.put(keys.log_key(keys.receipt(receipt.tree_size, "note")), note)
        kept = self._keep(keys.log_key(name), receipt.receipt, receipt.kind, note)
        if of_session:
            self._keep(keys.blob_key(receipt.session_id, name), kept, receipt.kind, note)
        if receipt.kind == "rfc3161":
            self._advance_beacon(receipt.tree_size, note, (kept, receipt.receipt))
        log.info(
            "ReceiptStored",
            session_id=receipt.session_id,
            tree_size=receipt.tree_size,
            kind=receipt.kind,
            target=receipt.target,
        )

    def _proofs(self, receipt: AnchorReceipt) -> Iterator[tuple[str, bool]]:
        """Keys of the proofs it may be over; and whether it is kept with the session as well.

        One of a statement of retention says when that was made, and nothing of the recording.
        """
        session_id = receipt.session_id
        if session_id == NO_SESSION:
            yield keys.audit_proof(receipt.tree_size), False
            return
        for name in (keys.PROOF_SEAL, keys.PROOF_OPEN):
            yield keys.blob_key(session_id, name), True
        for number in range(1, MAX_STATEMENTS + 1):
            if self._store.size(keys.blob_key(session_id, keys.statement(number))) is None:
                return
            yield keys.blob_key(session_id, keys.statement_proof(number)), False

    def _note(self, receipt: AnchorReceipt) -> tuple[bytes, bool]:
        """The checkpoint that the receipt has to be over, and whether it is of the recording."""
        found = []
        for key, of_session in self._proofs(receipt):
            with suppress(BlobMissingError):
                found.append((parse_log_proof(self._store.get(key)).checkpoint, of_session))
        if not found:
            raise BlobMissingError(
                f"receipt for log size {receipt.tree_size}: expected a log proof of session "
                f"{receipt.session_id}, found none; it was deleted, or is not of this recorder"
            )
        said = (receipt.origin, receipt.tree_size, receipt.root_hash)
        for note, of_session in found:
            head = note.head
            if (head.origin, head.tree_size, head.root_hash.hex()) == said:
                return note.raw, of_session
        heads = ", ".join(f"{n.head.tree_size} of {n.head.origin}" for n, _ in found)
        raise ProofError(
            f"receipt for size {receipt.tree_size} of {receipt.origin}: expected a checkpoint that "
            f"stands in a log proof of session {receipt.session_id} ({heads}), with its root"
        )

    def _check(self, receipt: AnchorReceipt, note: bytes) -> None:
        if receipt.kind == "opentimestamps":
            verify_ots(receipt.receipt, note)
            return
        if receipt.kind == "chain":
            self._check_chain(receipt, note)
            return
        found = verify_timestamp(receipt.receipt, note, self._trusted)
        if self._trusted and found.trusted_by is None:
            names = " or ".join(authority.name for authority in self._trusted)
            raise ProofError(
                f"receipt for log size {receipt.tree_size}: expected a time-stamp of {names}, got "
                f"one of {found.authority}: {found.why_untrusted}"
            )

    def _check_chain(self, receipt: AnchorReceipt, note: bytes) -> None:
        found = verify_chain_receipt(receipt.receipt, note, self._anchors)
        if found.trusted_by is None:
            names = " or ".join(anchor.name for anchor in self._anchors) or "nobody"
            raise ProofError(
                f"receipt for log size {receipt.tree_size}: expected one of {names}, got one of "
                f"{found.entry.name}, key {found.entry.public_key.hex()}; name that key in "
                "anchors.chain_keys to have its receipts kept"
            )

    def _keep(self, key: str, data: bytes, kind: str, note: bytes) -> bytes:
        """Store a receipt, beside or in place of what is there; gives what is stored in the end."""
        try:
            self._store.put(key, data)
        except ImmutableConflictError:
            kept = self._store.get(key)
            if kind == "opentimestamps":
                better = self._merged(key, kept, data)
            elif kind == "chain":
                better = kept
            else:
                better = data if self._trusted and not self._vouched(kept, note) else kept
            if better == kept:
                log.info("ReceiptKept", key=key, why="there is one already")
                return kept
            self._store.replace(key, better)
            return better
        return data

    def _merged(self, key: str, kept: bytes, data: bytes) -> bytes:
        """One OpenTimestamps proof of two; the one that is kept where it has no more room."""
        merged = merge_ots(kept, data)
        if merged is not None:
            return merged
        size, suffix = key.rsplit("/", 1)[1].split(".")
        name = f"{keys.LOG_RECEIPTS}/{size}.{sha256(data).hexdigest()}.{suffix}"
        self._store.put(keys.log_key(name), data)
        log.warning("ReceiptKeptBeside", key=key, beside=name, why="the proofs are too large")
        return kept

    def _advance_beacon(self, tree_size: int, note: bytes, timestamps: Sequence[bytes]) -> None:
        """Let the next OPEN hold the first of these that may be there, unless there is a newer."""
        key = keys.log_key(keys.LOG_BEACON)
        fit = [data for data in timestamps if self._fits_beacon(data, note)]
        if not fit:
            log.warning("ReceiptNotForBeacon", tree_size=tree_size, why="its time is ahead")
            return
        if len(fit[0]) > MAX_BEACON_TIMESTAMP_SIZE:
            log.warning("ReceiptTooLargeForBeacon", tree_size=tree_size, size=len(fit[0]))
            return
        with suppress(BlobMissingError, FormatError):
            held = parse_beacon(self._store.get(key))
            stands = self._fits_beacon(held.timestamp, held.note.encode())
            if stands and held.tree_size >= tree_size:
                return
        beacon = Beacon(tree_size=tree_size, note=note.decode(), timestamp=fit[0])
        self._store.replace(key, encode_beacon(beacon))

    def _fits_beacon(self, data: bytes, note: bytes) -> bool:
        """Whether a time-stamp is trusted; where nobody is named, whether its time can be."""
        if self._trusted:
            return self._vouched(data, note)
        with suppress(FormatError, ProofError):
            return verify_timestamp(data, note).time_ns <= self._wall_ns() + MAX_AHEAD_NS
        return False

    def _vouched(self, data: bytes, note: bytes) -> bool:
        """Whether a time-stamp is right, and of an authority that is trusted here."""
        with suppress(FormatError, ProofError):
            return verify_timestamp(data, note, self._trusted).trusted_by is not None
        return False


def _file_name(receipt: AnchorReceipt) -> str:
    """Where a receipt that was checked is kept, below the log and below its session."""
    if receipt.kind == "chain":
        entry = parse_chain_receipt(receipt.receipt).entry
        return keys.chain_receipt(receipt.tree_size, fingerprint(entry.public_key))
    return keys.receipt(receipt.tree_size, SUFFIXES[receipt.kind])
