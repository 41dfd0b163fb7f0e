"""What a session's records need of the signer."""

from __future__ import annotations

import msgspec

from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.records.salts import Salts
from recorder_worker.core.signing.signing_keys import PublicKey
from recorder_worker.ports import Signer


class SessionKeys:
    """`RecordKeys` of one session. Blocking; call it off the event loop."""

    def __init__(self, signer: Signer, session_id: str) -> None:
        self._signer = signer
        self._session_id = session_id
        # No `cached_property`: in Python 3.11 one lock is held for all objects of the class while
        # it is made, and a signer that is slow for one session would hold up all others.
        self._salts: Salts | None = None

    def salt(self, index: int) -> bytes:
        """The salt of a record, 16 bytes."""
        if self._salts is None:
            self._salts = Salts(self._signer.session_secret(self._session_id))
        return self._salts.salt(index)

    def device_keys(self) -> tuple[PublicKey, ...]:
        """The public keys of the device."""
        return self._signer.device_keys()

    def endorse(self, message: bytes) -> tuple[bytes, ...]:
        """A signature of a message by each device key."""
        return tuple(
            self._signer.sign_device(key.kind, message) for key in self._signer.device_keys()
        )

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch; they are stored before we know them."""
        return self._signer.open_epoch(self._session_id, number)


def same_but_for_signatures(held: bytes, made: bytes) -> bool:
    """Whether two records are one OPEN, signed twice.

    ML-DSA signs with fresh randomness (FIPS 204 §3.4), so an OPEN that is made again after a
    crash has other signatures. The stored one is as good.
    """
    one, other = decode_record(held), decode_record(made)
    if not isinstance(one, OpenRecord) or not isinstance(other, OpenRecord):
        return False
    blank: tuple[bytes, ...] = ()
    return msgspec.structs.replace(one, device_signatures=blank) == msgspec.structs.replace(
        other, device_signatures=blank
    )
