"""Verifies a recording: numbered steps, each done as far as those before it allow.

Offline, without secrets, and without trust in any byte it reads. A step raises what it finds;
the run goes on, so that a damaged chunk does not hide the next one, and the verdict is that of
the first step that failed (`PRECEDENCE` where verdicts differ).
"""

from __future__ import annotations

from collections.abc import Callable

from recorder_worker.core.errors import RecorderError
from recorder_worker.core.note import NoteKey
from recorder_worker.core.origins import session_origin
from recorder_worker.core.records import ChunkRecord, OpenRecord, SealRecord
from recorder_worker.core.verify.attached import check_attached, strangers
from recorder_worker.core.verify.checkpoints import check_one_tree, check_signatures
from recorder_worker.core.verify.chunks import ChunkCheck, Progress, check_chunks
from recorder_worker.core.verify.coverage import check_coverage, check_whole
from recorder_worker.core.verify.material import Material, settled_material
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.report import StepResult, Trust, TrustStatus
from recorder_worker.core.verify.steps import (
    TITLES,
    NotReachedError,
    Status,
    Step,
    StepFailedError,
    listed,
    tampered,
)
from recorder_worker.core.verify.verdicts import PRECEDENCE, Verdict


class Verification:
    """One run: the material, and what each step made of it."""

    def __init__(
        self,
        recording: RecordingReader,
        policy: TrustPolicy | None,
        progress: Progress | None,
        workers: int,
    ) -> None:
        self.material = settled_material(recording)
        self.policy = policy
        self.trust = Trust(status=TrustStatus.NO_POLICY)
        self.checks: list[ChunkCheck] = []
        self.signed_at: dict[bytes, int] = {}
        self.steps: list[StepResult] = []
        self._progress = progress
        self._workers = workers

    def run(self) -> Verification:
        """Do every step in order."""
        table: dict[Step, Callable[[], str]] = {
            Step.PARSE: self._parse,
            Step.KEYS: self._keys,
            Step.SIGNATURES: self._signatures,
            Step.ROOT: self._root,
            Step.PLACE: self._place,
            Step.STORED: self._stored,
            Step.PLAIN: lambda: self._of_chunks(Step.PLAIN),
            Step.FRAMES: self._frames,
            Step.COVERAGE: lambda: check_coverage(self._decoded().records, self.material.warnings),
            Step.WHOLE: lambda: check_whole(self._decoded().records, self.signed_size),
            Step.CHECKPOINTS: lambda: check_one_tree(self.material, self.signed_at),
            Step.ATTACHED: lambda: check_attached(self._decoded()),
        }
        for step, action in table.items():
            self.steps.append(_run(step, action))
        self.material.warnings += strangers(self.material)
        return self

    @property
    def opened(self) -> OpenRecord | None:
        """The first record, where it is an OPEN."""
        records = self.material.records
        return records[0] if records and isinstance(records[0], OpenRecord) else None

    @property
    def signed_size(self) -> int:
        """The largest size under a verified signature that the records here rebuild."""
        roots = self.material.roots
        return max(
            (
                note.head.tree_size
                for note in self.material.notes
                if note.raw in self.signed_at
                and roots.get(note.head.tree_size) == note.head.root_hash
            ),
            default=0,
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict of the steps; whole recordings are told apart by their gaps."""
        failed = {step.verdict for step in self.steps}
        for verdict in PRECEDENCE:
            if verdict in failed:
                return verdict
        unfinished = [s for s in self.steps if s.status is not Status.OK and s.number != Step.KEYS]
        if unfinished:  # a step that is left out says why, and its reason has failed another
            return Verdict.TAMPERED
        gaps = any(isinstance(r, SealRecord) and r.totals.gap_count for r in self.material.records)
        return Verdict.COMPLETE_WITH_GAPS if gaps else Verdict.COMPLETE

    # --- steps --------------------------------------------------------------------------------

    def _parse(self) -> str:
        for verdict in PRECEDENCE:
            found = [p.detail for p in self.material.problems if p.verdict is verdict]
            if found:
                raise StepFailedError(verdict, listed(found))
        return f"{self.material.tree_size} records, {len(self.material.notes)} checkpoints"

    def _keys(self) -> str:
        opened = self.opened
        if opened is None:
            raise NotReachedError("there is no OPEN record that names a key")
        key = opened.public_key
        self.trust = Trust(status=TrustStatus.NO_POLICY, public_key=key.hex())
        if self.policy is None:
            raise NotReachedError("no policy was given: nobody vouches for the key")
        name = self.policy.name_of(key)
        status = TrustStatus.UNTRUSTED if name is None else TrustStatus.TRUSTED
        self.trust = Trust(status=status, public_key=key.hex(), name=name or "")
        if name is None:
            raise StepFailedError(None, f"key {key.hex()} is not in the policy")
        return f"key {key.hex()} is {name}"

    def _signatures(self) -> str:
        notes, opened = self.material.notes, self.opened
        if not notes:
            raise StepFailedError(Verdict.TRUNCATED, "there is no checkpoint: nothing is signed")
        if opened is None:
            raise NotReachedError("there is no OPEN record that names the key")
        key = NoteKey(name=opened.recorder, public_key=opened.public_key)
        return check_signatures(self.material, key, _origin(opened), self.signed_at)

    def _root(self) -> str:
        newest, material = self.material.newest, self.material
        if newest is None:
            raise NotReachedError("there is no checkpoint to compare with")
        size = newest.head.tree_size
        if size > material.tree_size:
            raise tampered(
                f"the newest checkpoint is of {size} records, {material.tree_size} are here: "
                f"{size - material.tree_size} signed records are missing"
            )
        if material.roots[size] != newest.head.root_hash:
            raise tampered(
                f"at size {size}: expected root {newest.head.root_hash.hex()}, the records give "
                f"{material.roots[size].hex()}"
            )
        if size < material.tree_size:
            material.warnings.append(
                f"records {size} to {material.tree_size - 1} are behind the newest checkpoint: "
                "nothing is signed about them"
            )
        return f"{newest.head.root_hash.hex()} at size {size}"

    def _place(self) -> str:
        material = self._decoded()
        opened = self.opened
        if opened is None:
            raise NotReachedError("there is no OPEN record that names the session")
        for index, record in enumerate(material.records):
            if record.index != index:
                raise tampered(f"record {index}: says that it is record {record.index}")
            if record.session_id != opened.session_id:
                raise tampered(f"record {index}: is of session {record.session_id}")
        origin = _origin(opened)
        for note in material.notes:
            if note.head.origin != origin:
                raise tampered(f"expected checkpoints of {origin}, found {note.head.origin}")
        if material.newest and material.compact and not material.in_journal:
            size = material.newest.head.tree_size
            if size != material.tree_size:
                raise tampered(f"the seal is of {size} records, {material.tree_size} are here")
        return f"session {opened.session_id}"

    def _stored(self) -> str:
        material = self._decoded()
        chunks = [record for record in material.records if isinstance(record, ChunkRecord)]
        self.checks = check_chunks(
            material.reader, chunks, workers=max(1, self._workers), progress=self._progress
        )
        return self._of_chunks(Step.STORED)

    def _frames(self) -> str:
        detail = self._of_chunks(Step.FRAMES)
        before: dict[int, ChunkCheck] = {}
        for check in self.checks:
            record = check.record
            last = before.get(record.span.stream)
            joined = last is not None and not record.keyframe and _follows(last.record, record)
            if last and joined and last.last_picture != check.first_picture:
                raise tampered(f"{check.name}: the picture's size changed without a keyframe")
            before[record.span.stream] = check
        return detail

    def _of_chunks(self, step: Step) -> str:
        """What the chunks say about one of the steps 7 to 9."""
        self._decoded()
        faults = [(c.name, c.fault) for c in self.checks if c.fault and c.fault.step is step]
        before = sum(1 for c in self.checks if c.fault and c.fault.step < step)
        if faults:
            unsupported = all(fault.unsupported for _, fault in faults)
            raise StepFailedError(
                Verdict.UNSUPPORTED if unsupported else Verdict.TAMPERED,
                listed([f"{name}: {fault.detail}" for name, fault in faults]),
            )
        if before:
            raise NotReachedError(f"in {before} of {len(self.checks)} chunks; the others are good")
        return f"{len(self.checks)} chunks"

    def _decoded(self) -> Material:
        if not self.material.decoded:
            raise NotReachedError("not every record could be read")
        return self.material


def _follows(before: ChunkRecord, record: ChunkRecord) -> bool:
    """Whether no gap stands between two chunks."""
    return before.span.first_unit + before.span.unit_count == record.span.first_unit


def _origin(opened: OpenRecord) -> str:
    try:
        return session_origin(opened.recorder, opened.session_id)
    except RecorderError as error:
        raise tampered(str(error)) from error


def _run(step: Step, action: Callable[[], str]) -> StepResult:
    status, verdict = Status.OK, None
    try:
        detail = action()
    except StepFailedError as failed:
        status, verdict, detail = Status.FAILED, failed.verdict, failed.detail
    except NotReachedError as reason:
        status, detail = Status.NOT_REACHED, str(reason)
    except Exception as error:  # noqa: BLE001  (no bytes whatever may stop a verification)
        status, verdict, detail = Status.FAILED, Verdict.TAMPERED, f"cannot be read: {error!r}"
    return StepResult(
        number=step, title=TITLES[step], status=status, detail=detail, verdict=verdict
    )
