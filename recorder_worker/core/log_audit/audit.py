"""The log of sessions against the folders of the sessions: what is missing, hidden or changed.

Every session that the log opened must have its folder, with the very checkpoints that the log
holds; every folder in which something is signed must be in the log. Checkpoints of the log that
sessions carry (in OPEN, in proofs) and that others kept must fit it: a log that was cut back, and
signed anew, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recorder_worker.core.audit_trail.check import Bundles
from recorder_worker.core.errors import RecorderError
from recorder_worker.core.log_audit.folders import Folders, LoggedEntries, Sessions, by_session
from recorder_worker.core.log_audit.report import Finding, LogReport, Problem
from recorder_worker.core.log_audit.retained import compare_statements
from recorder_worker.core.log_audit.rules import broken_rules
from recorder_worker.core.log_audit.session_folder import SessionFolder
from recorder_worker.core.log_audit.signers import LogSigners
from recorder_worker.core.log_audit.trail import look_at_trail
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.printable import printable
from recorder_worker.core.session_log.entries import EntryKind, LogEntry
from recorder_worker.core.session_log.log_head import NO_SEAL
from recorder_worker.core.session_log.stored_log import StoredLog, check_log, read_checkpoint
from recorder_worker.core.session_log.tile_bytes import Read
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.report import Trust, TrustStatus

NOT_WITHOUT_WITNESS = (
    "that nobody was shown another log: compare with checkpoints that others keep (--seen)"
)
NO_VOUCHER = "who signed the log: no policy given, the key is the one that the sessions name"
LOOKS_AGAIN = 2  # so often the log is read again where a folder is ahead of it


def audit_log(
    read: Read,
    sessions: Sessions,
    *,
    bundles: Bundles | None = None,
    policy: TrustPolicy | None = None,
    seen: Sequence[tuple[str, SignedNote]] = (),
    wait: Callable[[], object] = lambda: None,
) -> LogReport:
    """Check a log and the sessions beside it, also while a recorder writes both.

    Folders are read before the log. Where one is behind the log it is read again, and where one is
    ahead of it the log is, after `wait`: it gives a recorder the time to enter what it has signed.
    `seen` are checkpoints with a name for each, `bundles` the audit trail.
    """
    return _Audit(read, Folders(sessions), policy).report(seen, wait, bundles)


class _Audit:
    def __init__(self, read: Read, folders: Folders, policy: TrustPolicy | None) -> None:
        self._read = read
        self._policy = policy
        self._findings: list[Finding] = []
        self._warnings: list[str] = []
        self._compared = 0
        self._folders = folders

    def report(
        self,
        seen: Sequence[tuple[str, SignedNote]],
        wait: Callable[[], object],
        bundles: Bundles | None,
    ) -> LogReport:
        log, before = self._settled(wait)
        for session_id, reason in sorted(self._folders.unreadable.items()):
            self._find(Problem.SESSION_CHANGED, reason, session_id)
        self._warnings += [
            f"session {printable(session_id)}: nothing is signed in its folder"
            for session_id in self._folders.empty()
        ]
        if log is None:
            return LogReport(
                problems=tuple(self._findings),
                warnings=tuple(self._warnings),
                trust=Trust(status=TrustStatus.NO_POLICY),
            )
        head, logged = log.checkpoint.head, by_session(log)
        opened, sealed = logged.opened, logged.sealed
        self._findings += broken_rules(log.entries)
        trail, found = look_at_trail(log, bundles)
        self._findings += found
        self._compare(log, logged)
        signers = self._signers(head.origin, opened, trail.device_keys)
        signer = signers.of(log.checkpoint)
        if signer is None:
            self._find(Problem.LOG_SIGNATURE, f"the newest checkpoint: none of {signers} signed it")
        self._warnings += signers.warnings()
        notes = [*seen, *self._carried(), *before]
        self._compare_notes(log, notes, signers, signed=signer is not None)
        return LogReport(
            origin=head.origin,
            tree_size=head.tree_size,
            root_hash=head.root_hash.hex(),
            opened=len(opened),
            sealed=len(sealed),
            not_sealed=tuple(session_id for session_id in opened if session_id not in sealed),
            removed=tuple(name for name, found in self._folders.signed() if found.standing.removal),
            held=tuple(name for name, found in self._folders.signed() if found.standing.holds),
            compared=self._compared,
            problems=tuple(self._findings),
            warnings=(*self._warnings, *trail.warnings),
            audit=trail,
            not_proved=(
                NOT_WITHOUT_WITNESS,
                *(() if self._policy else (NO_VOUCHER,)),
            ),
            trust=signers.trust(signer),
        )

    def _find(self, problem: Problem, detail: str, session_id: str = "") -> None:
        self._findings.append(
            Finding(problem=problem, detail=detail, session_id=printable(session_id))
        )

    # --- the log ----------------------------------------------------------------------------------

    def _settled(
        self, wait: Callable[[], object]
    ) -> tuple[StoredLog | None, list[tuple[str, SignedNote]]]:
        """The log, read again while a folder is ahead of it and it grows; what it was before."""
        log = self._log()
        before: list[tuple[str, SignedNote]] = []
        for look in range(LOOKS_AGAIN + 1):
            logged = by_session(log)
            self._folders.catch_up(logged)
            if log is None or look == LOOKS_AGAIN or not self._folders.are_ahead_of(log, logged):
                break
            wait()
            later = self._log()
            if later is not None and later.checkpoint.raw == log.checkpoint.raw:
                break
            before.append(("the log, a moment before", log.checkpoint))
            log = later
        return log, before

    def _log(self) -> StoredLog | None:
        try:
            checkpoint = read_checkpoint(self._read)
            if checkpoint is None:
                self._find(
                    Problem.LOG_MISSING, "expected a signed checkpoint of the log, found none"
                )
                return None
            return check_log(self._read, checkpoint)
        except (RecorderError, ProofError) as error:
            self._find(Problem.LOG_CHANGED, str(error))
            return None

    def _signers(
        self, origin: str, opened: dict[str, LogEntry], trail: Sequence[str]
    ) -> LogSigners:
        """The keys of the logged sessions of this recorder, of the policy, of the audit trail."""
        return LogSigners(
            (
                folder.opened.device_keys
                for session_id, folder in self._folders.signed()
                if session_id in opened
                and opened[session_id].note_sha256 == folder.first_sha256
                and f"{folder.opened.recorder}/log" == origin
            ),
            self._policy,
            trail,
        )

    # --- sessions ---------------------------------------------------------------------------------

    def _compare(self, log: StoredLog, logged: LoggedEntries) -> None:
        opened, sealed, stated = logged.opened, logged.sealed, logged.statements
        for session_id, entry in opened.items():
            if session_id not in self._folders:
                self._find(
                    Problem.SESSION_MISSING,
                    f"number {entry.counter} was opened{' and sealed' * (session_id in sealed)}, "
                    "and has no folder",
                    session_id,
                )
        places: dict[tuple[EntryKind, bytes], int] = {}
        for index, entry in enumerate(log.entries):
            places.setdefault((entry.kind, entry.note_sha256), index)
        for session_id, folder in self._folders.signed():
            if session_id in opened:
                self._compare_one(folder, opened[session_id], sealed.get(session_id))
                self._findings += compare_statements(folder, stated.get(session_id, ()))
                self._compare_previous(folder, places)
            else:
                self._find(
                    Problem.SESSION_NOT_LOGGED,
                    f"its folder is there, signed as number {folder.opened.session_counter}",
                    session_id,
                )
        for session_id in self._folders.empty():
            if session_id in opened:
                self._find(
                    Problem.SESSION_CHANGED,
                    "the log opened it, its folder holds nothing",
                    session_id,
                )

    def _compare_one(
        self, folder: SessionFolder, opened: LogEntry, sealed: LogEntry | None
    ) -> None:
        session_id = opened.session_id
        if folder.opened.session_id != session_id:
            self._find(
                Problem.SESSION_CHANGED,
                f"its folder holds session {folder.opened.session_id}",
                session_id,
            )
        if folder.first_sha256 != opened.note_sha256:
            self._find(
                Problem.SESSION_CHANGED,
                "its first checkpoint is not the one in the log",
                session_id,
            )
        if folder.opened.session_counter != opened.counter:
            self._find(
                Problem.SESSION_CHANGED,
                f"it is number {folder.opened.session_counter}, in the log {opened.counter}",
                session_id,
            )
        if sealed is None:
            if folder.sealed:
                self._find(
                    Problem.SESSION_NOT_LOGGED, "it is sealed, and the log has no seal", session_id
                )
        elif folder.last_sha256 != sealed.note_sha256:
            what = "its seal" if folder.sealed else "it is not sealed, and its last checkpoint"
            self._find(Problem.SESSION_CHANGED, f"{what} is not the seal in the log", session_id)

    def _compare_previous(
        self, folder: SessionFolder, places: dict[tuple[EntryKind, bytes], int]
    ) -> None:
        """The seal that OPEN names stood in the log when the session was numbered."""
        named = folder.opened.previous_seal
        begin = places.get((EntryKind.OPEN, folder.first_sha256))
        if begin is None or named == NO_SEAL:
            return
        if places.get((EntryKind.SEAL, named), begin) >= begin:
            self._find(
                Problem.LOG_CHANGED,
                f"its OPEN names the seal {named.hex()}, which the log does not have before it",
                folder.opened.session_id,
            )

    # --- checkpoints of the log that stand elsewhere ----------------------------------------------

    def _carried(self) -> list[tuple[str, SignedNote]]:
        return [
            (f"session {session_id}: {name}", note)
            for session_id, folder in self._folders.signed()
            for name, note in folder.log_notes
        ]

    def _compare_notes(
        self,
        log: StoredLog,
        notes: Sequence[tuple[str, SignedNote]],
        signers: LogSigners,
        *,
        signed: bool,
    ) -> None:
        """`signed`: the log's own checkpoint is; else no other contradicts its signer."""
        head = log.checkpoint.head
        roots: dict[int, bytes] = {}
        for name, note in notes:
            size = note.head.tree_size
            if note.head.origin != head.origin:
                self._find(
                    Problem.LOG_SIGNATURE,
                    f"{name}: it is of the log {note.head.origin}, this one is {head.origin}",
                )
            elif signers.of(note) is None:
                self._find(Problem.LOG_SIGNATURE, f"{name}: none of {signers} has signed it")
            elif roots.setdefault(size, note.head.root_hash) != note.head.root_hash:
                self._find(
                    Problem.EQUIVOCATION,
                    f"{name}: root {note.head.root_hash.hex()} was signed for size {size}, and "
                    f"{roots[size].hex()} as well; keep both notes",
                )
            elif size > head.tree_size:
                self._find(
                    Problem.LOG_ROLLED_BACK,
                    f"{name}: size {size} was signed, and the log has {head.tree_size} entries",
                )
            elif log.tree.root(size) != note.head.root_hash:
                self._find(
                    Problem.EQUIVOCATION if signed else Problem.LOG_CHANGED,
                    f"{name}: root {note.head.root_hash.hex()} was signed for size {size}, the log "
                    f"has {log.tree.root(size).hex()}; keep both notes",
                )
            else:
                self._compared += 1
