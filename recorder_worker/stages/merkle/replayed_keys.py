"""What a signer gave to the records of a session, read back from them."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.errors import PermanentError
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import EpochRecord, OpenRecord
from recorder_worker.core.records.salts import SALT_SIZE
from recorder_worker.core.signing.signing_keys import PublicKey


class ReplayedKeys:
    """`RecordKeys` out of stored records, for a replay that is compared with them."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._salts: list[bytes] = []
        self._epochs: dict[int, tuple[PublicKey, ...]] = {}
        self._open: OpenRecord | None = None
        for data in records:
            record = decode_record(data)
            self._salts.append(record.salt)
            if isinstance(record, OpenRecord):
                self._open = record
                self._epochs[0] = record.epoch_keys
            elif isinstance(record, EpochRecord):
                self._epochs[record.number] = record.keys

    @property
    def recorder(self) -> str:
        """The id of the recorder."""
        return self._opened().recorder

    def salt(self, index: int) -> bytes:
        """The salt of a record; zeros for one that was not there."""
        return self._salts[index] if index < len(self._salts) else bytes(SALT_SIZE)

    def device_keys(self) -> tuple[PublicKey, ...]:
        """The public keys of the device."""
        return self._opened().device_keys

    def endorse(self, _message: bytes) -> tuple[bytes, ...]:
        """The signatures that the record has; another message shows in another root."""
        return self._opened().device_signatures

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch; none for one that the records do not name."""
        return self._epochs.get(number, ())

    def _opened(self) -> OpenRecord:
        if self._open is None:
            raise PermanentError("expected an OPEN record among those of the session, found none")
        return self._open
