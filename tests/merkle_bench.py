"""The merkle stage over a directory and real keys, for a recording of which all else is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recordings import Recording

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.verify import Verdict, verify
from recorder_worker.ports import EventLog
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.merkle.stage import MerkleStage
from recorder_worker.stages.session_table import never_lost


class MerkleBench:
    """Seven leaves, of every kind that has to do with keys, and chunks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "data")
        self.signer = FileSigner(folder / "keys" / "device.pem")
        self.recording = Recording(recorder=self.signer.recorder).open().chunk()
        self.recording.epoch().chunk(2).beat().epoch().seal()
        for name, data in self.recording.files.items():
            self.store.put(keys.blob_key(self.recording.session_id, name), data)

    def stage(self, log: EventLog, connection: Callable[[], int] = never_lost) -> MerkleStage:
        """A worker's, with nothing in its memory."""
        return MerkleStage(
            log=log,
            store=self.store,
            signer=self.signer,
            cipher_keys=CipherKeyFiles(self.folder / "keys" / "ciphers"),
            clock=SystemClock(),
            metrics=Metrics(version="0", node="tests"),
            recorder=self.signer.recorder,
            connection=connection,
        )

    def files(self) -> dict[str, bytes]:
        """What stands in the folder of the recording."""
        folder = self.recorded()
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def verdict(self) -> Verdict:
        """What the verifier says of it."""
        return verify(FolderRecording(self.recorded())).verdict

    def private_keys(self) -> list[Path]:
        """Those of epochs, which are to be gone behind the seal."""
        return list((self.folder / "keys" / "epochs").rglob("*.key"))

    def recorded(self) -> Path:
        """The folder of the recording."""
        return self.folder / "data" / "sessions" / self.recording.session_id
