"""Where a world keeps bytes and keys: in memory, or in files as a recorder does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memory_ciphers import MemoryCipherKeys
from memory_signer import MemorySigner
from memory_store import MemoryStore

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.directory_store import DirectoryStore


@dataclass
class MemoryParts:
    """Strict, and quick."""

    folder: Path

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.signer = MemorySigner()
        self.ciphers = MemoryCipherKeys()

    def write_out(self) -> None:
        """The store as a folder, for those who read one."""
        for key in self.store.keys(""):
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.store.get(key))

    def private_keys(self) -> list[str]:
        """The sessions of which a private key is left."""
        return sorted({session for session, _ in self.signer._epochs} | set(self.ciphers.held))


@dataclass
class FileParts:
    """Those of the product."""

    folder: Path

    def __post_init__(self) -> None:
        self._keys = self.folder.parent / "keys"
        self.store = DirectoryStore(self.folder)
        self.signer = FileSigner(self._keys / "device.pem")
        self.ciphers = CipherKeyFiles(self._keys / "ciphers")

    def write_out(self) -> None:
        """It is a folder."""

    def private_keys(self) -> list[str]:
        """As those in memory."""
        epochs = {path.name for path in (self._keys / "epochs").iterdir() if path.is_dir()}
        return sorted(epochs | {path.stem for path in (self._keys / "ciphers").glob("*.key")})


Parts = MemoryParts | FileParts
