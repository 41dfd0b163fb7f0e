"""Signs with keys in files. A KMS that takes this place needs to sign and to forget, no more."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from recorder_worker.adapters.device_key import secret_file
from recorder_worker.adapters.device_key.device_files import DeviceKeyFiles
from recorder_worker.adapters.device_key.epoch_keys import EpochKeyFiles
from recorder_worker.adapters.device_key.private_keys import from_pem_text, kinds
from recorder_worker.core.errors import FormatError, SettingsError
from recorder_worker.core.signing.origins import check_recorder, default_recorder
from recorder_worker.core.signing.rotation import former_keys
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

PEM_SETTING = "keys.device_key_pem"

_SIGNED = b"session-recorder session secret v1\n"
_DERIVED = "session-recorder 2026-11 session secret v1"


class FileSigner:
    """Device keys and epoch keys in files; satisfies `Signer`. Thread-safe; holds device keys only.

    Args:
        path: of the device's Ed25519 key (PEM), made on first use; not touched where `pem` is
            given.
        folder: where the other files are: `recorder`, `epochs`, `rotations`; None: beside the key.
        ml_dsa_44: whether an ML-DSA-44 key stands beside each Ed25519 key.
        pem: the device's keys as text, from a secret of the environment.

    Raises:
        SettingsError: a file is open to others, or is not such a key; or `pem` is none.
        StoreError: a file cannot be read or made.
    """

    def __init__(
        self, path: Path, *, folder: Path | None = None, ml_dsa_44: bool = False, pem: str = ""
    ) -> None:
        self.path = path
        self._folder = folder or path.parent
        self._kinds = kinds(ml_dsa_44=ml_dsa_44)
        self._from = PEM_SETTING if pem else str(path)
        self._files = DeviceKeyFiles(path, self._folder, ml_dsa_44=ml_dsa_44)
        if pem:
            self._device = from_pem_text(pem, self._kinds, PEM_SETTING)
        else:
            self._device = self._files.load_or_make()
        self.recorder = recorder_id(self._folder, self.device_keys())
        self._epochs = EpochKeyFiles(self._folder / "epochs", self._kinds)

    def device_keys(self) -> tuple[PublicKey, ...]:
        """The public keys of the device."""
        return self._device.public()

    def former_keys(self) -> tuple[PublicKey, ...]:
        """The public keys before them, by the statements of rotation. Raises StoreError."""
        return former_keys(self.device_keys(), self._files.statements())

    def sign_device(self, kind: KeyKind, message: bytes) -> bytes:
        """A signature of a message by one of the device's keys."""
        return self._device.sign(kind, message)

    def session_secret(self, session_id: str) -> bytes:
        """32 bytes, made of a signature over the session's id and then stored.

        Stored, so that a rotation in mid-session changes nothing. The signed text is no
        checkpoint and no record: all of them begin otherwise.
        """
        return self._epochs.secret(session_id, lambda: self._derived(session_id))

    def open_epoch(self, session_id: str, epoch: int) -> tuple[PublicKey, ...]:
        """The public keys of an epoch; made if there are none yet. Raises KeyErasedError."""
        return self._epochs.open(session_id, epoch)

    def sign_epoch(self, session_id: str, epoch: int, kind: KeyKind, message: bytes) -> bytes:
        """A signature of a message by one of an epoch's keys. Raises KeyErasedError."""
        return self._epochs.sign(session_id, epoch, kind, message)

    def close_epoch(self, session_id: str, epoch: int) -> None:
        """Erase an epoch's private keys for ever, as far as a file system can."""
        self._epochs.close(session_id, epoch)

    def close_session(self, session_id: str) -> None:
        """Remove all that is left of a sealed session."""
        self._epochs.close_session(session_id)

    def _derived(self, session_id: str) -> bytes:
        signature = self.sign_device(KeyKind.ED25519, _SIGNED + session_id.encode())
        return blake3(signature, derive_key_context=_DERIVED).digest()

    def __repr__(self) -> str:
        return f"FileSigner({self._from!r}, public key {self.device_keys()[0].data.hex()})"


def recorder_id(folder: Path, device_keys: tuple[PublicKey, ...], *, keep: bool = True) -> str:
    """The id of a recorder that is given no other; kept, so that it outlives a rotation.

    Where `keep` is false and there is none yet, the one that would be made; nothing is stored.

    Raises:
        SettingsError: the file holds something else.
        StoreError: it cannot be read or made.
    """
    place = folder / "recorder"
    made = f"{default_recorder(device_keys[0].data)}\n".encode()
    with secret_file.store_errors(f"recorder id {place}"):
        held = secret_file.read(place)
        if not held:
            held = secret_file.put_if_absent(place, lambda: made) if keep else made
    try:
        return check_recorder(held.decode().removesuffix("\n"))
    except (FormatError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"recorder id {place}: expected the id in one line, found {held[:160]!r}; restore it"
        ) from error
