"""Makes recordings of many records fast: BEATs alone, with a checkpoint now and then."""

from __future__ import annotations

from pathlib import Path

import msgspec
from recordings import WALL_NS, Recording

from recorder_worker.core import keys
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.model import ClockState
from recorder_worker.core.records.codec import decode_record, encode_record, frame_record
from recorder_worker.core.records.leaves import BeatRecord, SealRecord

SIGNED_EVERY = 50


def write_long(folder: Path, count: int, *, strangers: int = 0) -> Path:
    """A sealed session with so many BEATs, and so many files that no record speaks of."""
    recording = Recording(checkpoint_every=1).open()
    last = Recording().open().seal()
    folder.mkdir(parents=True)
    (folder / keys.MANIFEST).write_bytes(recording.files[keys.MANIFEST])
    frontier = Frontier()
    with (
        (folder / keys.RECORDS).open("wb") as records,
        (folder / keys.CHECKPOINTS).open("wb") as notes,
    ):
        for index in range(count + 2):
            if index == 0:
                record = recording.records[0]
            elif index <= count:
                record = encode_record(_beat(recording, index))
            else:
                seal = decode_record(last.records[-1])
                assert isinstance(seal, SealRecord)
                record = encode_record(msgspec.structs.replace(seal, index=index))
            records.write(frame_record(record))
            frontier = frontier.append(BLAKE3.leaf(record))
            if frontier.size % SIGNED_EVERY == 1 or frontier.size == count + 2:
                note = recording.note(frontier.size, frontier.root())
                notes.write(note)
    (folder / keys.SEAL).write_bytes(note)
    for number in range(strangers):
        (folder / f"stranger-{number}").touch()
    return folder


def _beat(recording: Recording, index: int) -> BeatRecord:
    return BeatRecord(
        session_id=recording.session_id,
        index=index,
        salt=bytes(16),
        unit=0,
        t_ns=0,
        wall_ns=WALL_NS,
        clock=ClockState.UNKNOWN,
        streams=(),
    )
