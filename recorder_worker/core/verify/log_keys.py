"""Which keys speak for the log of sessions of a recording's recorder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.signing.note import NoteKey, SignatureType, SignedNote, verify_note
from recorder_worker.core.signing.rotation import Rotation
from recorder_worker.core.verify.steps import tampered


class LogKeys:
    """The device's key in OPEN, and those that statements of rotation in the policy tie to it."""

    def __init__(self, opened: OpenRecord, rotations: Sequence[Rotation] = ()) -> None:
        self.origin = f"{opened.recorder}/log"
        self._opened = opened
        self._rotations = rotations

    def public_keys(self) -> Iterator[bytes]:
        """Each raw Ed25519 key, that in OPEN first. Raises StepFailedError where it has none."""
        if not self._opened.device_keys:
            raise tampered("OPEN names no key of the device")
        reached = [self._opened.device_keys[0].data]
        for data in reached:  # grows while it is walked
            yield data
            for rotation in self._rotations:
                pair = (rotation.old[0].data, rotation.new[0].data)
                if data in pair:
                    reached += [other for other in pair if other not in reached]

    def check(self, checkpoint: SignedNote) -> None:
        """Whether a checkpoint is of this log, and signed by one of the keys.

        Raises:
            StepFailedError: it is of another log.
            ProofError: it is not signed by one of them.
        """
        if checkpoint.head.origin != self.origin:
            raise tampered(
                f"expected a checkpoint of {self.origin}, found one of {checkpoint.head.origin}"
            )
        keys = {key.key_id: key for key in map(self._note_key, self.public_keys())}
        ours = [key for line in checkpoint.signatures if (key := keys.get(line.key_id))]
        if not ours:
            raise ProofError(
                "expected a log checkpoint signed by the device's key in OPEN, or by one that "
                "statements of rotation in the policy tie to it; found another key"
            )
        verify_note(checkpoint, ours[0])

    def _note_key(self, public_key: bytes) -> NoteKey:
        return NoteKey(name=self.origin, public_key=public_key, type=SignatureType.ED25519)
