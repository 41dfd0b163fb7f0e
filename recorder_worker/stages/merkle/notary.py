"""The signed checkpoint of a head: the one that the store holds, or a new one."""

from __future__ import annotations

from recorder_worker.core.errors import FormatError, IncidentError
from recorder_worker.core.events import Head
from recorder_worker.core.note import NoteKey, TreeHead, parse_note, sign_checkpoint, verify_note
from recorder_worker.core.origins import session_origin
from recorder_worker.core.proofs import ProofError
from recorder_worker.ports import Signer
from recorder_worker.stages.merkle.archive import Archive


class Notary:
    """Signs with the device key, in the recorder's name. Blocking; call it off the event loop."""

    def __init__(self, signer: Signer, recorder: str) -> None:
        self._signer = signer
        self._recorder = recorder

    def note(self, head: Head, archive: Archive) -> bytes:
        """The checkpoint of a head, durable in the archive.

        A stored one of another time is adopted: a NATS server that lost its newest messages in a
        power cut makes us store the same head again, and the first signature is as good.

        Raises:
            IncidentError: the stored checkpoint of this size is not ours, or of another tree.
        """
        tree = TreeHead(
            origin=session_origin(self._recorder, head.session_id),
            tree_size=head.tree_size,
            root_hash=bytes.fromhex(head.root_hash),
        )
        key = NoteKey(name=self._recorder, public_key=self._signer.public_key)
        try:
            held = archive.note(head.tree_size)
            if held is not None:
                _check(held, tree, key)
                return held
        except (FormatError, ProofError) as error:
            raise IncidentError(
                f"session {head.session_id}: expected our checkpoint of size {head.tree_size} and "
                f"root {head.root_hash}, or none, in the store; found another: {error}"
            ) from error
        note = sign_checkpoint(tree, key=key, signed_at_s=head.signed_at_s, sign=self._signer.sign)
        archive.put_note(head.tree_size, note)
        return note


def _check(held: bytes, tree: TreeHead, key: NoteKey) -> None:
    note = parse_note(held)
    if note.head != tree:
        raise ProofError(f"it signs {note.head.text().decode()!r}")
    verify_note(note, key)
