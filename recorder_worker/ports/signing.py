"""Who signs."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey


class Signer(Protocol):
    """Holds the device's keys and those of epochs, so that a KMS can stand here.

    No private key ever leaves it. What it makes is stored before it is given out, so that
    whoever asks again, after a crash or on another worker, gets the same.
    """

    def device_keys(self) -> tuple[PublicKey, ...]:
        """The public keys of the device: Ed25519, and ML-DSA-44 beside it where that is on."""
        ...

    def former_keys(self) -> tuple[PublicKey, ...]:
        """Public keys that the device had before, the newest first.

        Those alone that verified statements of rotation tie to the keys in force.
        """
        ...

    def sign_device(self, kind: KeyKind, message: bytes) -> bytes:
        """A signature of a message by one of the device's keys. Ed25519 is deterministic."""
        ...

    def session_secret(self, session_id: str) -> bytes:
        """32 secret bytes, always the same for one session, from which record salts are derived."""
        ...

    def open_epoch(self, session_id: str, epoch: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch; made if there are none yet, told if it is closed.

        Raises:
            KeyErasedError: it was closed before it had any.
        """
        ...

    def sign_epoch(self, session_id: str, epoch: int, kind: KeyKind, message: bytes) -> bytes:
        """A signature of a message by one of an epoch's keys.

        Raises:
            KeyErasedError: the epoch is closed.
        """
        ...

    def close_epoch(self, session_id: str, epoch: int) -> None:
        """Erase the private keys of an epoch for ever; harmless when repeated."""
        ...

    def close_session(self, session_id: str) -> None:
        """Remove all that is left of a sealed session's keys; harmless when repeated."""
        ...
