"""One run over a recording: every record and checkpoint passes once, and every step sees it.

Offline, without secrets, and without trust in any byte that is read. What a step finds is
collected; the run goes on, so that a damaged chunk does not hide the next one. Nothing is kept of
a record but a byte or two, so memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.merkle.partial_tree import LeafRange
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import AnyRecord, ChunkRecord, OpenRecord
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.attached import Attached, Speakers
from recorder_worker.core.verify.cadence import CadenceCheck
from recorder_worker.core.verify.chunk_steps import ChunkSteps
from recorder_worker.core.verify.chunks import ChunkCheck, ChunkPool
from recorder_worker.core.verify.clip_range import ClipRange
from recorder_worker.core.verify.clocks import Clocks
from recorder_worker.core.verify.coverage import Coverage
from recorder_worker.core.verify.findings import Findings
from recorder_worker.core.verify.listing import list_recording
from recorder_worker.core.verify.note_source import NoteSource
from recorder_worker.core.verify.one_tree import OneTree
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.progress import Meter, Progress
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.record_source import check_form, records_of
from recorder_worker.core.verify.retention import Retention
from recorder_worker.core.verify.rules import RulesCheck
from recorder_worker.core.verify.seen import Seen
from recorder_worker.core.verify.signers import Signers
from recorder_worker.core.verify.steps import Step
from recorder_worker.core.verify.walk import ClipWalk, Walk, WholeWalk, read_clip
from recorder_worker.core.verify.whole import Place, Whole

NOT_READ = "not every record could be read"
OF_RECORDS = (
    Step.PLACE,
    Step.STORED,
    Step.PLAIN,
    Step.FRAMES,
    Step.COVERAGE,
    Step.WHOLE,
    Step.ATTACHED,
)
"""The steps that need every record."""


class Verification:
    """One run. Afterwards each part holds what it found; `summary` and `judgement` ask them."""

    def __init__(
        self,
        recording: RecordingReader,
        policy: TrustPolicy | None,
        seen: Sequence[SignedNote],
        progress: Progress | None,
        workers: int,
        cipher: SessionCipher | None = None,
    ) -> None:
        self.reader = recording
        self.policy = policy
        self.findings = {step: Findings(step) for step in Step}
        self.listing = list_recording(recording, sized=progress is not None)
        self.signers = Signers(self.findings[Step.SIGNATURES], self.findings[Step.EPOCHS])
        self.one_tree = OneTree(self.findings[Step.ROOT], self.findings[Step.CHECKPOINTS])
        self.place = Place(self.findings[Step.PLACE])
        self.chunks = ChunkSteps(
            *(self.findings[step] for step in (Step.STORED, Step.PLAIN, Step.FRAMES))
        )
        self.coverage = Coverage(self.findings[Step.COVERAGE])
        self.clocks = Clocks(self.findings[Step.COVERAGE])
        self.whole = Whole(self.findings[Step.WHOLE])
        self.cadence_check = CadenceCheck(self.findings[Step.CHECKPOINTS])
        self.retention = Retention(recording, self.listing, self.findings[Step.RETENTION])
        self.attached = Attached(recording, self.findings[Step.ATTACHED], self.retention)
        self.seen = Seen(seen, self.findings[Step.CHECKPOINTS])
        self.speakers = Speakers()
        self.rules = RulesCheck(policy.rules) if policy is not None else None
        self.clip: ClipRange | None = None
        self.walk: Walk
        self.note_count = 0
        self._meter = Meter(progress, self.listing.size)
        self._pool = ChunkPool(recording, workers, cipher)
        self._decoded = True

    @property
    def opened(self) -> OpenRecord | None:
        """The first record, where it is an OPEN."""
        return self.signers.opened

    @property
    def disturbed(self) -> bool:
        """Whether the recording was sealed meanwhile, so that what is missing has only moved."""
        failed = any(found.failed for found in self.findings.values())
        return failed and list_recording(self.reader).form != self.listing.form

    def run(self) -> Verification:
        """Let everything pass, and close every step."""
        parse = self.findings[Step.PARSE]
        check_form(self.listing, parse)
        notes = NoteSource(self.reader, self.listing, parse, self.findings[Step.CHECKPOINTS])
        self.walk = self._tree(parse)
        try:
            self._pass(notes)
            for check in self._pool.rest():
                self._checked(check)
        finally:
            self._pool.close()
        self._close(notes)
        self._meter.finish()
        return self

    def _tree(self, parse: Findings) -> Walk:
        if not self.listing.clip:
            return WholeWalk(records_of(self.reader, self.listing, parse))
        clip = read_clip(self.reader, parse)
        if clip is None:
            return WholeWalk(())
        self.clip = ClipRange(clip, self.findings[Step.PLACE])
        return ClipWalk(
            clip,
            lambda: records_of(self.reader, self.listing, Findings(Step.PARSE)),
            lambda: records_of(self.reader, self.listing, parse),
            self.findings[Step.ROOT],
        )

    @property
    def shown(self) -> tuple[LeafRange, ...]:
        """The places of the records that are here."""
        return self.clip.ranges if self.clip else (LeafRange(0, self.walk.shown),)

    @property
    def sealed(self) -> bool:
        """Whether a SEAL is here, the last record, and signed."""
        return self.whole.seal is not None and self.one_tree.signed_size == self.walk.size

    # --- everything passes --------------------------------------------------------------------

    def _pass(self, notes: NoteSource) -> None:
        expected = 0
        for index, data in self.walk.leaves():
            record = self._read(index, data)
            if index > expected:
                self.coverage.reveal()
            expected = index + 1
            if record is None:
                self.signers.skip()
            else:
                self._feed(index, record)
            if index == 0:
                self._notes(notes, 0)
            self._notes(notes, index + 1)
            self._meter.add(len(data))
        self.signers.end()
        for note in notes.rest(self.walk.size):
            self._note(note)

    def _read(self, index: int, data: bytes) -> AnyRecord | None:
        record = None
        with self.findings[Step.PARSE].catching(f"record {index}"):
            record = decode_record(data)
        self._decoded &= record is not None
        self.speakers.feed(record)
        return record

    def _feed(self, index: int, record: AnyRecord) -> None:
        """What follows from keys goes on behind a record that cannot be read; nothing else does."""
        if index == 0 or not isinstance(record, OpenRecord):
            self.signers.feed(index, record)
        if index == 0 and self.opened is not None and self.clip is None:
            self.retention.begin(self.opened, self.policy.rotations if self.policy else ())
        if not self._decoded:
            return
        self.place.feed(index, record)
        if self.clip is not None:
            self.clip.feed(index, record)
        if self.clip is None or not self.clip.is_beside(index, record):
            self.coverage.feed(record)
        self.clocks.feed(record)
        self.whole.feed(index, record)
        self.cadence_check.feed(record)
        if self.rules is not None:
            self.rules.feed(record)
        if self.clip is not None and not self.clip.has_file(index):
            return
        self.attached.feed(record)
        if isinstance(record, ChunkRecord):
            for check in self._pool.check(record):
                self._checked(check)

    def _checked(self, check: ChunkCheck) -> None:
        missing = check.fault is not None and check.fault.missing
        self.retention.chunk(check.name, missing=missing)
        self.chunks.add(check, removable=self.retention.removal is not None)
        self._meter.add(check.record.stored_size)

    def _notes(self, notes: NoteSource, size: int) -> None:
        for note in notes.up_to(size):
            self._note(note)
        if self.seen.wants(size):
            self.seen.at(size, self.walk.root(size), self.signers)

    def _note(self, note: SignedNote) -> None:
        signed_at_s = self.signers.verify(note) if self.opened is not None else None
        size = note.head.tree_size
        root = self.walk.root(size)
        if self.clip is not None and root is None and size < self.walk.size:
            self.findings[Step.CHECKPOINTS].tampered(
                f"the checkpoint of size {size}: expected its last record to be shown"
            )
        self.one_tree.feed(note, root, signed_at_s)
        self.place.note(note, self.signers.origin)
        if signed_at_s is not None:
            self.cadence_check.note(size, signed_at_s)

    # --- every step is closed -----------------------------------------------------------------

    def _close(self, notes: NoteSource) -> None:
        notes.finish()
        self.note_count = notes.count
        for step in OF_RECORDS:
            if not self._decoded:
                self.findings[step].leave_out(NOT_READ)
            elif self.walk.shown == 0:
                self.findings[step].leave_out("there is no record")
        size = self.walk.size
        sealed_folder = bool(self.listing.compact) and not self.listing.in_journal
        self.signers.finish(notes.count)
        self.seen.finish(size, self.signers, clip_goes_on=self.clip is not None and not self.sealed)
        self.one_tree.finish(size)
        self.place.finish(self.one_tree.newest, size, sealed=sealed_folder)
        self.chunks.finish()
        self.clocks.finish()
        if self.clip is not None:
            self.whole.finish_clip(size, self.one_tree.signed_size)
            if self.whole.seal is not None and keys.SEAL not in self.listing.compact:
                self.findings[Step.PARSE].tampered(f"{keys.SEAL}: expected in a clip with a SEAL")
        else:
            self.whole.finish(self.one_tree.signed_size)
