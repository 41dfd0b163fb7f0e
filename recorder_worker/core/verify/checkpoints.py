"""Steps 3 and 12: who signed the checkpoints, and whether they are of one growing tree."""

from __future__ import annotations

from itertools import pairwise

from recorder_worker.core.note import NoteKey, verify_note
from recorder_worker.core.proofs import ProofError
from recorder_worker.core.verify.material import Material
from recorder_worker.core.verify.steps import NotReachedError, StepFailedError, listed, tampered
from recorder_worker.core.verify.verdicts import Verdict


def check_signatures(
    material: Material, key: NoteKey, origin: str, signed_at: dict[bytes, int]
) -> str:
    """Step 3: the key has signed every note, over the bytes that were read.

    Fills `signed_at`: the signed time in seconds of each note that verifies, by its bytes. What
    the key signed about another session is none of these: it must not look like a second history
    of this one. That it lies here is for step 6 to say.

    Raises:
        StepFailedError: a signature is missing or does not verify.
    """
    failures: list[str] = []
    for note in material.notes:
        try:
            signed_at_s = verify_note(note, key)
            if note.head.origin == origin:
                signed_at[note.raw] = signed_at_s
        except ProofError as error:
            failures.append(str(error))
        if len(note.signatures) > 1:
            material.warnings.append(
                f"checkpoint of size {note.head.tree_size}: "
                f"{len(note.signatures) - 1} further signatures were not looked at"
            )
    if failures:
        raise tampered(listed(failures))
    return f"{len(material.notes)} checkpoints by key {key.name} ({key.public_key.hex()})"


def check_one_tree(material: Material, signed_at: dict[bytes, int]) -> str:
    """Step 12: every checkpoint has the root that the records give at its size.

    Raises:
        StepFailedError: EQUIVOCATION where the key itself signed what contradicts.
    """
    if not material.notes:
        raise NotReachedError("there is no checkpoint")
    _no_two_roots(material, signed_at)
    for before, after in pairwise(material.compact_sizes):
        if after <= before:
            raise tampered(f"checkpoints: size {after} stands behind size {before}")
    wrong = [n for n in material.notes if material.roots.get(n.head.tree_size) != n.head.root_hash]
    if wrong:
        size, newest = wrong[0].head.tree_size, material.notes[-1]
        if wrong[0].raw in signed_at and newest.raw in signed_at and newest not in wrong:
            raise StepFailedError(
                Verdict.EQUIVOCATION,
                f"the key signed size {size} of one tree and size {newest.head.tree_size} of "
                "another",
            )
        raise tampered(f"the checkpoint of size {size} is not of the tree of these records")
    times = [signed_at[note.raw] for note in material.notes if note.raw in signed_at]
    if times != sorted(times):
        material.warnings.append("the recorder's clock stepped back between checkpoints")
    return f"{len(material.notes)} checkpoints of one tree"


def _no_two_roots(material: Material, signed_at: dict[bytes, int]) -> None:
    roots: dict[int, bytes] = {}
    for note in material.notes:
        size, root = note.head.tree_size, note.head.root_hash
        if note.raw in signed_at and roots.setdefault(size, root) != root:
            raise StepFailedError(
                Verdict.EQUIVOCATION,
                f"the key signed two roots for size {size}: the two notes are the proof",
            )
