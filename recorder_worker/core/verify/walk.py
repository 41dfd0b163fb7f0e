"""The trees of a recording, whole or in part, while their records pass by.

Both give records with their places and can tell the root behind the newest one. A whole recording
carries a frontier. A clip is read twice: once for its tree, from which the roots come, once for
what the records say; a digest over the leaf hashes holds that both times gave the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.evidence.clip_file import MAX_CLIP_SIZE, ClipFile, decode_clip
from recorder_worker.core.merkle.partial_tree import PartialTree
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.reader import RecordingReader, read_bounded

Records = Callable[[], Iterable[bytes]]


class Walk(Protocol):
    """Leaves in order, and what the tree of those that were given so far amounts to."""

    @property
    def size(self) -> int:
        """How many leaves the tree has, hidden ones with it, as far as is known by now."""
        ...

    @property
    def shown(self) -> int:
        """How many records were given."""
        ...

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """Index and bytes of each record."""
        ...

    def root(self, size: int) -> bytes | None:
        """The root of this size, 32 bytes; None where it cannot be told now."""
        ...

    def newest_root(self) -> bytes | None:
        """The root of all leaves."""
        ...


class WholeWalk:
    """A recording with all of its records."""

    def __init__(self, records: Iterable[bytes]) -> None:
        self._records = records
        self._frontier = Frontier()

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._frontier.size

    @property
    def shown(self) -> int:
        """All of them."""
        return self._frontier.size

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """Every record."""
        for data in self._records:
            index = self._frontier.size
            self._frontier = self._frontier.append(BLAKE3.leaf(data))
            yield index, data

    def root(self, size: int) -> bytes | None:
        """The root of the newest size, and of none."""
        if size == 0:
            return BLAKE3.empty()
        return self._frontier.root() if size == self._frontier.size else None

    def newest_root(self) -> bytes | None:
        """The root of all leaves."""
        return self._frontier.root()


class ClipWalk:
    """A clip: the leaves in `ranges` are here, the others are hashes."""

    def __init__(self, clip: ClipFile, first: Records, second: Records, root: Findings) -> None:
        self.size = clip.size
        self.shown = 0
        self.ranges = clip.ranges
        self._again = second
        self._findings = root
        self._first = blake3()
        self._tree: PartialTree | None = None
        try:
            self._tree = PartialTree(clip.size, clip.ranges, self._hashes(first()), clip.hashes)
        except ProofError as error:
            root.tampered(f"{keys.CLIP}: {error}")

    def _hashes(self, records: Iterable[bytes]) -> Iterator[bytes]:
        for data in records:
            leaf_hash = BLAKE3.leaf(data)
            self._first.update(leaf_hash)
            yield leaf_hash

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """The records that are shown, each with the index that its range says."""
        second = blake3()
        indices = chain.from_iterable(range(found.begin, found.end) for found in self.ranges)
        # Records first: what lies behind the last one is asked for too, and found.
        for data, index in zip(self._again(), indices, strict=False):
            second.update(BLAKE3.leaf(data))
            self.shown += 1
            yield index, data
        if self._tree is not None and second.digest() != self._first.digest():
            self._findings.tampered(f"{keys.RECORDS}: it changed while it was verified")

    def root(self, size: int) -> bytes | None:
        """The root of a size whose last leaf is shown."""
        try:
            return self._tree.root(size) if self._tree is not None else None
        except ProofError:
            return None

    def newest_root(self) -> bytes | None:
        """The root of all leaves, hidden ones with them."""
        return self.root(self.size)


def read_clip(reader: RecordingReader, parse: Findings) -> ClipFile | None:
    """The file `clip`; None and a finding of step 1 where it is none."""
    try:
        return decode_clip(read_bounded(reader, keys.CLIP, MAX_CLIP_SIZE))
    except RecorderError as error:
        parse.caught(keys.CLIP, error)
        return None
