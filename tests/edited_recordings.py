"""What an insider makes of a recording, who has its keys, and what the verifier says to it."""

from __future__ import annotations

import msgspec
from recording_files import FilesReader
from recordings import Recording

from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify import Report, Step, TrustPolicy, Verdict, verify


def report(recording: Recording, policy: TrustPolicy | None = None) -> Report:
    """What the verifier says to it, sealed."""
    return verify(FilesReader(recording.sealed()), policy)


def expect(recording: Recording, step: Step, verdict: Verdict = Verdict.TAMPERED) -> Report:
    """The verifier's report; that step must have failed."""
    found = report(recording)
    assert (found.verdict, found.failed_step) == (verdict, step), found.steps
    return found


def edited(recording: Recording, place: int, /, **changes: object) -> Recording:
    """A record replaced by one with other values, and everything signed again."""
    record = decode_record(recording.records[place])
    recording.replace_record(place, encode_record(msgspec.structs.replace(record, **changes)))
    return recording


def chunk_of(recording: Recording, index: int) -> ChunkRecord:
    """The record of a chunk."""
    record = decode_record(recording.records[index])
    assert isinstance(record, ChunkRecord)
    return record
