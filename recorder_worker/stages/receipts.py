"""Checks receipts over the log of sessions and stores them: with the log, and with the session.

A receipt is taken if it is over the exact checkpoint that stands in a log proof of its session.
Anything else is refused, and nothing is stored. The first receipt of a kind for a size stays; a
second one of another authority adds nothing, and a redelivery finds the same bytes. Only an
OpenTimestamps proof that was merely promised is replaced, by one that names its block.

What a crash leaves: every write is repeated by the redelivery, in the same order, from the stored
receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    ImmutableConflictError,
)
from recorder_worker.core.events import AnchorReceipt
from recorder_worker.core.proofs import ProofError
from recorder_worker.core.receipts.authorities import TimestampAuthority
from recorder_worker.core.receipts.beacon import (
    MAX_BEACON_TIMESTAMP_SIZE,
    Beacon,
    encode_beacon,
    parse_beacon,
)
from recorder_worker.core.receipts.ots import verify_ots
from recorder_worker.core.receipts.timestamp import verify_timestamp
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.ports import BlobStore

log = structlog.get_logger(__name__)

SUFFIXES = {"rfc3161": "tsr", "opentimestamps": "ots"}


class ReceiptsStage:
    """The handler of `integration.anchor.receipt`.

    Args:
        store: where recordings and the log of sessions are.
        trusted: whose time-stamps are taken; empty: anybody's.
    """

    def __init__(self, store: BlobStore, trusted: Sequence[TimestampAuthority] = ()) -> None:
        self._store = store
        self._trusted = trusted

    async def handle(self, receipt: AnchorReceipt) -> None:
        """Store one receipt.

        Raises:
            BlobMissingError: its session has no log proof here.
            ProofError, FormatError: it is not over that proof's checkpoint, or of nobody who is
                trusted.
            StoreError: try again.
        """
        await asyncio.to_thread(self._handle, receipt)

    def _handle(self, receipt: AnchorReceipt) -> None:
        note = self._note(receipt)
        self._check(receipt, note)
        name = keys.receipt(receipt.tree_size, SUFFIXES[receipt.kind])
        self._store.put(keys.log_key(keys.receipt(receipt.tree_size, "note")), note)
        kept = self._keep(keys.log_key(name), receipt.receipt, receipt.kind, note)
        self._keep(keys.blob_key(receipt.session_id, name), kept, receipt.kind, note)
        if receipt.kind == "rfc3161":
            self._advance_beacon(receipt.tree_size, note, kept)
        log.info(
            "ReceiptStored",
            session_id=receipt.session_id,
            tree_size=receipt.tree_size,
            kind=receipt.kind,
            target=receipt.target,
        )

    def _note(self, receipt: AnchorReceipt) -> bytes:
        """The checkpoint that the receipt has to be over: from a log proof of its session."""
        found = []
        for name in (keys.PROOF_SEAL, keys.PROOF_OPEN):
            with suppress(BlobMissingError):
                data = self._store.get(keys.blob_key(receipt.session_id, name))
                found.append(parse_log_proof(data).checkpoint)
        if not found:
            raise BlobMissingError(
                f"receipt for log size {receipt.tree_size}: expected a log proof of session "
                f"{receipt.session_id}, found none; it was deleted, or is not of this recorder"
            )
        said = (receipt.origin, receipt.tree_size, receipt.root_hash)
        for note in found:
            head = note.head
            if (head.origin, head.tree_size, head.root_hash.hex()) == said:
                return note.raw
        heads = ", ".join(f"{n.head.tree_size} of {n.head.origin}" for n in found)
        raise ProofError(
            f"receipt for size {receipt.tree_size} of {receipt.origin}: expected a checkpoint that "
            f"stands in a log proof of session {receipt.session_id} ({heads}), with its root"
        )

    def _check(self, receipt: AnchorReceipt, note: bytes) -> None:
        if receipt.kind == "opentimestamps":
            verify_ots(receipt.receipt, note)
            return
        found = verify_timestamp(receipt.receipt, note, self._trusted)
        if self._trusted and found.trusted_by is None:
            names = " or ".join(authority.name for authority in self._trusted)
            raise ProofError(
                f"receipt for log size {receipt.tree_size}: expected a time-stamp of {names}, got "
                f"one of {found.authority}: {found.why_untrusted}"
            )

    def _keep(self, key: str, data: bytes, kind: str, note: bytes) -> bytes:
        """Store a receipt unless there is one; gives the one that is stored in the end."""
        try:
            self._store.put(key, data)
        except ImmutableConflictError:
            kept = self._store.get(key)
            if not _is_upgrade(data, kept, kind, note):
                log.info("ReceiptKept", key=key, why="there is one already")
                return kept
            self._store.replace(key, data)
        return data

    def _advance_beacon(self, tree_size: int, note: bytes, timestamp: bytes) -> None:
        """Let the next OPEN hold this receipt, unless there is a newer one."""
        key = keys.log_key(keys.LOG_BEACON)
        if len(timestamp) > MAX_BEACON_TIMESTAMP_SIZE:
            log.warning("ReceiptTooLargeForBeacon", tree_size=tree_size, size=len(timestamp))
            return
        with suppress(BlobMissingError, FormatError):
            if parse_beacon(self._store.get(key)).tree_size >= tree_size:
                return
        beacon = Beacon(tree_size=tree_size, note=note.decode(), timestamp=timestamp)
        self._store.replace(key, encode_beacon(beacon))


def _is_upgrade(data: bytes, kept: bytes, kind: str, note: bytes) -> bool:
    """Whether a receipt names a block where the stored one is only a promise."""
    if kind != "opentimestamps":
        return False
    return verify_ots(data, note).complete and not verify_ots(kept, note).complete
