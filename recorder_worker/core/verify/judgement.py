"""From what has passed to what it comes to: all steps, the verdict, trust, and the rules."""

from __future__ import annotations

from recorder_worker.core.records.leaves import OpenRecord
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.core.verify.attached import strangers
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.log_entries import LogEntries
from recorder_worker.core.verify.receipts import Covers, ReceiptsChecked
from recorder_worker.core.verify.report import Cadence, RuleResult, Trust, TrustStatus
from recorder_worker.core.verify.steps import OF_THE_KEY, OPTIONAL, Status, Step
from recorder_worker.core.verify.time_steps import check_time
from recorder_worker.core.verify.time_window import TimeWindow
from recorder_worker.core.verify.verdicts import PRECEDENCE, Verdict
from recorder_worker.core.verify.verification import Verification


class Judgement:
    """Everything that is said of a run.

    Attributes:
        steps: how each ended, in order.
        log: what the proofs of the log of sessions show; None where there is no OPEN to hold them.
        receipts, window: what others prove of the time; None as `log`.
        rules: what became of the policy's rules.
    """

    def __init__(self, run: Verification) -> None:
        self.run = run
        self.trust = self._trusted()
        self.cadence = Cadence()
        self.log: LogEntries | None = None
        self.receipts: ReceiptsChecked | None = None
        self.window: TimeWindow | None = None
        details = self._details()
        if run.opened is None:
            for step in (Step.LOG, Step.RECEIPTS, Step.WINDOW):
                run.findings[step].leave_out("there is no OPEN record that names the recorder")
        else:
            details |= self._outside(run.opened)
        self.steps = tuple(run.findings[step].result(details.get(step, "")) for step in Step)
        self.rules = self._ruled()
        self.warnings = [text for step in Step for text in run.findings[step].warnings()]
        self.warnings += strangers(
            run.reader,
            run.listing,
            run.speakers,
            run.shown,
            encrypted=run.attached.encrypted,
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict of the steps; whole recordings are told apart by their gaps."""
        failed = {step.verdict for step in self.steps}
        for verdict in PRECEDENCE:
            if verdict in failed:
                return verdict
        optional = OPTIONAL | (OF_THE_KEY if self.run.chunks.closed else frozenset())
        if any(s.status is not Status.OK and s.number not in optional for s in self.steps):
            return Verdict.TAMPERED  # a step that is left out has a reason that failed another
        if self.run.clip is not None:
            return Verdict.CLIP
        gaps = self.run.whole.totals.gap_count
        return Verdict.COMPLETE_WITH_GAPS if gaps else Verdict.COMPLETE

    # --- the steps ----------------------------------------------------------------------------

    def _details(self) -> dict[Step, str]:
        """What the steps over records say where all is well."""
        run = self.run
        cadence = run.cadence_check.finish(run.walk.size) if run.clip is None else Cadence()
        self.cadence = cadence
        newest = run.one_tree.newest
        seen = f", {run.seen.compared} more that were seen elsewhere" if run.seen.compared else ""
        shown = f"{run.walk.shown} of {run.walk.size}" if run.clip else f"{run.walk.size}"
        chunks = run.chunks.detail()
        return {
            Step.PARSE: f"{shown} records, {run.note_count} checkpoints",
            Step.KEYS: f"key {self.trust.public_key} is {self.trust.name}",
            Step.SIGNATURES: f"{run.note_count} checkpoints of {run.signers.origin}",
            Step.EPOCHS: f"{run.signers.begun} epochs",
            Step.ROOT: f"{newest.head.root_hash.hex()} at size {newest.head.tree_size}"
            if newest
            else "",
            Step.PLACE: f"session {run.place.session_id}",
            Step.STORED: chunks,
            Step.PLAIN: chunks,
            Step.FRAMES: chunks,
            Step.COVERAGE: run.coverage.finish(),
            Step.WHOLE: run.whole.detail,
            Step.CHECKPOINTS: f"{run.note_count} checkpoints of one tree{seen}",
            Step.ATTACHED: run.attached.finish(),
            Step.RETENTION: run.retention.finish(
                sealed=run.sealed,
                tree_size=run.walk.size,
                root=run.walk.newest_root(),
                totals=run.whole.totals,
                missing=run.chunks.removed,
            ),
        }

    def _outside(self, opened: OpenRecord) -> dict[Step, str]:
        """Steps 14 to 16: what others hold of this recording."""
        run = self.run
        findings = run.findings
        details: dict[Step, str] = {}
        self.log = LogEntries(
            run.reader, opened, findings[Step.LOG], run.policy.rotations if run.policy else ()
        )
        details[Step.LOG] = self.log.check(run.one_tree.first, self._last())
        with findings[Step.RECEIPTS].catching("receipts"):
            self.receipts, self.window = check_time(
                run.reader,
                run.listing,
                opened,
                run.whole.seal,
                self.log.checkpoints,
                run.policy,
                (findings[Step.RECEIPTS], findings[Step.WINDOW]),
                run.rules.max_window_ns if run.rules else None,
            )
            details[Step.RECEIPTS] = ", ".join(
                f"{receipt.name} of {receipt.given_by}" for receipt in self.receipts.receipts
            )
            details[Step.WINDOW] = "; ".join(self.window.lines)
        return details

    def _last(self) -> SignedNote | None:
        return self.run.one_tree.newest if self.run.sealed else None

    # --- trust and rules ----------------------------------------------------------------------

    def _trusted(self) -> Trust:
        """Step 2, apart from integrity."""
        run = self.run
        findings: Findings = run.findings[Step.KEYS]
        keys = run.opened.device_keys if run.opened else ()
        if not keys:
            findings.leave_out("there is no OPEN record that names a key")
            return Trust(status=TrustStatus.NO_POLICY)
        found = Trust(
            status=TrustStatus.NO_POLICY,
            public_key=keys[0].data.hex(),
            ml_dsa_44=any(key.kind is KeyKind.ML_DSA_44 for key in keys),
        )
        if run.policy is None:
            findings.leave_out("no policy was given: nobody vouches for the key")
            return found
        name = run.policy.name_of(keys)
        if name is None:
            findings.fail(None, f"key {found.public_key} is not in the policy")
        return Trust(
            status=TrustStatus.UNTRUSTED if name is None else TrustStatus.TRUSTED,
            public_key=found.public_key,
            name=name or "",
            ml_dsa_44=found.ml_dsa_44,
        )

    def _ruled(self) -> tuple[RuleResult, ...]:
        if self.run.rules is None:
            return ()
        window = self.window
        return self.run.rules.finish(
            logged=self._why_not_logged(),
            cadence=None if self.run.clip is not None else self.cadence,
            window=window.lines if window else (),
            broken=window.broken_rules
            if window
            else ("require_receipt: nothing is proved", "max_window_s: nothing is proved"),
        )

    def _why_not_logged(self) -> str | None:
        wanted = (Covers.OPEN, Covers.SEAL) if self.run.sealed else (Covers.OPEN,)
        lacking = [c.value for c in wanted if self.log is None or not self.log.holds(c)]
        return f"no proof of {' and '.join(lacking)} holds" if lacking else None
