"""Step 14: the session stands in the recorder's log of sessions, when it begins and when it ends.

The entries are made again from the recording (docs/format.md, "Proofs and receipts"), so a proof
that fits shows that the log holds this session and no other under its number. A proof that is not
there shows nothing; one that is there and wrong is tampering.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.session_log.entries import (
    EntryKind,
    LogEntry,
    encode_entry,
    entry_hash,
)
from recorder_worker.core.session_log.log_proof import MAX_PROOF_SIZE, LogProof, parse_log_proof
from recorder_worker.core.signing.note import SignedNote, parse_note
from recorder_worker.core.signing.rotation import Rotation
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.log_keys import LogKeys
from recorder_worker.core.verify.reader import RecordingReader, read_bounded
from recorder_worker.core.verify.receipts import Covers, LogCheckpoint
from recorder_worker.core.verify.steps import StepFailedError, tampered
from recorder_worker.core.verify.verdicts import Verdict

NAMES = {Covers.OPEN: f"{keys.PROOFS}/open", Covers.SEAL: f"{keys.PROOFS}/seal"}
KINDS = {Covers.OPEN: EntryKind.OPEN, Covers.SEAL: EntryKind.SEAL}


class LogEntries:
    """What the proofs of a recording show.

    Attributes:
        checkpoints: log checkpoints of the proofs that hold.
        missing: which entries are not proved because there is no proof.
    """

    def __init__(
        self,
        reader: RecordingReader,
        opened: OpenRecord,
        findings: Findings,
        rotations: Sequence[Rotation] = (),
    ) -> None:
        self.checkpoints: list[LogCheckpoint] = []
        self.missing: list[Covers] = []
        self._reader = reader
        self._opened = opened
        self._findings = findings
        self._keys = LogKeys(opened, rotations)
        self._proofs: dict[Covers, LogProof] = {}

    def check(self, first: SignedNote | None, last: SignedNote | None) -> str:
        """Check both proofs; what to say where all is well.

        `first` is the session's checkpoint of size 1, `last` the one over the SEAL; None: not here.
        """
        for covers, note in ((Covers.OPEN, first), (Covers.SEAL, last)):
            with self._findings.catching(NAMES[covers]):
                try:
                    self._check(covers, note)
                except BlobMissingError:
                    self.missing.append(covers)
                except (FormatError, ProofError) as error:
                    raise tampered(f"{NAMES[covers]}: {error}") from error
        for field in ("beacon", "timestamped"):
            held = getattr(self._opened, field)
            if held:
                with self._findings.catching(f"OPEN, {field}"):
                    self._after(f"OPEN, {field}", parse_note(held))
        with self._findings.catching(keys.PROOFS):
            self._in_order()
        if len(self.missing) == len(NAMES):
            self._findings.leave_out("there is no log proof")
        return "; ".join(
            f"{covers} is entry {proof.index} of {proof.checkpoint.head.tree_size}"
            for covers, proof in self._proofs.items()
        )

    def holds(self, covers: Covers) -> bool:
        """Whether an entry is proved."""
        return any(found.covers is covers for found in self.checkpoints)

    def _check(self, covers: Covers, note: SignedNote | None) -> None:
        proof = parse_log_proof(read_bounded(self._reader, NAMES[covers], MAX_PROOF_SIZE))
        if note is None:
            which = "the checkpoint of size 1" if covers is Covers.OPEN else "a signed SEAL"
            raise tampered(f"{NAMES[covers]}: expected {which}, found none here")
        entry = LogEntry(
            kind=KINDS[covers],
            session_id=self._opened.session_id,
            counter=self._opened.session_counter,
            note_sha256=hashlib.sha256(note.raw).digest(),
        )
        self._keys.check(proof.checkpoint)
        proof.verify(entry_hash(encode_entry(entry)))
        self._proofs[covers] = proof
        head = proof.checkpoint.head
        self.checkpoints.append(
            LogCheckpoint(covers=covers, tree_size=head.tree_size, note=proof.checkpoint.raw)
        )

    def _after(self, place: str, held: SignedNote) -> None:
        """What OPEN holds of the log is older than its own entry."""
        if held.head.origin != self._keys.origin:
            raise tampered(
                f"{place}: expected a checkpoint of {self._keys.origin}, found one of "
                f"{held.head.origin}"
            )
        for covers, proof in self._proofs.items():
            if proof.index < held.head.tree_size:
                raise tampered(
                    f"{NAMES[covers]}: entry {proof.index} is older than OPEN, which holds the "
                    f"log's checkpoint of size {held.head.tree_size}"
                )
        try:
            self._keys.check(held)
        except ProofError:
            self._findings.warn(
                f"{place}: it is not signed by the device's key in OPEN; a device whose key was "
                "changed holds checkpoints of its old key"
            )

    def _in_order(self) -> None:
        opened, seal = self._proofs.get(Covers.OPEN), self._proofs.get(Covers.SEAL)
        if opened is None or seal is None:
            return
        if seal.index <= opened.index:
            raise tampered(
                f"{NAMES[Covers.SEAL]}: expected an entry behind entry {opened.index} of OPEN, "
                f"found entry {seal.index}"
            )
        one, other = opened.checkpoint.head, seal.checkpoint.head
        if one.tree_size == other.tree_size and one.root_hash != other.root_hash:
            raise StepFailedError(
                Verdict.EQUIVOCATION,
                f"the device signed two roots for size {one.tree_size} of its log: the two "
                "proofs show it",
            )
