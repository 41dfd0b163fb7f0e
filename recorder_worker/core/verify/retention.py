"""Step 17: what statements of retention say, and whether what is missing went by one of them.

A statement is believed where it is signed by the recorder's device, stands in its chain, and speaks
of just this tree. A deletion excuses that chunks are missing, not that others are here and damaged;
behind a tombstone nothing that it names may be here any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.events import Totals
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.printable import printable
from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.retention.sayings import Removal, Rule, Tombstone
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.retention.statement import (
    MAX_STATEMENT_SIZE,
    SignedStatement,
    entry_for,
    parse_statement,
    verify_statement,
)
from recorder_worker.core.session_log.entries import encode_entry, entry_hash
from recorder_worker.core.session_log.log_proof import MAX_PROOF_SIZE, parse_log_proof
from recorder_worker.core.signing.rotation import Rotation
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.listing import Listing
from recorder_worker.core.verify.log_keys import LogKeys
from recorder_worker.core.verify.reader import RecordingReader, read_bounded
from recorder_worker.core.verify.report import HoldFound, RemovalFound, RetentionFound
from recorder_worker.core.verify.steps import tampered
from recorder_worker.core.verify.verdicts import Verdict


class Retention:
    """Reads the statements when OPEN has passed; what they excuse counts from there on.

    Attributes:
        standing: what they come to; where one of them is not good, nothing at all.
        missing_proofs: numbers of statements of which no proof shows that they are in the log.
    """

    def __init__(self, reader: RecordingReader, listing: Listing, findings: Findings) -> None:
        self.standing = Standing()
        self.missing_proofs: list[int] = []
        self._reader = reader
        self._count = listing.statements
        self._thumbnails = listing.thumbnails
        self._findings = findings
        self._key_missing = False

    @property
    def removal(self) -> Removal | None:
        """The statement by which chunks may be missing."""
        return self.standing.removal

    @property
    def key_may_be_missing(self) -> bool:
        """Whether `session.json` may be gone with the key that is wrapped in it."""
        return self.removal is not None and self.removal.key_removed

    def begin(self, opened: OpenRecord, rotations: Sequence[Rotation]) -> None:
        """Read all statements, and hold them against the session and its recorder."""
        if not self._count:
            return
        with self._findings.catching(keys.RETENTION):
            signers = LogKeys(opened, rotations)
            standing = Standing()
            for signed in self._statements():
                self._check_place(signed, opened)
                try:
                    verify_statement(signed, signers.public_keys())
                except ProofError as error:
                    raise tampered(f"{keys.statement(standing.count + 1)}: {error}") from error
                standing = standing.behind(signed)
                self._check_proof(signed, opened, signers)
            self.standing = standing

    def _statements(self) -> Iterator[SignedStatement]:
        for number in range(1, self._count + 1):
            name = keys.statement(number)
            try:
                yield parse_statement(read_bounded(self._reader, name, MAX_STATEMENT_SIZE))
            except BlobMissingError as error:
                raise tampered(
                    f"{name}: expected {self._count} statements without a hole, this one is missing"
                ) from error

    def _check_place(self, signed: SignedStatement, opened: OpenRecord) -> None:
        statement = signed.statement
        found = (statement.recorder, statement.session_id)
        if found != (opened.recorder, opened.session_id):
            raise tampered(
                f"{keys.statement(statement.number)}: expected a statement of {opened.recorder} "
                f"about session {opened.session_id}, found one of {found[0]} about {found[1]}"
            )

    def _check_proof(self, signed: SignedStatement, opened: OpenRecord, signers: LogKeys) -> None:
        name = keys.statement_proof(signed.statement.number)
        try:
            proof = parse_log_proof(read_bounded(self._reader, name, MAX_PROOF_SIZE))
        except BlobMissingError:
            self.missing_proofs.append(signed.statement.number)
            return
        entry = entry_for(signed, opened.session_counter)
        try:
            signers.check(proof.checkpoint)
            proof.verify(entry_hash(encode_entry(entry)))
        except (FormatError, ProofError) as error:
            raise tampered(f"{name}: {error}") from error

    def chunk(self, name: str, *, missing: bool) -> None:
        """One chunk has passed: behind a tombstone none may be here."""
        if missing or self.standing.tombstone is None:
            return
        self._findings.tampered(f"{name}: the tombstone says that it went, and it is here")

    def manifest(self, *, missing: bool) -> None:
        """It has passed: behind a tombstone that names it, it may not be here."""
        self._key_missing = missing
        tombstone = self.standing.tombstone
        if not missing and tombstone is not None and tombstone.key_removed:
            self._findings.tampered(f"{keys.MANIFEST}: the tombstone says that it went, it is here")

    def finish(
        self, *, sealed: bool, tree_size: int, root: bytes | None, totals: Totals, missing: int
    ) -> str:
        """All has passed; `missing` chunks are excused. Gives what to say where all is well."""
        removal = self.removal
        if not self._count:
            self._findings.leave_out("nothing was held or removed")
        elif removal is None:
            self._no_removal()
        else:
            self._check_tree(
                removal, sealed=sealed, place=(tree_size, root.hex() if root else ""), totals=totals
            )
            if self._thumbnails and isinstance(removal, Tombstone):
                self._findings.warn(
                    f"{self._thumbnails} thumbnails are here, and the tombstone says that they went"
                )
            if missing or self._key_missing or isinstance(removal, Tombstone):
                self._findings.fail(Verdict.REDACTED, self._said(removal, missing))
            else:
                self._findings.warn(f"nothing is missing yet: {self._said(removal, missing)}")
        return self._held()

    def _no_removal(self) -> None:
        for name, hold in self.standing.holds.items():
            self._findings.warn(
                f"under hold {name!r}, by {hold.by or 'nobody named'}: {hold.reason}"
            )

    def _check_tree(
        self, removal: Removal, *, sealed: bool, place: tuple[int, str], totals: Totals
    ) -> None:
        if not sealed:
            self._findings.tampered(
                "expected a sealed session to be removed, found one that is not"
            )
        if (removal.tree_size, removal.root_hash) != place:
            self._findings.tampered(
                f"the statement is about a tree of size {removal.tree_size} and root "
                f"{removal.root_hash}, this one is of size {place[0]} and root {place[1]}"
            )
        said = (removal.chunk_count, removal.chunk_bytes)
        if said != (totals.chunk_count, totals.stored_bytes):
            self._findings.tampered(
                f"the statement is about {said[0]} chunks of {said[1]} bytes, the records say "
                f"{totals.chunk_count} of {totals.stored_bytes}"
            )

    def _said(self, removal: Removal, missing: int) -> str:
        wanted = removal.by or "nobody named"
        state = "removed" if isinstance(removal, Tombstone) else "being removed"
        gone = f"{missing} of {removal.chunk_count} chunks are gone"
        rule = f" {removal.limit}" if removal.rule is not Rule.COMMAND else ""
        key = ", and the session's key with them" if self._key_missing else ""
        return f"{state} by {wanted} ({removal.rule.value}{rule}): {removal.reason}; {gone}{key}"

    def _held(self) -> str:
        standing = self.standing
        names = ", ".join(repr(name) for name in standing.holds)
        return f"{standing.count} statements; held: {names or 'no more'}"

    def found(self, missing: int) -> RetentionFound:
        """What to report; `missing` chunks are excused."""
        standing, removal = self.standing, self.removal
        return RetentionFound(
            statements=standing.count,
            held=tuple(
                HoldFound(
                    name=printable(hold.name),
                    by=printable(hold.by),
                    reason=printable(hold.reason),
                    wall_ns=hold.wall_ns,
                )
                for hold in standing.holds.values()
            ),
            removal=None if removal is None else self._removal_found(removal, missing),
        )

    def _removal_found(self, removal: Removal, missing: int) -> RemovalFound:
        return RemovalFound(
            finished=isinstance(removal, Tombstone),
            by=printable(removal.by),
            reason=printable(removal.reason),
            rule=removal.rule.value,
            limit=removal.limit,
            begun_ns=removal.begun_ns,
            ended_ns=removal.wall_ns if isinstance(removal, Tombstone) else 0,
            chunk_count=removal.chunk_count,
            removed_count=missing,
            chunk_bytes=removal.chunk_bytes,
            key_removed=removal.key_removed,
            logged=self.standing.count not in self.missing_proofs,
        )
