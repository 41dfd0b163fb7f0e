"""Every row of the threat table (docs/integrity.md, "Threat by threat"): what is seen by what.

An attacker has exactly what the row says: no key; the private key of the present epoch; the key of
the log; or all keys, and signs all that he changed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from judged_files import framed, problems, report, tampered
from logged_sessions import (
    DOT,
    Files,
    LoggedSessions,
    a_chunk,
    black,
    entry_of,
    log_note,
    session_id,
)
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation
from ots_receipts import receipt
from recording_files import FilesReader
from recordings import FRAME_NS, OTHER_SESSION, SESSION, WALL_NS, Recording, device_key
from time_stamp_authority import Tsa

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core import keys
from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_making import prove_consistency
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport, Problem
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.model import GapReason
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.session_log.entries import EntryKind, decode_entry
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.verify import (
    Step,
    TrustedKey,
    TrustPolicy,
    TrustStatus,
    Verdict,
)
from recorder_worker.core.verify.policy import Rules

DOCUMENT = Path(__file__).parents[2] / "docs" / "integrity.md"
GOOD = {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}


# --- change, swap, reorder or duplicate chunks, or move one to another session --------------------


def four_chunks(session: str = SESSION) -> Recording:
    """Of equal lengths, 1 to 4: nothing but what is in them tells them apart."""
    recording = Recording(session, checkpoint_every=1).open()
    for unit in range(4):
        recording.chunk(1, size=DOT, codec="stored", plain=black(unit))
    return recording.seal()


NAMES = {index: keys.chunk(index, compressed=False) for index in range(1, 5)}
PAIRS = list(itertools.permutations(NAMES, 2))


def test_chunks_without_a_key() -> None:
    """Digests tell: each file changed, and each put in the place of each other one."""
    files = four_chunks().sealed()
    for name in NAMES.values():
        tampered({**files, name: files[name][:-1] + b"\1"}, Step.STORED)
    for one, other in PAIRS:
        found = tampered({**files, NAMES[one]: files[NAMES[other]]}, Step.STORED)
        assert found.damaged == (NAMES[one],)
        swap = {NAMES[one]: files[NAMES[other]], NAMES[other]: files[NAMES[one]]}
        tampered({**files, **swap}, Step.STORED)


def test_chunks_and_their_records_without_a_key() -> None:
    """With the records swapped, repeated or put elsewhere as well: the root is another one."""
    recording = four_chunks()
    files, records = recording.sealed(), recording.records
    for one, other in PAIRS:
        swapped = list(records)
        swapped[one], swapped[other] = records[other], records[one]
        repeated = [*records[:one], records[other], *records[one:]]
        replaced = [*records[:one], records[other], *records[one + 1 :]]
        moved = [record for at, record in enumerate(records) if at != one]
        moved.insert(other, records[one])
        for changed in (swapped, repeated, replaced, moved):
            tampered({**files, keys.RECORDS: framed(changed)}, Step.EPOCHS, Step.ROOT)


def insider(records: list[bytes], recording: Recording) -> Files:
    """Other records, and all checkpoints signed anew: by who has all keys of the session."""
    recording.records, recording.notes = records, {len(records): b""}
    recording.rebuild()
    return recording.sealed()


def test_chunks_with_all_keys_are_bound_to_index_session_and_units() -> None:
    for one, other in PAIRS:
        records = four_chunks().records
        swapped = list(records)
        swapped[one], swapped[other] = records[other], records[one]
        tampered(insider(swapped, four_chunks()), Step.PLACE)
        repeated = [*records[:one], records[other], *records[one:]]
        tampered(insider(repeated, four_chunks()), Step.PLACE)
        renumbered = []
        for at, data in enumerate(repeated):
            record = msgspec.structs.replace(decode_record(data), index=at)
            if isinstance(record, ChunkRecord):
                record = msgspec.structs.replace(record, keyframe_index=at)
            renumbered.append(encode_record(record))
        recording = four_chunks()
        for at, data in enumerate(renumbered):
            record = decode_record(data)
            if isinstance(record, ChunkRecord):
                name = keys.chunk(at, compressed=False)
                recording.files[name] = black(record.span.first_unit)
        tampered(insider(renumbered, recording), Step.COVERAGE)


@pytest.mark.parametrize("index", NAMES)
def test_a_chunk_of_another_session(index: int) -> None:
    """Without a key: the file, the record, both. With all of them: it says whose it is."""
    here, there = four_chunks(), four_chunks(OTHER_SESSION)
    name = NAMES[index]
    assert here.files[name] == there.files[name]  # the same picture at the same time
    records = list(here.records)
    records[index] = there.records[index]
    tampered({**here.sealed(), keys.RECORDS: framed(records)}, Step.ROOT)
    found = tampered(insider(records, here), Step.PLACE)
    assert OTHER_SESSION in str(found.steps)


# --- leave chunks out -----------------------------------------------------------------------------


def without(recording: Recording, dropped: int, *, shifted: int) -> Files:
    """A chunk left out, all behind it one place and so many units earlier, signed again."""
    files: Files = {keys.MANIFEST: recording.files[keys.MANIFEST]}
    records: list[bytes] = []
    for data in recording.records:
        record = msgspec.structs.replace(decode_record(data), index=len(records))
        if isinstance(record, ChunkRecord):
            index = decode_record(data).index
            if index == dropped:
                continue
            span = record.span
            if index > dropped:
                back_ns = shifted * FRAME_NS
                span = msgspec.structs.replace(
                    span,
                    first_unit=span.first_unit - shifted,
                    t0_ns=span.t0_ns - back_ns,
                    t1_ns=span.t1_ns - back_ns,
                )
            record = msgspec.structs.replace(record, span=span, keyframe_index=len(records))
            files[keys.chunk(len(records), compressed=False)] = recording.files[NAMES[index]]
        records.append(encode_record(record))
    recording.files = files
    return insider(records, recording)


@pytest.mark.parametrize("dropped", NAMES)
def test_an_insider_who_leaves_a_chunk_out_leaves_a_hole(dropped: int) -> None:
    tampered(without(four_chunks(), dropped, shifted=0), Step.COVERAGE)
    # The records behind it say earlier units; the frames inside them still say their own.
    tampered(without(four_chunks(), dropped, shifted=1), Step.FRAMES, Step.COVERAGE)


@pytest.mark.parametrize("dropped", NAMES)
def test_an_insider_can_say_a_chunk_as_a_gap_and_it_is_read_as_one(dropped: int) -> None:
    recording = Recording(checkpoint_every=1).open()
    for unit in range(4):
        if unit + 1 == dropped:
            recording.gap(1, GapReason.SOURCE_LOST)
        else:
            recording.chunk(1, size=DOT, codec="stored", plain=black(unit))
    files = recording.seal().sealed()
    found = report(files)
    assert (found.verdict, found.totals.lost_units) == (Verdict.COMPLETE_WITH_GAPS, 1)
    gap = found.gaps[0]
    assert (gap.index, gap.first_unit, gap.reason) == (dropped, dropped - 1, "source_lost")
    assert (gap.t0_ns, gap.t1_ns) == ((dropped - 1) * FRAME_NS, dropped * FRAME_NS)
    rules = Rules(allowed_gap_reasons=(GapReason.PAUSE,))
    key = TrustedKey(name="lab", public_key=device_key().public_key().public_bytes_raw())
    assert report(files, TrustPolicy(keys=(key,), rules=rules)).exit_code == 20
    # And it is another history than the one in which the chunk was recorded.
    true = four_chunks().notes
    for size in range(dropped + 1, 7):
        assert report(files, seen=[true[size]]).verdict is Verdict.EQUIVOCATION


# --- cut off the end, or cut it off and go on -----------------------------------------------------


def three_epochs(end: Callable[[Recording], object] = Recording.seal) -> Recording:
    """OPEN 0, EPOCHs at 3 and 6, SEAL 9; a checkpoint behind every record."""
    recording = Recording(checkpoint_every=1).open().chunk(1, size=DOT).beat().epoch()
    recording.chunk(1, size=DOT).beat().epoch().chunk(1, size=DOT).beat()
    end(recording)
    return recording


TRUE = three_epochs()
SIZES = range(1, len(TRUE.records) + 1)


def cut(size: int) -> Recording:
    """The first records, and what was signed about them."""
    recording = three_epochs()
    recording.records = recording.records[:size]
    recording.notes = {n: note for n, note in recording.notes.items() if n <= size}
    return recording


@pytest.mark.parametrize("size", SIZES[:-1])
def test_the_end_cut_off_has_no_seal(size: int) -> None:
    recording = cut(size)
    found = report(recording.journal())
    assert (found.verdict, found.exit_code) == (Verdict.TRUNCATED, 10)
    assert any(f"behind the {size} signed records" in text for text in found.not_proved)
    assert report(recording.sealed()).verdict not in GOOD
    # Whatever is left of what was signed about the end shows that it was there.
    for left in range(size + 1, 11):
        tampered(recording.journal() | {keys.note(left): TRUE.notes[left]})


@pytest.mark.parametrize("size", SIZES[:-1])
def test_the_end_cut_off_is_missed_by_who_saw_a_checkpoint_of_it(size: int) -> None:
    """Signed by keys that the records here name; else it is said that it may be genuine."""
    named = sum(place in {3, 6} for place in range(size))
    for seen in range(size + 1, 11):
        found = report(cut(size).journal(), seen=[TRUE.notes[seen]])
        if TRUE.epoch_at(seen) <= named:
            assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.CHECKPOINTS), seen
        else:
            assert found.verdict is Verdict.TRUNCATED
            assert any("if it is genuine" in text for text in found.warnings)


def test_the_end_cut_off_is_missed_by_the_log() -> None:
    data = LoggedSessions()
    recording = data.record()
    name, files = recording.session_id, data.folders[recording.session_id]
    for size in range(1, len(recording.records)):
        recording_cut = recording.journal()
        for index in range(size, len(recording.records)):
            del recording_cut[keys.leaf(index)], recording_cut[keys.note(index + 1)]
        data.folders[name] = recording_cut
        found = data.audit()
        assert (found.exit_code, problems(found)) == (13, {Problem.SESSION_CHANGED})
        proofs = {n: files[n] for n in (keys.PROOF_OPEN, keys.PROOF_SEAL)}
        tampered(recording_cut | proofs, Step.LOG)


def forged(size: int) -> Recording:
    """Cut off behind `size` records, and gone on with, by the keys of the epochs from there on."""
    recording = cut(size)
    kept, notes = recording.records, recording.notes
    again = Recording(checkpoint_every=1)
    plan: list[Callable[[Recording], object]] = [
        *(Recording.open, lambda r: r.chunk(1, size=DOT), Recording.beat, Recording.epoch),
        *(lambda r: r.chunk(1, size=DOT), Recording.beat, Recording.epoch),
        *(lambda r: r.chunk(1, size=DOT), Recording.beat),
    ]
    for step in plan[:size]:
        step(again)
    again.gap(1, GapReason.SOURCE_LOST).seal()
    assert again.records[:size] == kept
    assert {n: again.notes[n] for n in notes} == notes
    return again


@pytest.mark.parametrize("size", SIZES[:-1])
def test_cut_off_and_gone_on_is_another_history(size: int) -> None:
    """Alone it is whole; any checkpoint of the true end that somebody saw contradicts it."""
    recording = forged(size)
    files = recording.sealed()
    assert report(files).verdict is Verdict.COMPLETE_WITH_GAPS
    for seen in range(size + 1, min(len(recording.records), 10) + 1):
        found = report(files, seen=[TRUE.notes[seen]])
        if recording.epoch_at(seen) == TRUE.epoch_at(seen):
            assert (found.verdict, found.exit_code) == (Verdict.EQUIVOCATION, 14)
        else:
            assert any("proves nothing" in text for text in found.warnings)
    assert report(files, seen=[TRUE.notes[n] for n in range(1, size + 1)]).verdict in GOOD
    last = report(files, seen=[TRUE.notes[n] for n in SIZES])
    assert last.verdict is Verdict.EQUIVOCATION or last.warnings


@pytest.mark.parametrize("size", SIZES[:-1])
def test_no_proof_leads_from_one_history_to_the_other(size: int) -> None:
    recording = forged(size)
    reader = FilesReader(recording.sealed())
    for seen in range(size + 1, len(recording.records)):
        proof = prove_consistency(reader, seen, len(recording.records))
        check_proof(proof)
        with pytest.raises(ProofError):
            check_proof(
                msgspec.structs.replace(proof, first_checkpoint=TRUE.notes[min(seen, 10)].decode())
            )


# --- delete a session, or record three and show one -----------------------------------------------


def test_a_deleted_folder_is_named_by_the_log() -> None:
    data = LoggedSessions()
    names = [data.record().session_id for _ in range(3)]
    running = data.begin().session_id
    assert (data.audit().exit_code, data.audit().not_sealed) == (0, (running,))
    for name in (*names, running):
        kept = data.folders.pop(name)
        found = data.audit()
        missing = [f for f in found.problems if f.problem is Problem.SESSION_MISSING]
        assert (found.exit_code, [f.session_id for f in missing]) == (13, [name])
        data.folders[name] = {}  # an empty folder in its place
        assert [f.session_id for f in data.audit().problems] == [name]
        data.folders[name] = data.folders[next(n for n in names if n != name)]
        assert data.audit().exit_code == 13
        data.folders[name] = kept


def entries_of(data: LoggedSessions, shown: set[str]) -> list[bytes]:
    return [entry for entry in data.entries if decode_entry(entry).session_id in shown]


SHOWN = [shown for count in (1, 2) for shown in itertools.combinations((1, 2, 3), count)]


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_a_session_deleted_from_the_log_as_well_without_its_key(shown: tuple[int, ...]) -> None:
    """Made anew the log has not the signed root; signed by another key it is nobody's."""
    data = LoggedSessions()
    for _ in range(3):
        data.record()
    names = {session_id(number) for number in shown}
    left = entries_of(data, names)
    data.folders = {name: files for name, files in data.folders.items() if name in names}
    checkpoint = data.log[keys.LOG_CHECKPOINT]
    data.rewrite(left, device_key(9))
    stranger = data.audit()
    assert (stranger.exit_code, Problem.LOG_SIGNATURE in problems(stranger)) == (13, True)
    data.log[keys.LOG_CHECKPOINT] = checkpoint
    assert problems(data.audit()) == {Problem.LOG_CHANGED}
    del data.log[keys.LOG_CHECKPOINT]
    assert problems(data.audit()) == {Problem.LOG_MISSING}


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_three_are_recorded_and_some_shown_with_the_log_s_key(shown: tuple[int, ...]) -> None:
    """A log without the others, truly signed: a hole in the counter; and who saw the true one."""
    data = LoggedSessions()
    for _ in range(3):
        data.record(beacon=False)
    true, names = list(data.notes), {session_id(number) for number in shown}
    data.folders = {
        name: {n: d for n, d in files.items() if not n.startswith("proofs/")}
        for name, files in data.folders.items()
        if name in names
    }
    data.rewrite(entries_of(data, names))
    found = data.audit()
    hidden_behind = max(shown) == len(shown)  # only the newest ones are gone: there is no hole
    assert (Problem.COUNTER_HOLE in problems(found)) == (not hidden_behind)
    assert (found.exit_code == 0) == hidden_behind
    seen = data.audit(*true)
    assert seen.exit_code in {13, 14}
    assert problems(seen) & CUT_BACK
    if not hidden_behind:
        assert seen.exit_code == 14


@pytest.mark.parametrize("carried", ["beacon", "proofs"])
def test_what_sessions_carry_of_the_log_contradicts_a_smaller_one(carried: str) -> None:
    """Without anything that somebody else kept: OPEN's beacon, and the proofs in the folders."""
    data = LoggedSessions()
    for _ in range(3):
        data.record(beacon=carried == "beacon")
    if carried == "beacon":
        for files in data.folders.values():
            del files[keys.PROOF_OPEN], files[keys.PROOF_SEAL]
    for shown in SHOWN:
        if shown in {(1,), (1, 2)} and carried == "beacon":
            continue  # no OPEN behind the hidden ones: nothing speaks of them
        names = {session_id(number) for number in shown}
        part = LoggedSessions()
        part.folders = {name: data.folders[name] for name in names}
        part.rewrite(entries_of(data, names))
        found = part.audit()
        assert (found.exit_code == 0) == (shown in {(1,), (1, 2)}), shown
        assert problems(found) & CUT_BACK or found.exit_code == 0, shown


CUT_BACK = {Problem.LOG_ROLLED_BACK, Problem.EQUIVOCATION}


def test_a_session_that_is_hidden_from_the_log() -> None:
    data = LoggedSessions()
    data.record()
    extra = four_chunks(session_id(2))
    data.folders[extra.session_id] = extra.sealed()
    found = data.audit()
    assert (found.exit_code, problems(found)) == (13, {Problem.SESSION_NOT_LOGGED})


def test_a_session_recorded_again_under_its_number() -> None:
    """By who has all keys: the log has another checkpoint; with that rewritten, others saw it."""
    data = LoggedSessions()
    data.record()
    true = list(data.notes)
    again = LoggedSessions()
    again.record(lambda recording: recording.gap(1))
    data.folders = again.folders
    assert problems(data.audit()) >= {Problem.SESSION_CHANGED}
    assert again.audit().exit_code == 0
    for note in true[1:]:
        assert again.audit(note).exit_code == 14


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (2, 3), (1, 2, 5)], ids=str)
def test_holes_in_the_counter_are_named(numbers: tuple[int, ...]) -> None:
    data = LoggedSessions()
    for number in numbers:
        data.record(number=number)
    found = data.audit()
    assert (found.exit_code, problems(found)) == (13, {Problem.COUNTER_HOLE})
    missing = set(range(1, max(numbers))) - set(numbers)
    said = " ".join(f.detail for f in found.problems)
    ends = {int(n) for n in re.findall(r"\d+", said)}
    assert {min(missing), max(missing)} <= ends


# --- steal the keys of the present epoch ----------------------------------------------------------

STOLEN = 2
"""The keys of epoch 2 are taken while it lasts: those of epochs 0 and 1 are erased."""
CLOSED = 7
"""The checkpoint of this size closes epoch 1; it is the last that the erased keys have signed."""


def with_stolen_key(recording: Recording, size: int, root: bytes) -> bytes:
    return recording.note(size, root, key=recording.keys.epoch_key(STOLEN))


@pytest.mark.parametrize("place", range(CLOSED))
def test_past_epochs_stay_safe_from_a_stolen_key(place: int) -> None:
    """No record of them can be changed, whatever the thief signs, and whatever he takes away."""
    recording = three_epochs()
    record = recording.records[place]
    for at in {20, len(record) // 2, len(record) - 1}:
        changed = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
        records = [*recording.records[:place], changed, *recording.records[place + 1 :]]
        frontier = Frontier()
        mine: dict[int, bytes] = {}
        for data in records:
            frontier = frontier.append(BLAKE3.leaf(data))
            mine[frontier.size] = with_stolen_key(recording, frontier.size, frontier.root())
        late = {size: note for size, note in mine.items() if size > CLOSED}
        for notes in (
            mine,  # he signs all sizes
            recording.notes | late,  # those of his epoch only
            {size: n for size, n in recording.notes.items() if size <= place} | late,
            late,
            {1: recording.notes[1], 4: recording.notes[4], 7: recording.notes[7]} | late,
            {1: recording.notes[1], 4: mine[4], 7: mine[7]} | late,
        ):
            other = three_epochs()
            other.records, other.notes = records, notes
            for files in (other.sealed(), other.journal()):
                assert report(files).verdict in {
                    Verdict.TAMPERED,
                    Verdict.EQUIVOCATION,
                    Verdict.UNSUPPORTED,
                }


@pytest.mark.parametrize("size", range(1, CLOSED + 1))
def test_a_stolen_key_signs_no_checkpoint_of_a_past_epoch(size: int) -> None:
    """Neither the true root nor another, neither in the folder nor seen elsewhere."""
    recording = three_epochs()
    for root in (parse_note(recording.notes[size]).head.root_hash, bytes(32)):
        note = with_stolen_key(recording, size, root)
        other = three_epochs()
        other.notes[size] = note
        assert report(other.sealed()).verdict in {Verdict.TAMPERED, Verdict.EQUIVOCATION}
        tampered(
            recording.sealed()
            | {
                keys.CHECKPOINTS: b"".join(
                    data for _, data in sorted([*recording.notes.items(), (size, note)])
                )
            }
        )
        seen = report(recording.sealed(), seen=[note])
        assert seen.verdict is Verdict.COMPLETE
        assert (not seen.warnings) == (root != bytes(32))


def test_a_stolen_key_opens_no_epoch_in_the_past() -> None:
    """An EPOCH record in place of others, with the thief's own keys, closed or not by himself."""
    for place in range(1, CLOSED):
        honest = three_epochs()
        thief = Recording(OTHER_SESSION).keys
        epoch = msgspec.structs.replace(
            decode_record(honest.records[3]),
            index=place,
            number=1,
            keys=thief.epoch_keys(7),
            t_ns=10 * FRAME_NS,
        )
        recording = cut(place)
        recording.records.append(encode_record(epoch))
        recording.notes = {n: note for n, note in honest.notes.items() if n <= place}
        for _ in range(2):
            beat = msgspec.structs.replace(
                decode_record(honest.records[8]),
                index=len(recording.records),
                t_ns=10 * FRAME_NS,
                unit=9,
            )
            recording.records.append(encode_record(beat))
        frontier, roots = Frontier(), {}
        for data in recording.records:
            frontier = frontier.append(BLAKE3.leaf(data))
            roots[frontier.size] = frontier.root()
        own, stolen = thief.epoch_key(7), honest.keys.epoch_key(STOLEN)
        for closing in (None, own, stolen):
            notes = dict(recording.notes)
            if closing is not None:
                notes[place + 1] = honest.note(place + 1, roots[place + 1], key=closing)
            for size in (place + 2, place + 3):
                notes[size] = honest.note(size, roots[size], key=own)
            other = cut(place)
            other.records, other.notes = recording.records, notes
            assert report(other.journal()).verdict is Verdict.TAMPERED


def test_a_forged_future_conflicts_with_true_checkpoints() -> None:
    """What he can sign is another end of his own epoch: everything that was seen of it tells."""
    recording = forged(CLOSED)
    files = recording.sealed()
    assert report(files).verdict is Verdict.COMPLETE_WITH_GAPS
    for size in range(CLOSED + 1, len(recording.records) + 1):
        found = report(files, seen=[TRUE.notes[size]])
        assert (found.verdict, found.exit_code) == (Verdict.EQUIVOCATION, 14)
        both = {**recording.notes, size: TRUE.notes[size]}
        checkpoints = b"".join(both[n] for n in sorted(both))
        mixed = {keys.CHECKPOINTS: checkpoints, keys.SEAL: both[max(both)]}
        if size < max(both):
            assert report(files | mixed).verdict is Verdict.EQUIVOCATION


def test_a_stolen_epoch_key_is_no_key_of_the_log_or_of_open() -> None:
    data = LoggedSessions()
    recording = data.record()
    name, stolen = recording.session_id, recording.keys.epoch_key(0)
    data.rewrite([*data.entries, data.entries[0]], stolen)
    assert Problem.LOG_SIGNATURE in problems(data.audit())
    opened = decode_record(recording.records[0])
    other = msgspec.structs.replace(opened, node="elsewhere", device_signatures=())
    forged_open = msgspec.structs.replace(
        other, device_signatures=(stolen.sign(encode_record(other)),)
    )
    recording.replace_record(0, encode_record(forged_open))
    tampered(recording.sealed(), Step.SIGNATURES)
    assert name in data.folders


# --- sign two histories ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_two_notes_for_one_size_are_the_proof(size: int) -> None:
    """In one folder, in either order, at every size; and seen elsewhere."""
    recording = three_epochs()
    second = recording.note(size, b"\1" * 32)
    for order in ((recording.notes[size], second), (second, recording.notes[size])):
        listed = [(n, note) for n, note in recording.notes.items() if n != size]
        both = sorted([*listed, (size, order[0] + order[1])])
        checkpoints = b"".join(note for _, note in both)
        seal = order[1] if size == 10 else recording.notes[10]
        mixed = {keys.CHECKPOINTS: checkpoints, keys.SEAL: seal}
        found = report(recording.sealed() | mixed)
        assert (found.verdict, found.exit_code) == (Verdict.EQUIVOCATION, 14)
    assert report(recording.sealed(), seen=[second]).verdict is Verdict.EQUIVOCATION


# --- show two logs --------------------------------------------------------------------------------


def two_views() -> tuple[LoggedSessions, LoggedSessions]:
    """One log in which the second session is told, and one in which another is."""
    one, other = LoggedSessions(), LoggedSessions()
    for data, fill in ((one, a_chunk), (other, Recording.gap)):
        data.record()
        data.record(fill)
        data.record()
    assert one.notes[:3] == other.notes[:3]
    assert one.notes[-1] != other.notes[-1]
    return one, other


def test_two_views_of_the_log_are_proved_by_two_notes() -> None:
    one, other = two_views()
    for mine, theirs in ((one, other), (other, one)):
        assert mine.audit().exit_code == 0
        assert mine.audit(*theirs.notes[:3]).exit_code == 0
        for size, note in enumerate(theirs.notes, start=1):
            assert mine.audit(note).exit_code == (0 if note in mine.notes else 14), size


def test_two_views_in_two_sessions_are_proved_by_their_proofs() -> None:
    """Each session holds what its owner was shown: brought together they contradict each other."""
    one, other = two_views()
    name = session_id(3)
    one.folders[name] = one.folders[name] | {keys.PROOF_SEAL: other.folders[name][keys.PROOF_SEAL]}
    found = one.audit()
    assert (found.exit_code, problems(found)) == (14, {Problem.EQUIVOCATION})
    assert report(one.folders[name]).verdict in {Verdict.TAMPERED, Verdict.EQUIVOCATION}


def test_a_view_that_only_grew_is_the_same_view() -> None:
    data = LoggedSessions()
    for _ in range(4):
        data.record()
    found = data.audit(*data.notes)
    assert (found.exit_code, found.problems) == (0, ())
    assert found.compared >= len(data.notes)
    assert any("nobody was shown another log" in text for text in found.not_proved)


def test_a_stranger_s_note_is_no_second_view() -> None:
    """It is said, and it is no proof against the device."""
    data = LoggedSessions()
    data.record()
    note = log_note(1, bytes(32), device_key(9), data.origin)
    assert problems(data.audit(note)) == {Problem.LOG_SIGNATURE}


# --- date a recording back, or forth --------------------------------------------------------------


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def dated(tsa: Tsa, *, stamped: bool = True) -> tuple[Files, bytes, int]:
    """A session, the log's checkpoint behind its seal, and the size of that.

    Its clock says `WALL_NS`, in October 2025; the time-stamp in OPEN is of now, which is later.
    """
    data = LoggedSessions()
    data.record()
    before = data.notes[-1]
    recording = Recording(session_id(2), checkpoint_every=1)
    recording.numbered = SessionNumbered(
        session_id=recording.session_id,
        counter=2,
        beacon=before.decode(),
        timestamped=before.decode() if stamped else "",
        timestamp=tsa.stamp(before) if stamped else b"",
    )
    recording.open().chunk(1, size=DOT).seal()
    proofs = {}
    for name, kind in ((keys.PROOF_OPEN, EntryKind.OPEN), (keys.PROOF_SEAL, EntryKind.SEAL)):
        proofs[name] = data.append(entry_of(recording, kind))
    return recording.sealed() | proofs, data.notes[-1], len(data.entries)


def block_at(time_s: int, note: bytes) -> tuple[bytes, BlockHeader]:
    """A receipt in a Bitcoin block of some time, over a checkpoint of the log."""
    data, root = receipt(BitcoinBlockHeaderAttestation(800_000), message=note)
    return data, BlockHeader(height=800_000, merkle_root=root, time=time_s)


def test_dated_back_open_holds_a_time_stamp_that_was_not_there_yet(tsa: Tsa) -> None:
    """The clock of the recorder was set back: the proved window is later than what it says."""
    files, _, _ = dated(tsa)
    found = report(files, TrustPolicy(authorities=(tsa.trusted(),)))
    assert found.verdict is Verdict.COMPLETE
    assert found.window.not_before_ns is not None
    assert found.window.not_before_ns > WALL_NS
    assert any("THE RECORDER'S CLOCK WAS WRONG: OPEN" in text for text in found.warnings)


def test_dated_back_with_a_receipt_that_is_older_than_open(tsa: Tsa) -> None:
    """Whoever forges the receipt as well: it says that OPEN was there before what it holds."""
    files, note, size = dated(tsa)
    data, header = block_at(WALL_NS // 10**9, note)
    policy = TrustPolicy(block_headers=(header,), authorities=(tsa.trusted(),))
    found = report({**files, keys.receipt(size, "ots"): data}, policy)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.WINDOW)


def test_dated_forth_a_receipt_over_the_seal_is_older(tsa: Tsa) -> None:
    """The clock was set forth: by the time of the receipt it had all been sealed."""
    files, note, size = dated(tsa, stamped=False)
    data, header = block_at(WALL_NS // 10**9 - 10**6, note)
    found = report({**files, keys.receipt(size, "ots"): data}, TrustPolicy(block_headers=(header,)))
    assert found.verdict is Verdict.COMPLETE
    assert found.window.not_after_ns is not None
    assert found.window.not_after_ns < WALL_NS
    wrong = [text for text in found.warnings if "THE RECORDER'S CLOCK WAS WRONG" in text]
    assert [text.split(": ")[1].split()[0] for text in wrong] == ["OPEN", "SEAL"]


def test_a_date_that_nobody_proves_is_said_to_be_none(tsa: Tsa) -> None:
    found = report(dated(tsa, stamped=False)[0])
    assert any(text.startswith("time unproven: no receipt") for text in found.not_proved)
    rules = Rules(require_receipt=True)
    key = TrustedKey(name="lab", public_key=device_key().public_key().public_bytes_raw())
    asked = report(dated(tsa)[0], TrustPolicy(keys=(key,), rules=rules))
    assert (asked.verdict, asked.exit_code) == (Verdict.COMPLETE, 20)


def test_a_receipt_of_the_log_does_not_speak_of_what_came_later(tsa: Tsa) -> None:
    """A time-stamp over the log before OPEN, put in as one that covers the seal."""
    files, note, size = dated(tsa)
    tampered({**files, keys.receipt(size, "tsr"): tsa.stamp(b"older")}, Step.RECEIPTS)
    older = report({**files, keys.receipt(2, "tsr"): tsa.stamp(note)})
    assert older.window.not_after_ns is None
    assert any("says nothing about this recording" in text for text in older.not_proved)


# --- a bomb, or what nobody signed ----------------------------------------------------------------


def test_bombs_and_unsigned_bytes_are_the_eighth_hard_test() -> None:
    """test_ten_hard_tests.py: lengths and digests are held before anything is inflated."""
    text = (Path(__file__).parent / "test_ten_hard_tests.py").read_text(encoding="utf-8")
    for name in (
        "test_8_nothing_is_inflated_that_no_record_vouches_for",
        "test_8_what_is_not_exactly_one_frame_is_refused_whoever_signs_it",
        "test_8_a_bomb_that_its_record_declares_is_inflated_in_small_pieces",
    ):
        assert f"def {name}(" in text


# --- what is not detected, and the document says so -----------------------------------------------


def sections() -> dict[str, str]:
    parts = re.split(r"^#+ (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("False pixels before capture", "begins where the picture enters"),
        ("A session that never was", "before the first checkpoint leaves the machine"),
        ("A device key that was stolen while it was current", "open new sessions"),
        ("A log shown to you alone", "Without a witness or an older checkpoint"),
    ],
)
def test_what_is_not_detected_is_said_in_the_document(what: str, words: str) -> None:
    said = " ".join(sections()["Not detected"].split())
    assert f"**{what}.**" in said
    assert words in said


def test_what_is_not_detected_is_said_in_every_good_report() -> None:
    for files in (TRUE.sealed(), cut(5).journal(), four_chunks().sealed()):
        said = " ".join(report(files).not_proved)
        assert "what happened before capture: that the pixels were genuine" in said
        assert "that recording began when it should have" in said
        assert "no other session of this recorder was deleted" in said
        assert "who recorded it: nobody vouches for key" in said


def test_false_pixels_and_a_stolen_device_key_are_not_detected() -> None:
    """What the document says is so: a session made by who has the key is whole, and in the log."""
    data = LoggedSessions()
    data.record()
    data.record(lambda recording: recording.chunk(2, size=(3, 3)))
    assert data.audit().exit_code == 0
    found = report(data.folders[session_id(2)])
    assert (found.verdict, found.trust.status) == (Verdict.COMPLETE, TrustStatus.NO_POLICY)


def test_a_session_hidden_before_its_first_checkpoint_left_is_not_detected() -> None:
    data = LoggedSessions()
    data.record()
    hidden = LoggedSessions()
    hidden.record()
    hidden.record()
    assert hidden.notes[1] == data.notes[1]
    assert data.audit(hidden.notes[1]).exit_code == 0
    assert data.audit(hidden.notes[2]).exit_code == 13


# --- who did what ---------------------------------------------------------------------------------

LOGS = Path(__file__).parents[1] / "vectors" / "logs"


def audited(name: str) -> LogReport:
    data = DataDirectory(LOGS / name)
    return audit_log(data.read, data, bundles=data)


@pytest.mark.parametrize(
    ("name", "problem", "says"),
    [
        ("audit-event-changed", Problem.AUDIT_CHANGED, "event 4 was changed"),
        ("audit-event-changed-and-linked-anew", Problem.AUDIT_CHANGED, "links were made anew"),
        ("audit-event-removed", Problem.AUDIT_CHANGED, "missing: event 2"),
        ("audit-events-reordered", Problem.AUDIT_CHANGED, "event 1 stands behind event 2"),
        ("audit-bundle-removed", Problem.AUDIT_MISSING, "events 1 to 3"),
        ("audit-bundle-of-another-recorder", Problem.AUDIT_CHANGED, "found another-recorder"),
        ("audit-entry-left-out", Problem.AUDIT_CHANGED, "missing: event 6, event 7"),
    ],
)
def test_audit_events_that_were_touched_are_named(name: str, problem: Problem, says: str) -> None:
    report = audited(f"tampered/{name}")
    assert problem in {finding.problem for finding in report.problems}
    assert any(says in finding.detail for finding in report.problems), report.problems
    assert report.exit_code == 13


def test_a_stream_of_audit_events_that_was_cut_is_told_by_the_trail() -> None:
    report = audited("good/audit-trail-whose-begin-is-too-old")
    assert (report.problems, report.audit.gaps, report.audit.aged) == ((), 1, 3)
    assert audited("good/audit-trail").audit.gaps == 0


ROWS = {
    "change, swap, reorder or duplicate chunks, or move one to another session": "test_chunks_",
    "leave chunks out": "test_an_insider_",
    "cut off the end, or cut it off and go on": "test_cut_off_and_gone_on_",
    "delete a session, or record three and show one": "test_three_are_recorded_",
    "steal the keys of the present epoch": "test_past_epochs_stay_safe_",
    "sign two histories": "test_two_notes_",
    "show two logs": "test_two_views_",
    "date a recording back": "test_dated_back_",
    "date it forth": "test_dated_forth_",
    "change, remove, insert or reorder audit events, or bring those of another recorder": (
        "test_audit_events_"
    ),
    "cut the stream of audit events, or have it begin anew": "test_a_stream_of_audit_events_",
    "make the verifier inflate a bomb, or read what nobody signed": "test_bombs_",
}


def test_every_row_of_the_document_has_its_tests() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", sections()["Threat by threat"], re.MULTILINE)
    assert [row for row in rows if row not in {"who can …", "---"}] == list(ROWS)
    for prefix in ROWS.values():
        assert any(name.startswith(prefix) for name in globals()), prefix
