"""A recorder's data directory in memory: small sessions, and the log that holds them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recording_files import FilesReader
from recordings import FRAME_NS, RECORDER, WALL_NS, Recording, device_key

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.merkle.proofs import inclusion_proof
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.model import GapReason
from recorder_worker.core.session_log.entries import EntryKind, LogEntry, encode_entry, entry_hash
from recorder_worker.core.session_log.growth import growth
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    SignedNote,
    TreeHead,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.verify import TrustPolicy

Files = dict[str, bytes]
NO_SEAL = "0" * 64
DOT = (2, 2)
"""A picture of so many pixels: a black one has 35 bytes, a stored chunk of it as many."""


def session_id(number: int) -> str:
    return f"0192f0c1-2b3c-7d4e-8f50-{number:012d}"


def black(unit: int) -> bytes:
    """The frame record of a black picture, as docs/format.md has it."""
    t_ns = unit * FRAME_NS
    return struct.pack(">BBHHQQQI", 1, 1, *DOT, unit, t_ns, WALL_NS + t_ns, 1) + b"\0"


def every_record(recording: Recording) -> None:
    """One of each type behind OPEN: chunks of both codecs, a mark, a gap, an epoch and a beat."""
    recording.chunk(1, size=DOT).mark('{"x":1}').gap(1, GapReason.SOURCE_LOST).epoch().beat()
    recording.chunk(1, size=DOT, codec="stored", plain=black(recording.unit))


def a_chunk(recording: Recording) -> None:
    recording.chunk(1, size=DOT)


def log_note(size: int, root: bytes, key: Ed25519PrivateKey, origin: str) -> bytes:
    """A checkpoint of a log of sessions, whoever signs it."""
    name = NoteKey(
        name=origin,
        public_key=key.public_key().public_bytes_raw(),
        type=SignatureType.ED25519,
    )
    head = TreeHead(origin=origin, tree_size=size, root_hash=root)
    signers = [NoteSigner(key=name, sign=key.sign)]
    return sign_checkpoint(head, signers=signers, signed_at_s=0)


def entry_of(recording: Recording, kind: EntryKind) -> bytes:
    """The entry of a session in the log."""
    note = recording.notes[1 if kind is EntryKind.OPEN else max(recording.notes)]
    return encode_entry(
        LogEntry(
            kind=kind,
            session_id=recording.session_id,
            counter=recording.numbered.counter,
            note_sha256=hashlib.sha256(note).digest(),
        )
    )


class LoggedSessions:
    """`log/` and `sessions/` of one recorder; satisfies `Sessions`.

    Attributes:
        recordings: as they were made, by session id; `folders` are their files, which an attacker
            may change.
        entries: of the log, in order; `log` are its files.
        notes: every checkpoint that the log ever had, the oldest first.
    """

    def __init__(self, device: Ed25519PrivateKey | None = None) -> None:
        self.device = device or device_key()
        self.origin = f"{RECORDER}/log"
        self.recordings: dict[str, Recording] = {}
        self.folders: dict[str, Files] = {}
        self.entries: list[bytes] = []
        self.log: Files = {}
        self.notes: list[bytes] = []
        self._proofs: dict[str, Files] = {}
        self._last_seal = NO_SEAL

    # --- what the recorder does -------------------------------------------------------------------

    def begin(self, number: int | None = None, *, every: int = 1, beacon: bool = True) -> Recording:
        """OPEN of the next session, and its entry in the log."""
        number = number or len(self.recordings) + 1
        name = session_id(number)
        recording = Recording(name, key=self.device, checkpoint_every=every)
        recording.numbered = SessionNumbered(
            session_id=name,
            counter=number,
            previous_seal=self._last_seal,
            beacon=self.notes[-1].decode() if self.notes and beacon else "",
        )
        recording.open()
        if 1 not in recording.notes:
            recording.sign()
        self.recordings[name] = recording
        self._proofs[name] = {keys.PROOF_OPEN: self.append(entry_of(recording, EntryKind.OPEN))}
        self.folders[name] = recording.journal() | self._proofs[name]
        return recording

    def seal(self, recording: Recording) -> Recording:
        """SEAL, its entry, and the folder as it is then."""
        recording.seal()
        name, entry = recording.session_id, entry_of(recording, EntryKind.SEAL)
        self._proofs[name][keys.PROOF_SEAL] = self.append(entry)
        self._last_seal = entry[-32:].hex()
        self.folders[name] = recording.sealed() | self._proofs[name]
        return recording

    def record(
        self,
        fill: Callable[[Recording], object] = a_chunk,
        *,
        number: int | None = None,
        every: int = 1,
        beacon: bool = True,
    ) -> Recording:
        """A whole session."""
        recording = self.begin(number, every=every, beacon=beacon)
        fill(recording)
        return self.seal(recording)

    def append(self, entry: bytes) -> bytes:
        """One more entry; gives the proof of it."""
        index = len(self.entries)
        self.log |= dict(growth(self.read, index, [entry]))
        self.entries.append(entry)
        tree = Tree(map(entry_hash, self.entries), SHA256)
        note = log_note(tree.size, tree.root(), self.device, self.origin)
        self.log[keys.LOG_CHECKPOINT] = note
        self.notes.append(note)
        hashes = tuple(inclusion_proof(tree, index, tree.size))
        return LogProof(index=index, hashes=hashes, checkpoint=parse_note(note)).text()

    def journal_of(self, name: str) -> Files:
        """The folder of a session that is sealed, before it was put together."""
        return self.recordings[name].journal() | self._proofs[name]

    # --- what an attacker does --------------------------------------------------------------------

    def rewrite(self, entries: Sequence[bytes], key: Ed25519PrivateKey | None = None) -> None:
        """Another log in the place of this one: by who has its key, or by who has not."""
        tree = Tree(map(entry_hash, entries), SHA256)
        self.entries, self.log = list(entries), {}
        self.log = dict(growth(self.read, 0, entries))
        note = log_note(tree.size, tree.root(), key or self.device, self.origin)
        self.log[keys.LOG_CHECKPOINT] = note

    # --- what the check of the log reads ----------------------------------------------------------

    def read(self, name: str) -> bytes:
        if name not in self.log:
            raise BlobMissingError(f"{name}: expected a file, found none")
        return self.log[name]

    def ids(self) -> list[str]:
        return sorted(self.folders)

    def recording(self, name: str) -> FilesReader | None:
        return FilesReader(self.folders[name]) if name in self.folders else None

    def audit(self, *seen: bytes, policy: TrustPolicy | None = None) -> LogReport:
        """`recorder log verify`, with checkpoints of the log that somebody kept."""
        notes: list[tuple[str, SignedNote]] = [("--seen", parse_note(note)) for note in seen]
        return audit_log(self.read, self, policy=policy, seen=notes)


def clip_of(files: Files, window: Window) -> Files:
    """A clip of a recording, in memory."""
    reader = FilesReader(files)
    return {name: b"".join(data) for name, data in clip_files(reader, plan_of(reader, window))}
