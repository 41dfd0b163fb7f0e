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
        self.second = MemoryStore()
        self.signer = MemorySigner()
        self.ciphers = MemoryCipherKeys()

    def write_out(self) -> None:
        """Both stores as folders, for those who read one."""
        for store, folder in ((self.store, self.folder), (self.second, second_of(self.folder))):
            folder.mkdir(exist_ok=True)
            for key in store.keys(""):
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.get(key))

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
        second_of(self.folder).mkdir()
        self.second = DirectoryStore(second_of(self.folder))
        self.signer = FileSigner(self._keys / "device.pem")
        self.ciphers = CipherKeyFiles(self._keys / "ciphers")

    def write_out(self) -> None:
        """They are folders."""

    def private_keys(self) -> list[str]:
        """As those in memory."""
        epochs = {path.name for path in (self._keys / "epochs").iterdir() if path.is_dir()}
        return sorted(epochs | {path.stem for path in (self._keys / "ciphers").glob("*.key")})


def put_over(store: MemoryStore | DirectoryStore, key: str, data: bytes) -> None:
    """Change a blob that must never change, as a bad disk does, or a person who restores it."""
    if isinstance(store, MemoryStore):
        store.tamper(key, data)
    else:
        Path(store.location(key)).write_bytes(data)


def second_of(folder: Path) -> Path:
    """The folder of the second store, beside the first one's."""
    return folder.parent / "second"


def sessions_in(parts: Parts) -> dict[str, bytes]:
    """Every file of every session in both stores, by its store and key."""
    return {
        f"{name}:{key}": store.get(key)
        for name, store in (("first", parts.store), ("second", parts.second))
        for key in store.keys("sessions")
    }


Parts = MemoryParts | FileParts
