"""Steps 3 and 4: who signed OPEN and the checkpoints, and whether each key did so in its epoch.

The device's keys sign OPEN and with it the keys of epoch 0; the keys of an epoch sign the
checkpoint over the EPOCH record that names the next ones, and nothing behind it. So a checkpoint
of size s belongs to the epoch of which EPOCH records are among the first s - 1 records
(docs/format.md, "Key epochs"). journald's sealing failed where keys of one epoch were accepted in
another, and where an epoch could end without being closed (CVE-2023-31438, CVE-2023-31439).

A signature by the key of an epoch that is still to come can only be told from one by a stranger's
key at the end; `MAX_WAITING` of them are kept until then.
"""

from __future__ import annotations

from recorder_worker.core.errors import RecorderError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.codec import signed_open
from recorder_worker.core.records.leaves import AnyRecord, EpochRecord, OpenRecord
from recorder_worker.core.signing.note import NoteKey, SignedNote, note_keys, verify_note
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.signing.signing_keys import KEY_SETS, KeyKind, PublicKey, verify_signature
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.verdicts import Verdict

MAX_WAITING = 32


class Signers:
    """The key epochs of a session while its records and checkpoints pass by.

    Attributes:
        opened: the OPEN record, once it has passed.
        epoch: the number of the newest epoch; `begun` counts all, the first with them.
        origin: of this session's checkpoints; None: OPEN does not say.
    """

    def __init__(self, signatures: Findings, epochs: Findings) -> None:
        self.opened: OpenRecord | None = None
        self.epoch = 0
        self.begun = 0
        self.origin: str | None = None
        self._signatures = signatures
        self._epochs = epochs
        self._signing: tuple[int, tuple[NoteKey, ...]] = (0, ())
        self._current: tuple[int, tuple[NoteKey, ...]] = (0, ())
        self._kinds: tuple[KeyKind, ...] = ()
        self._blind = False
        self._known: dict[bytes, tuple[int, NoteKey]] = {}
        self._unclosed: int | None = None
        self._waiting: list[tuple[SignedNote, int, str]] = []
        self._further = 0

    def skip(self) -> None:
        """One more record, which cannot be read: it may have named other keys."""
        self._signing = self._current
        self._blind = True

    def feed(self, index: int, record: AnyRecord) -> None:
        """One more record, and its place. From the next size on the keys sign that it names."""
        self._signing = self._current
        if isinstance(record, OpenRecord) and self.opened is None:
            self._open(record)
        elif isinstance(record, EpochRecord) and self.opened is not None:
            self._turn(index, record)

    def _open(self, record: OpenRecord) -> None:
        self.opened = record
        try:
            self.origin = session_origin(record.recorder, record.session_id)
        except RecorderError as error:
            self._signatures.tampered(f"OPEN: {error}")
        if tuple(key.kind for key in record.device_keys) not in KEY_SETS:
            self._signatures.tampered(f"OPEN: {_kinds(record.device_keys)} are no set of keys")
        if len(record.device_signatures) != len(record.device_keys):
            self._signatures.tampered(
                f"OPEN: expected a signature of each of {len(record.device_keys)} device keys, "
                f"found {len(record.device_signatures)}"
            )
        message = signed_open(record)
        for key, signature in zip(record.device_keys, record.device_signatures, strict=False):
            try:
                verify_signature(key, message, signature)
            except ProofError as error:
                self._signatures.tampered(f"OPEN: {error}")
        self._kinds = tuple(key.kind for key in record.epoch_keys)
        if self._kinds not in KEY_SETS:
            self._epochs.tampered(f"OPEN: {_kinds(record.epoch_keys)} are no set of keys")
        self._begin(0, record.epoch_keys)
        self._signing = self._current

    def _turn(self, index: int, record: EpochRecord) -> None:
        place = f"record {index}"
        if record.number != self.epoch + 1 and not self._blind:
            self._epochs.tampered(
                f"{place}: expected epoch {self.epoch + 1} behind epoch {self.epoch}, found "
                f"epoch {record.number}"
            )
        if tuple(key.kind for key in record.keys) != self._kinds:
            self._epochs.tampered(
                f"{place}: expected keys of the kinds in OPEN, found {_kinds(record.keys)}"
            )
        self._unclosed = self._unclosed or index + 1
        self._begin(record.number, record.keys)

    def _begin(self, number: int, public: tuple[PublicKey, ...]) -> None:
        self.epoch = number
        self.begun += 1
        recorder = self.opened.recorder if self.opened else ""
        found = note_keys(recorder, public)
        self._current = (number, found)
        for key in found[:1]:
            before = self._known.setdefault(key.key_id, (number, key))[1]
            if before is not key and before.public_key == key.public_key:
                self._epochs.tampered(f"epoch {number}: its key has signed for another epoch")

    def end(self) -> None:
        """There are no more records: larger sizes are signed by the keys of the newest epoch."""
        self._signing = self._current

    def verify(self, note: SignedNote) -> int | None:
        """Hold a checkpoint of the newest size, or of a larger one, against the keys of its epoch.

        Gives the signed time in seconds where they have signed it for this session, else None.
        """
        number, found = self._signing
        size = note.head.tree_size
        if self._unclosed is not None and size > self._unclosed:
            self._epochs.tampered(
                f"an epoch begins with record {self._unclosed - 1}: expected a checkpoint of size "
                f"{self._unclosed} that closes the one before, found none by its keys"
            )
            self._unclosed = None
        self._further += len(note.signatures) > len(found)
        try:
            signed_at_s = verified(note, found)
        except ProofError as error:
            self._refuse(note, number, str(error))
            return None
        if self._unclosed == size:
            self._unclosed = None
        # What these keys signed about another session is none of its history: step 6 says so.
        return signed_at_s if note.head.origin == self.origin else None

    def vouches(self, note: SignedNote) -> int | None:
        """As `verify` for a checkpoint that was seen elsewhere: nothing here depends on it."""
        try:
            signed_at_s = verified(note, self._signing[1])
        except ProofError:
            return None
        return signed_at_s if note.head.origin == self.origin else None

    def _refuse(self, note: SignedNote, number: int, text: str) -> None:
        if self._by_another(note, number):
            return
        if self._blind:
            self._signatures.leave_out("a record that may have named the keys cannot be read")
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((note, number, text))
        else:
            self._signatures.tampered(text)

    def _by_another(self, note: SignedNote, number: int) -> bool:
        """Whether it is the key of another epoch that has signed: the rule of epochs is broken."""
        for signature in note.signatures:
            other, key = self._known.get(signature.key_id, (number, None))
            if key is None or other == number:
                continue
            try:
                verify_note(note, key)
            except ProofError:
                continue
            self._epochs.tampered(
                f"checkpoint of size {note.head.tree_size}: it is of epoch {number}, and signed by "
                f"the key of epoch {other}"
            )
            return True
        return False

    def finish(self, note_count: int) -> None:
        """All records, and so many checkpoints, have passed."""
        for note, number, text in self._waiting:
            if not self._by_another(note, number):
                self._signatures.tampered(text)
        if self._further:
            self._signatures.warn(
                f"{self._further} checkpoints carry further signatures, which were not looked at"
            )
        if self.opened is None:
            self._signatures.leave_out("there is no OPEN record that names the keys")
            self._epochs.leave_out("there is no OPEN record that names the keys")
        if note_count == 0:
            self._signatures.fail(Verdict.TRUNCATED, "there is no checkpoint: nothing is signed")
            self._epochs.leave_out("there is no checkpoint")


def verified(note: SignedNote, found: tuple[NoteKey, ...]) -> int:
    """The time of the first signature, in seconds, where every key has signed.

    Raises:
        ProofError: one has not.
    """
    if not found:
        raise ProofError(
            f"checkpoint of size {note.head.tree_size}: there is no key that could sign it"
        )
    times = [verify_note(note, key) for key in found]
    return times[0]


def _kinds(public: tuple[PublicKey, ...]) -> str:
    return ", ".join(key.kind for key in public) or "no keys"
