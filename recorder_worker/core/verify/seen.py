"""Checkpoints of this session that somebody has seen elsewhere, against what is here (step 12).

What was cut off together with everything signed about it leaves no trace in a folder; a checkpoint
that was published while it was recorded is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.signers import Signers
from recorder_worker.core.verify.verdicts import Verdict


class Seen:
    """Takes the sizes of the tree as they come, and compares at those that were seen."""

    def __init__(self, notes: Sequence[SignedNote], findings: Findings) -> None:
        self.compared = 0
        self._findings = findings
        self._waiting: dict[int, list[SignedNote]] = {}
        self._signed: dict[tuple[int, bytes], bool] = {}
        for note in notes:
            self._waiting.setdefault(note.head.tree_size, []).append(note)

    def wants(self, size: int) -> bool:
        """Whether a checkpoint of this size was seen."""
        return size in self._waiting

    def at(self, size: int, root: bytes | None, signers: Signers) -> None:
        """The tree has this size now, and this root."""
        for note in self._waiting.pop(size, ()):
            name = f"the checkpoint of size {size} that was seen elsewhere"
            if not self._is_ours(note, signers):
                continue
            if root is None:
                self._findings.warn(f"{name}: cannot be compared, its last record is not here")
            elif note.head.root_hash == root:
                self.compared += 1
            elif signers.vouches(note) is None:
                self._findings.warn(
                    f"{name}: has another root, and proves nothing: the keys of its epoch have "
                    "not signed it"
                )
            else:
                self._findings.fail(
                    Verdict.EQUIVOCATION,
                    f"{name} has root {note.head.root_hash.hex()}, the records here give "
                    f"{root.hex()}: the two signed histories are the proof",
                )

    def _is_ours(self, note: SignedNote, signers: Signers) -> bool:
        if signers.origin is not None and note.head.origin == signers.origin:
            return True
        self._findings.warn(
            f"a checkpoint that was seen elsewhere is of {note.head.origin}, another tree: it was "
            "not compared"
        )
        return False

    def finish(self, tree_size: int, signers: Signers, *, clip_goes_on: bool = False) -> None:
        """There are no more records. `clip_goes_on`: a clip whose session was not sealed yet."""
        for size in sorted(self._waiting):
            self._two_roots(size, signers)
            for note in self._waiting[size]:
                if self._is_ours(note, signers):
                    self._beyond(note, tree_size, signers, clip_goes_on=clip_goes_on)

    def _two_roots(self, size: int, signers: Signers) -> None:
        """Two that were seen may contradict each other, whatever is here."""
        found = {n.head.root_hash for n in self._waiting[size] if signers.vouches(n) is not None}
        if len(found) > 1:
            self._findings.fail(
                Verdict.EQUIVOCATION,
                f"the key signed {len(found)} roots for size {size}, which were seen elsewhere: "
                "the notes are the proof",
            )

    def _beyond(
        self, note: SignedNote, tree_size: int, signers: Signers, *, clip_goes_on: bool
    ) -> None:
        size = note.head.tree_size
        name = f"the checkpoint of size {size} that was seen elsewhere"
        if size <= tree_size:
            self._findings.warn(f"{name}: cannot be compared, its last record is not shown here")
        elif clip_goes_on:
            self._findings.warn(f"{name}: cannot be compared, the clip is of an earlier time")
        elif signers.vouches(note) is not None:
            self._findings.tampered(
                f"{name} is signed, {tree_size} records are here: {size - tree_size} signed "
                "records are missing"
            )
        else:
            self._findings.warn(
                f"{name}: is signed by none of the keys known here; if it is genuine, then "
                f"{size - tree_size} signed records, and an epoch, are missing"
            )
