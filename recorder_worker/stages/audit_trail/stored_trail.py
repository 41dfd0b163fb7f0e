"""The bundles that are entered in the log of sessions, as they lie in the store. Blocking."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import START, Bundle, chained, parse_bundle
from recorder_worker.core.errors import BlobMissingError, FormatError, IncidentError
from recorder_worker.ports import BlobStore
from recorder_worker.stages.session_log.known_log import KnownLog


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One entered bundle.

    Attributes:
        first: the number of its first line; `last` of its last one.
        previous: the digest of the trail before it; `digest` with it.
        tree_size: entries in the log of sessions with it.
    """

    first: int
    last: int
    previous: bytes
    digest: bytes
    tree_size: int


class StoredTrail:
    """What the log of sessions says of the trail, and the bundles themselves."""

    def __init__(self, store: BlobStore, known: KnownLog) -> None:
        self._store = store
        self._known = known
        self.links: list[Link] = []
        self._oldest = 0

    @property
    def location(self) -> str:
        """Where a person finds the bundles."""
        return self._store.location(keys.AUDIT)

    @property
    def last(self) -> int:
        """The number of the last line that is entered; 0: none."""
        return self.links[-1].last if self.links else 0

    @property
    def digest(self) -> bytes:
        """The digest of the trail, 32 bytes."""
        return self.links[-1].digest if self.links else START

    def follow(self) -> None:
        """Know what the log of sessions has by now."""
        for place in self._known.audits[len(self.links) :]:
            entry = self._known.entries[place]
            link = Link(
                first=self.last + 1,
                last=entry.counter,
                previous=self.digest,
                digest=entry.note_sha256,
                tree_size=place + 1,
            )
            self.links.append(link)

    def read(self, link: Link) -> Bundle:
        """A bundle, once it is shown to be the one that was entered.

        Raises:
            IncidentError: it is another one, or gone.
        """
        key = keys.audit_bundle(link.first)
        try:
            data = self._store.get(key)
            if chained(link.previous, data) == link.digest:
                return parse_bundle(data)
            found = "other bytes"
        except BlobMissingError:
            found = "none"
        except FormatError as error:
            found = f"something else: {error}"
        raise IncidentError(
            f"audit trail: expected the bundle {key} that was entered in the log of sessions, "
            f"found {found}; restore it in {self.location} from a copy"
        )

    def newest_first(self) -> Iterator[tuple[int, Bundle]]:
        """The kept bundles with their places in `links`. Raises IncidentError at a damaged one."""
        for place in range(len(self.links) - 1, self.oldest() - 1, -1):
            yield place, self.read(self.links[place])

    def oldest(self) -> int:
        """The place of the oldest bundle that is still there; the newest counts as there."""
        while self._oldest < len(self.links) - 1 and not self._is_there(self.links[self._oldest]):
            self._oldest += 1
        return self._oldest

    def _is_there(self, link: Link) -> bool:
        return self._store.size(keys.audit_bundle(link.first)) is not None

    def next_bundle(self) -> bytes | None:
        """What stands under the name of the next bundle; None: nothing yet."""
        try:
            return self._store.get(keys.audit_bundle(self.last + 1))
        except BlobMissingError:
            return None

    def put(self, data: bytes) -> None:
        """Store the next bundle. Raises as `BlobStore.put`."""
        self._store.put(keys.audit_bundle(self.last + 1), data)

    def remove(self, through: int) -> int:
        """Remove the bundles up to a number with their proofs; gives how many.

        Only behind an entry that says so. A crash leaves some of them, which are said to be gone
        once more, and go then.
        """
        removed = 0
        for link in self.links[self.oldest() :]:
            if link.last > through:
                break
            self._store.delete(keys.audit_bundle(link.first))
            self._store.delete(keys.audit_proof(link.tree_size))
            removed += 1
        return removed
