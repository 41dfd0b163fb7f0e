"""Brings all of a sealed session to the second store, and writes down that it is there.

While a session runs its copy has the form of its folder: chunks, and a file for each record and
checkpoint. Behind the seal come the files that the seal has made of those, and then the single ones
go there, too. At any moment the copy verifies: as TRUNCATED before, as what it is afterwards.

Killed before the marker: what is copied stays, and the rest follows. Behind it, before it is
written down that the fact was told: it is told again, under the same id.
"""

from __future__ import annotations

from hashlib import sha256

import structlog

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import CopyMarker, Expected, encode_marker, parse_marker
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    FormatError,
    ImmutableConflictError,
)
from recorder_worker.core.events import SessionArchived
from recorder_worker.core.ids import event_key
from recorder_worker.core.retention.sayings import Deletion
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.listing import journal_place
from recorder_worker.integrations.second_store.copier import Copier, of_second
from recorder_worker.integrations.second_store.patience import Patience, in_daemon
from recorder_worker.integrations.second_store.removal import (
    is_gone,
    stays,
    take_out,
)
from recorder_worker.integrations.second_store.signed_files import (
    NOTHING,
    signed_body,
    signed_checkpoints,
    signed_records,
)
from recorder_worker.ports import BlobStore, Clock, EventLog

log = structlog.get_logger(__name__)

TOLD = b"told\n"
UNCOPIED = (f"{keys.SEGMENTS}/", f"{keys.JOURNAL}/")
"""The spool, and what the seal has brought together."""


class Archiver:
    """Archives sessions, in the name of one node."""

    def __init__(
        self,
        events: EventLog,
        copier: Copier,
        patience: Patience,
        clock: Clock,
        *,
        node: str,
        keep_local: bool,
    ) -> None:
        self._events = events
        self._copier = copier
        self._patience = patience
        self._clock = clock
        self._node = node
        self._keep_local = keep_local

    async def archive(self, session_id: str, root_hash: str = "") -> None:
        """Have all of a sealed session in the second store, and tell so. Repeated, it tells again.

        Of one that was deleted its record is copied, and no bytes of what was shown. Of one whose
        folder somebody has taken away nothing is copied, and nothing told.

        Args:
            session_id: which one.
            root_hash: that was told of its seal; empty: nobody knows it any more.

        Raises:
            BlobMissingError: a file that is signed is neither here nor there.
            BlobDamagedError: as `Copier.copy`; or its records or checkpoints here are not what was
                sealed: the single ones that were copied meanwhile stay there, and may be the only
                good ones.
            ImmutableConflictError: as `Copier.copy`.
            StoreError, BusUnavailableError: try again.
        """
        marker = await self._patience.until_done(
            session_id, lambda: self._bring(session_id, root_hash)
        )
        if marker is None:
            return
        await self._events.emit(
            Fact.ARCHIVED,
            session_id,
            SessionArchived(
                session_id=session_id,
                location=marker.location,
                seal_sha256=marker.seal_sha256,
                file_count=marker.file_count,
                file_bytes=marker.file_bytes,
                keep_local=self._keep_local,
                node=self._node,
                wall_ns=marker.archived_wall_ns,
            ),
            key=event_key(Fact.ARCHIVED.value, session_id),
        )
        told = keys.copies_told(session_id)
        await in_daemon(lambda: self._copier.local.put(told, TOLD))

    def _bring(self, session_id: str, root_hash: str) -> CopyMarker | None:
        local, second = self._copier.local, self._copier.second
        known = marker_of(local, session_id)
        if known is not None:
            return known
        gone = is_gone(local, session_id)
        deletion = self._copier.deletion_of(session_id)
        if gone and deletion is None:
            return None
        prefix = keys.session_prefix(session_id)
        check_root(local, session_id, root_hash)
        try:
            sizes = self._copy_all(session_id, deletion)
        except BlobMissingError:
            if deletion is not None or (deletion := self._copier.deletion_of(session_id)) is None:
                raise
            sizes = self._copy_all(session_id, deletion)
        with of_second():
            second.delete_below(keys.blob_key(session_id, keys.JOURNAL))
        # One that is ordered behind this finds what we have sent.
        deletion = self._copier.deletion_of(session_id)
        if deletion is not None:
            take_out(self._copier, session_id, deletion)
            sizes = {name: size for name, size in sizes.items() if stays(name, deletion)}
        marker = CopyMarker(
            location=second.location(prefix),
            seal_sha256=sha256(local.get(keys.blob_key(session_id, keys.SEAL))).hexdigest(),
            file_count=len(sizes),
            file_bytes=sum(sizes.values()),
            archived_wall_ns=self._clock.wall_ns(),
        )
        self._copier.forget(prefix)
        first = _first_marker(local, session_id, marker)
        if first != marker:
            return first
        log.info(
            "SessionArchived",
            session_id=session_id,
            location=marker.location,
            bytes=marker.file_bytes,
        )
        return marker

    def _copy_all(self, session_id: str, deletion: Deletion | None) -> dict[str, int]:
        """The files that are there now, by name, with their sizes."""
        local, prefix = self._copier.local, keys.session_prefix(session_id)
        names = [key.removeprefix(f"{prefix}/") for key in local.keys(prefix)]
        signed = self._signed(session_id, deletion, names)
        wanted = dict.fromkeys(signed) | {
            name: None for name in names if not name.startswith(UNCOPIED) and stays(name, deletion)
        }
        return {
            name: self._copier.copy(keys.blob_key(session_id, name), signed.get(name)).size
            for name in wanted
        }

    def _signed(
        self, session_id: str, deletion: Deletion | None, names: list[str]
    ) -> dict[str, Expected]:
        """What each file must be of which something is signed: the chunks, and others of `names`.

        Nothing is sent before all of it was held against that; chunks are while they are sent.
        """
        local, here = self._copier.local, set(names)
        copied = self._copied_notes(session_id)
        records = signed_records(local, session_id)
        checkpoints = signed_checkpoints(local, session_id)
        missing = sorted(copied - checkpoints.sizes)
        if missing:
            where = local.location(keys.blob_key(session_id, keys.CHECKPOINTS))
            raise BlobDamagedError(
                f"{where}: expected the checkpoint of size {missing[0]}, which was copied by "
                f"itself, found none; {NOTHING}"
            )
        files = {
            keys.RECORDS: records.itself,
            keys.CHECKPOINTS: checkpoints.itself,
            keys.SEAL: checkpoints.seal,
        }
        for name, digest in records.bodies.items():
            if name in here and stays(name, deletion):
                files[name] = signed_body(local, session_id, name, digest)
        return files | {n: e for n, e in records.chunks.items() if stays(n, deletion)}

    def _copied_notes(self, session_id: str) -> set[int]:
        """The sizes of the checkpoints that were copied one by one, while it was recorded."""
        second, prefix = self._copier.second, keys.session_prefix(session_id)
        with of_second():
            found = list(second.keys(keys.blob_key(session_id, keys.NOTES)))
        places = (journal_place(key.removeprefix(f"{prefix}/"))[1] for key in found)
        return {size for size in places if size >= 0}


def signed_chunks(store: BlobStore, session_id: str) -> dict[str, Expected]:
    """The chunks of a sealed session by their names, as its records have them.

    Raises:
        BlobMissingError: there is no seal, or there are no records.
        BlobDamagedError: the records are not those that the seal signs.
    """
    return signed_records(store, session_id).chunks


def check_root(store: BlobStore, session_id: str, root_hash: str) -> None:
    """Whether the seal here is the one that was told of; an empty root fits any."""
    try:
        head = parse_note(store.get(keys.blob_key(session_id, keys.SEAL))).head
        found = head.root_hash.hex()
    except FormatError as error:
        found = f"no seal: {error}"
    if root_hash and found != root_hash:
        raise BlobDamagedError(
            f"{store.location(keys.blob_key(session_id, keys.SEAL))}: expected the seal of root "
            f"{root_hash}, as session.sealed tells it, found {found}; {NOTHING}"
        )


def marker_of(store: BlobStore, session_id: str) -> CopyMarker | None:
    """What is known of a session's copy; None where it has none, or what is known is no use."""
    try:
        return parse_marker(store.get(keys.copies(session_id)))
    except BlobMissingError:
        return None
    except FormatError as error:
        log.warning("CopyMarkerUnreadable", session_id=session_id, error=str(error))
        return None


def _first_marker(store: BlobStore, session_id: str, marker: CopyMarker) -> CopyMarker:
    """Write down that a session's copy is whole, unless another worker has; gives what is known.

    Who stood still meanwhile must not put his marker over one that says what has gone here since.
    """
    try:
        store.put(keys.copies(session_id), encode_marker(marker))
    except ImmutableConflictError:
        known = marker_of(store, session_id)
        if known is not None:
            return known
        write_marker(store, session_id, marker)
    return marker


def write_marker(store: BlobStore, session_id: str, marker: CopyMarker) -> None:
    """Write down what is known. Raises StoreError."""
    store.replace(keys.copies(session_id), encode_marker(marker))
