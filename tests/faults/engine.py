"""An engine outside of the recorder that receipts every checkpoint of the log of sessions."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from recorder_worker.core.events import AnchorReceipt, AnchorRequested
from recorder_worker.core.receipts.chain import FIRST, Anchor, ChainEntry, sign_entry

NAME = "engine-of-tests"


class Engine:
    """Signs entries of a chain of its own; asked again for a size, it gives the same one."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._given: dict[int, AnchorReceipt] = {}
        self._last = FIRST

    @property
    def anchor(self) -> Anchor:
        return Anchor(name=NAME, public_key=self._key.public_key().public_bytes_raw())

    def receipt(self, request: AnchorRequested, now_s: int) -> AnchorReceipt:
        if request.tree_size not in self._given:
            entry = ChainEntry(
                name=NAME,
                public_key=self.anchor.public_key,
                origin=request.origin,
                tree_size=request.tree_size,
                root_hash=bytes.fromhex(request.root_hash),
                note_sha256=sha256(request.note.encode()).hexdigest(),
                time_s=now_s,
                number=len(self._given) + 1,
                previous=self._last,
            )
            self._last = entry.digest
            self._given[request.tree_size] = AnchorReceipt(
                origin=request.origin,
                tree_size=request.tree_size,
                root_hash=request.root_hash,
                session_id=request.session_id,
                kind="chain",
                target=NAME,
                receipt=sign_entry(entry, self._key.sign),
            )
        return self._given[request.tree_size]
