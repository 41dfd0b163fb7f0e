"""Steps 5 and 12: the checkpoints against the tree of the records, and against each other."""

from __future__ import annotations

from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.verdicts import Verdict


class OneTree:
    """Takes every checkpoint with the root that the records give at its size.

    Attributes:
        signed_size: the largest size under a verified signature that the records here rebuild.
        signed_at_s: the latest signed time.
        first, newest: the checkpoint of size 1 and the one of the largest size.
    """

    def __init__(self, root: Findings, one_tree: Findings) -> None:
        self.signed_size = 0
        self.signed_at_s = 0
        self.first: SignedNote | None = None
        self.newest: SignedNote | None = None
        self._newest_right = False
        self._newest_root: bytes | None = None
        self._roots: tuple[int, bytes] | None = None
        self._wrong: tuple[int, bool] | None = None
        self._wrong_count = 0
        self._stepped_back = False
        self._root = root
        self._one_tree = one_tree

    def feed(self, note: SignedNote, root: bytes | None, signed_at_s: int | None) -> None:
        """One more checkpoint, by ascending size. None: its root or signature is not known."""
        size = note.head.tree_size
        if size == 0:
            self._one_tree.tampered("a checkpoint of no records: none is ever signed")
        right = root is not None and note.head.root_hash == root
        if signed_at_s is not None:
            self._signed(note, signed_at_s, right=right)
        if root is not None and not right:
            self._wrong = self._wrong or (size, signed_at_s is not None)
            self._wrong_count += 1
        if size == 1 and self.first is None:
            self.first = note
        if self.newest is None or (size, note.raw) >= (self.newest.head.tree_size, self.newest.raw):
            self.newest, self._newest_root = note, root
            self._newest_right = right and signed_at_s is not None

    def _signed(self, note: SignedNote, signed_at_s: int, *, right: bool) -> None:
        size, root = note.head.tree_size, note.head.root_hash
        if right:
            self.signed_size = max(self.signed_size, size)
        if self._roots is not None and self._roots[0] == size and self._roots[1] != root:
            self._one_tree.fail(
                Verdict.EQUIVOCATION,
                f"the key signed two roots for size {size}: the two notes are the proof",
            )
        self._roots = (size, root)
        self._stepped_back |= signed_at_s < self.signed_at_s
        self.signed_at_s = max(self.signed_at_s, signed_at_s)

    def finish(self, tree_size: int) -> None:
        """All checkpoints have passed; `tree_size` leaves are here."""
        newest = self.newest
        if newest is None:
            self._root.leave_out("there is no checkpoint to compare with")
            self._one_tree.leave_out("there is no checkpoint")
            return
        self._finish_root(newest, tree_size)
        if tree_size == 0:
            self._one_tree.leave_out("there is no record")
        if self._wrong is not None:
            size, signed = self._wrong
            if signed and self._newest_right:
                self._one_tree.fail(
                    Verdict.EQUIVOCATION,
                    f"the keys signed size {size} of one tree and size {newest.head.tree_size} of "
                    "another",
                )
            else:
                more = f", nor are {self._wrong_count - 1} others" if self._wrong_count > 1 else ""
                self._one_tree.tampered(
                    f"the checkpoint of size {size} is not of the tree of these records{more}"
                )
        if self._stepped_back:
            self._one_tree.warn("the recorder's clock stepped back between checkpoints")

    def _finish_root(self, newest: SignedNote, tree_size: int) -> None:
        size, root = newest.head.tree_size, newest.head.root_hash
        if size > tree_size:
            self._root.tampered(
                f"the newest checkpoint is of {size} records, {tree_size} are here: "
                f"{size - tree_size} signed records are missing"
            )
        elif self._newest_root is None:
            self._root.tampered(f"at size {size}: the records give no root")
        elif root != self._newest_root:
            self._root.tampered(
                f"at size {size}: expected root {root.hex()}, the records give "
                f"{self._newest_root.hex()}"
            )
        elif size < tree_size:
            self._root.warn(
                f"records {size} to {tree_size - 1} are behind the newest checkpoint: "
                "nothing is signed about them"
            )
