"""The signed checkpoint of a head: the one that the store holds, or a new one."""

from __future__ import annotations

from functools import partial

from recorder_worker.core.errors import (
    FormatError,
    ImmutableConflictError,
    IncidentError,
    KeyErasedError,
)
from recorder_worker.core.events import Head
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.signing.note import (
    NoteSigner,
    TreeHead,
    note_keys,
    parse_note,
    sign_checkpoint,
    verify_note,
)
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.ports import Signer
from recorder_worker.stages.merkle.archive import Archive


class Notary:
    """Signs with an epoch's keys, in the recorder's name. Blocking; call it off the event loop."""

    def __init__(self, signer: Signer, recorder: str) -> None:
        self._signer = signer
        self._recorder = recorder

    def note(self, head: Head, archive: Archive) -> bytes:
        """The checkpoint of a head, durable in the archive.

        A stored one of another time is adopted: a NATS server that lost its newest messages in a
        power cut makes us store the same head again, and the first signature is as good.

        Raises:
            IncidentError: the stored checkpoint of this size is not ours, or of another tree; or
                there is none, and the keys that could make it are erased.
        """
        held = self._held(head, archive)
        if held is not None:
            return held
        note = self._sign(head)
        try:
            archive.put_note(head.tree_size, note)
        except ImmutableConflictError:
            # Another worker finishes this head too, and was quicker by a moment.
            held = self._held(head, archive)
            if held is None:
                raise
            return held
        return note

    def _sign(self, head: Head) -> bytes:
        number = head.signing.number
        signers = [
            NoteSigner(
                key=note_key,
                sign=partial(self._signer.sign_epoch, head.session_id, number, key.kind),
            )
            for key, note_key in zip(
                head.signing.keys, note_keys(self._recorder, head.signing.keys), strict=True
            )
        ]
        try:
            return sign_checkpoint(self._tree(head), signers=signers, signed_at_s=head.signed_at_s)
        except KeyErasedError as error:
            raise IncidentError(
                f"session {head.session_id}: expected the checkpoint of size {head.tree_size} in "
                f"the store, for its epoch {number} is closed; found none: {error}"
            ) from error

    def _held(self, head: Head, archive: Archive) -> bytes | None:
        try:
            held = archive.note(head.tree_size)
            if held is None:
                return None
            self._check(held, head)
        except (FormatError, ProofError) as error:
            raise IncidentError(
                f"session {head.session_id}: expected our checkpoint of size {head.tree_size} and "
                f"root {head.root_hash}, or none, in the store; found another: {error}"
            ) from error
        return held

    def _check(self, held: bytes, head: Head) -> None:
        note = parse_note(held)
        if note.head != self._tree(head):
            raise ProofError(f"it signs {note.head.text().decode()!r}")
        for key in note_keys(self._recorder, head.signing.keys):
            verify_note(note, key)

    def _tree(self, head: Head) -> TreeHead:
        return TreeHead(
            origin=session_origin(self._recorder, head.session_id),
            tree_size=head.tree_size,
            root_hash=bytes.fromhex(head.root_hash),
        )
