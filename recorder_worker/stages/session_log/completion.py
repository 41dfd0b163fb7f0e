"""All that the head of the log of sessions brings about: tiles, checkpoint, proof, anchor."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial

import msgspec
import structlog

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    FormatError,
    IncidentError,
    PermanentError,
    StoreError,
    StoreFullError,
)
from recorder_worker.core.events import AnchorRequested, SessionLogged
from recorder_worker.core.ids import event_key
from recorder_worker.core.merkle.proofs import ProofError, consistency_proof, inclusion_proof
from recorder_worker.core.retention.sayings import STATEMENTS
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.log_head import LogHead, entry_in, head_in, head_over
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.session_log.stored_log import (
    log_key,
    read_checkpoint,
    verify_log_note,
)
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.core.signing.note import (
    NoteSigner,
    SignedNote,
    TreeHead,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.signing.origins import log_origin
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import BlobStore, EventLog, Logged, Signer
from recorder_worker.stages.session_log.known_log import KnownLog
from recorder_worker.stages.session_log.log_files import LogFiles

logger = structlog.get_logger(__name__)

PROOF_TRIES = 3
"""So often a store that fails holds up the log for one proof: a passing fault must not cost it."""

PROOF_NAMES = {EntryKind.OPEN: keys.PROOF_OPEN, EntryKind.SEAL: keys.PROOF_SEAL}


class _Newest(msgspec.Struct, frozen=True, kw_only=True):
    """A log that is whole in the store, and signed."""

    head: LogHead
    entry: LogEntry | None
    checkpoint: SignedNote | None


class Completion:
    """Brings the store and the streams up to a head, from wherever a crash left them."""

    def __init__(self, *, log: EventLog, store: BlobStore, signer: Signer, recorder: str) -> None:
        self._log = log
        self._signer = signer
        self._origin = log_origin(recorder)
        self._files = LogFiles(store)
        self.known = KnownLog(self._files)
        self._not_proved: set[str] = set()
        self._tries: Counter[str] = Counter()

    async def settle(self, appended: Logged | None = None) -> tuple[LogHead, int]:
        """Finish what the newest head began.

        Args:
            appended: that head, where it is at hand.

        Returns:
            The head to go on from, and the sequence to append behind. It is another head than the
            newest in the register where the stored log is longer: the register lost messages, or
            another worker was quicker, which the fence will tell.

        Raises:
            IncidentError: the stored log contradicts the head, or is not ours.
        """
        logged = appended or await self._log.last_of_all(Fact.LOGGED)
        while True:
            event = logged.event if logged else None
            newest = await asyncio.to_thread(
                self._store_all, event if isinstance(event, SessionLogged) else None
            )
            if newest.checkpoint is not None and newest.entry is not None:
                await self._request_anchor(newest.entry, newest.checkpoint)
            # Whoever was held up while it replaced the checkpoint may have put back an old one:
            # nobody leaves before the newest head is the stored one.
            later = await self._log.last_of_all(Fact.LOGGED)
            sequence = logged.sequence if logged else 0
            if later is None or later.sequence == sequence:
                return newest.head, sequence
            logged = later

    # --- in the store; blocking -------------------------------------------------------------------

    def _store_all(self, event: SessionLogged | None) -> _Newest:
        checkpoint = self._stored_checkpoint()
        stored = checkpoint.head.tree_size if checkpoint else 0
        size = event.size if event else 0
        if checkpoint is not None and stored > size:
            return self._adopted(checkpoint, event)
        if event is None:
            return _Newest(head=LogHead(), entry=None, checkpoint=None)
        root = bytes.fromhex(event.root_hash)
        if checkpoint is None or stored < size:
            checkpoint = self._written(event, root)
        elif checkpoint.head.root_hash != root:
            raise IncidentError(
                f"log of sessions: expected root {event.root_hash} for size {size}, but "
                f"{checkpoint.head.root_hash.hex()} is signed in {self._files.location}; nothing "
                "is signed any more: keep both"
            )
        self.known.follow(checkpoint)
        entry = entry_in(event)
        self._prove(entry, checkpoint)
        self._files.prune(size)
        return _Newest(head=head_in(event), entry=entry, checkpoint=checkpoint)

    def _stored_checkpoint(self) -> SignedNote | None:
        try:
            found = read_checkpoint(self._files.read)
        except FormatError as error:
            raise IncidentError(
                f"log of sessions: expected a signed checkpoint in {self._files.location}, found "
                f"something else: {error}; restore it from a copy"
            ) from error
        if found is not None and found.head.origin != self._origin:
            raise IncidentError(
                f"log of sessions: expected the log {self._origin} in {self._files.location}, "
                f"found {found.head.origin}; set merkle.recorder to the id that it was begun "
                "with, or give this recorder a data directory of its own"
            )
        return found

    def _adopted(self, checkpoint: SignedNote, event: SessionLogged | None) -> _Newest:
        """Go on from a stored log that the register does not know all of, once it is verified."""
        self.known.follow(checkpoint)
        size = event.size if event else 0
        entries = self.known.entries[: checkpoint.head.tree_size]
        if self._signer_of(checkpoint) is None:
            raise IncidentError(
                f"log of sessions: the stored checkpoint of size {len(entries)} is newer than the "
                "register, and is not signed by this device: expected a signature by its key "
                f"{self._public_key().hex()}, or by one that statements of rotation tie to it; "
                f"restore the key's folder, or {self._files.location}, from a copy"
            )
        root = TiledTree(self._files.read, checkpoint.head.tree_size).root(size)
        if event is not None and root.hex() != event.root_hash:
            raise IncidentError(
                f"log of sessions: expected root {event.root_hash} for size {size}, but the "
                f"stored log, signed at size {len(entries)}, has {root.hex()} there; nothing is "
                "signed any more: keep both"
            )
        self._prove(entries[-1], checkpoint)
        return _Newest(head=head_over(entries), entry=entries[-1], checkpoint=checkpoint)

    def _written(self, event: SessionLogged, root: bytes) -> SignedNote:
        """Tiles, then the signature, then the checkpoint. Ed25519 gives the same bytes again."""
        self._files.write(entry_in(event), event.size, root)
        head = TreeHead(origin=self._origin, tree_size=event.size, root_hash=root)
        signer = NoteSigner(
            key=log_key(self._origin, self._public_key()),
            sign=partial(self._signer.sign_device, KeyKind.ED25519),
        )
        note = sign_checkpoint(head, signers=[signer], signed_at_s=0)
        self._files.publish(note, event.size)
        return parse_note(note)

    def _public_key(self) -> bytes:
        return self._signer.device_keys()[0].data

    def _signer_of(self, checkpoint: SignedNote) -> bytes | None:
        """The Ed25519 key of this device that signed a checkpoint: that in force, or a former one.

        After a rotation the newest stored checkpoint is the old key's until there is another.
        """
        for key in self._own_keys():
            try:
                verify_log_note(checkpoint, self._origin, key)
            except ProofError:
                continue
            return key
        return None

    def _own_keys(self) -> Iterator[bytes]:
        yield self._public_key()
        for key in self._signer.former_keys():
            if key.kind is KeyKind.ED25519:
                yield key.data

    def _prove(self, entry: LogEntry, checkpoint: SignedNote) -> None:
        """Put the proof into the session's folder, that of AUDIT beside its bundle.

        A damaged folder holds up no other session for long: `recorder log prove` makes the proof
        later.

        Raises:
            StoreError: the store fails; a few times for each proof, then it goes without.
        """
        signer = self._signer_of(checkpoint)
        if signer is None:
            return
        size = checkpoint.head.tree_size
        tree = TiledTree(self._files.read, size)
        proof = LogProof(
            index=size - 1,
            hashes=tuple(inclusion_proof(tree, size - 1, size)),
            checkpoint=checkpoint,
        )
        name = PROOF_NAMES.get(entry.kind, "")
        try:
            if entry.kind in STATEMENTS:
                self._files.put_statement_proof(entry, proof.text())
            elif name:
                self._files.put_proof(entry.session_id, name, proof.text(), signer)
            else:
                self._files.put_audit_proof(size, proof.text())
        except StoreFullError:
            raise
        except (PermanentError, StoreError) as error:
            where = f"{entry.kind.name.lower()} {entry.session_id} at {size}"
            self._tries[where] += 1
            if isinstance(error, StoreError) and self._tries[where] < PROOF_TRIES:
                raise
            if where not in self._not_proved:
                self._not_proved.add(where)
                logger.error(  # noqa: TRY400  (one line, as it is a state and no defect)
                    "ProofNotStored",
                    session_id=entry.session_id,
                    proof=name or where,
                    error=str(error),
                    hint="mend the folder; recorder log prove makes that of a session",
                )

    # --- on the bus -------------------------------------------------------------------------------

    async def _request_anchor(self, entry: LogEntry, checkpoint: SignedNote) -> None:
        """Once for each checkpoint, in order, unless it was requested before."""
        head = checkpoint.head
        last = await self._log.last(Fact.ANCHOR_REQUESTED, entry.session_id)
        requested = last.event if last else None
        if (
            isinstance(requested, AnchorRequested)
            and requested.origin == head.origin
            and requested.tree_size >= head.tree_size
        ):
            return
        request = await asyncio.to_thread(self._anchor, entry, checkpoint)
        await self._log.append(
            Fact.ANCHOR_REQUESTED,
            entry.session_id,
            request,
            key=event_key(
                Fact.ANCHOR_REQUESTED.value, head.origin, head.tree_size, request.root_hash
            ),
            after=last.sequence if last else 0,
        )

    def _anchor(self, entry: LogEntry, checkpoint: SignedNote) -> AnchorRequested:
        size = checkpoint.head.tree_size
        tree = TiledTree(self._files.read, size)
        return AnchorRequested(
            origin=checkpoint.head.origin,
            tree_size=size,
            root_hash=checkpoint.head.root_hash.hex(),
            note=checkpoint.raw.decode(),
            previous_size=size - 1,
            previous_root_hash=tree.root(size - 1).hex(),
            consistency_proof=tuple(h.hex() for h in consistency_proof(tree, size - 1, size)),
            session_id=entry.session_id,
        )
