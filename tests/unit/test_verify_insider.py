"""An insider has the key and signs what is not so. The record must still be whole to pass."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from blake3 import blake3
from edited_recordings import chunk_of, edited, expect, report
from recording_files import FilesReader
from recordings import OTHER_SESSION, SESSION, SIZE, Recording, whole, with_gap

from recorder_worker.core import keys
from recorder_worker.core.events import ChunkStored, GapLeaf, StreamEnd
from recorder_worker.core.model import GapReason, Span
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.leaves import AnyRecord, SealRecord
from recorder_worker.core.verify import Step, Verdict, verify
from recorder_worker.core.verify.coverage import MAX_STREAMS
from recorder_worker.core.verify.report import MAX_GAPS

SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"more"
MEBIBYTE = bytes(1 << 20)


# --- frames --------------------------------------------------------------------------------------


def spoiled(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda plain: plain[:offset] + value + plain[offset + len(value) :]


def frames_attack(change: Callable[[bytes], bytes]) -> Recording:
    """A chunk whose digests are right for frames that are not what its record says."""
    honest = Recording().open().chunk()
    plain = zstandard.ZstdDecompressor().decompress(honest.files[keys.chunk(1, compressed=True)])
    return Recording().open().chunk(plain=change(plain)).seal()


@pytest.mark.parametrize(
    "change",
    [
        spoiled(0, b"\x02"),
        spoiled(6, (7).to_bytes(8, "big")),
        spoiled(14, (10**12).to_bytes(8, "big")),
        spoiled(2, (71).to_bytes(2, "big")),
        lambda plain: plain[:-1],
        lambda plain: plain + b"\0",
        lambda plain: plain + plain,
        lambda _: b"",
    ],
    ids=["kind", "unit", "time", "width", "cut", "more", "twice", "none"],
)
def test_frames_that_are_not_what_the_record_says(change: Callable[[bytes], bytes]) -> None:
    expect(frames_attack(change), Step.FRAMES)


@pytest.mark.parametrize("change", [spoiled(0, b"\x03"), spoiled(1, b"\x03")])
def test_frames_of_an_unknown_kind_are_unsupported(change: Callable[[bytes], bytes]) -> None:
    expect(frames_attack(change), Step.FRAMES, Verdict.UNSUPPORTED)


def test_a_keyframe_flag_that_is_not_so() -> None:
    recording = Recording().open().chunk().chunk(keyframe=False).seal()
    expect(edited(recording, 2, keyframe=True, keyframe_index=2), Step.FRAMES)


def test_a_raw_size_that_is_not_so() -> None:
    recording = Recording().open().chunk().seal()
    expect(edited(recording, 1, raw_size=1), Step.FRAMES)


def test_a_size_that_changes_without_a_keyframe() -> None:
    other = Recording().open().chunk(size=(90, 50)).chunk(keyframe=False, size=(90, 50))
    name = keys.chunk(2, compressed=True)
    recording = Recording().open().chunk()
    plain = zstandard.ZstdDecompressor().decompress(other.files[name])
    sized = {"raw_size": 3 * 90 * 50 * 3}
    recording.chunk(
        keyframe=False, plain=plain, change=lambda e: msgspec.structs.replace(e, **sized)
    )
    found = expect(recording.seal(), Step.FRAMES)
    assert "without a keyframe" in str(found.steps)
    assert SIZE != (90, 50)


# --- coverage ------------------------------------------------------------------------------------


def respanned(**changes: int) -> Callable[[Span], Span]:
    return lambda span: msgspec.structs.replace(span, **changes)


GAPS: dict[str, Callable[[Span], Span]] = {
    "a hole in units": lambda s: msgspec.structs.replace(s, first_unit=s.first_unit + 1),
    "an overlap in units": lambda s: msgspec.structs.replace(s, first_unit=s.first_unit - 1),
    "a hole in time": lambda s: msgspec.structs.replace(s, t0_ns=s.t0_ns + 1),
    "an overlap in time": lambda s: msgspec.structs.replace(s, t0_ns=s.t0_ns - 1),
    "time that steps back": lambda s: msgspec.structs.replace(s, t1_ns=s.t0_ns - 1),
    "another stream that begins late": lambda s: msgspec.structs.replace(s, stream=1),
}


@pytest.mark.parametrize("change", GAPS.values(), ids=GAPS.keys())
def test_a_hidden_hole_or_overlap(change: Callable[[Span], Span]) -> None:
    expect(Recording().open().chunk().gap(change=change).chunk().seal(), Step.COVERAGE)


def test_a_dropped_chunk_with_everything_behind_it_renumbered() -> None:
    """The best that an insider can do to hide a chunk: it still leaves a hole in its stream."""
    honest = Recording().open().chunk().chunk().chunk().seal()
    records = [decode_record(data) for data in honest.records]
    kept = [*records[:2], *records[3:]]
    honest.records = [
        encode_record(msgspec.structs.replace(record, index=n)) for n, record in enumerate(kept)
    ]
    honest.notes = {4: b""}
    honest.files[keys.chunk(2, compressed=True)] = honest.files.pop(keys.chunk(3, compressed=True))
    honest.rebuild()
    found = report(honest)
    assert found.verdict is Verdict.TAMPERED
    assert "a hole" in next(s for s in found.steps if s.number == Step.COVERAGE).detail


def test_a_stream_must_reach_the_seal() -> None:
    for wrong in (-1, 1):
        recording = Recording().open().chunk()
        expect(recording.seal(t_ns=recording.t_ns + wrong), Step.COVERAGE)


def test_a_gap_of_time_alone_and_one_of_nothing_are_gaps() -> None:
    recording = Recording().open().chunk().gap(0, duration_ns=5).gap(0, duration_ns=0).chunk()
    found = report(recording.seal())
    assert found.verdict is Verdict.COMPLETE_WITH_GAPS
    assert [gap.lost_units for gap in found.gaps] == [0, 0]


def test_streams_without_end_are_refused_in_time() -> None:
    recording = Recording(checkpoint_every=10_000).open()
    for number in range(1, MAX_STREAMS + 20):
        recording.leaf(
            GapLeaf(
                session_id=recording.session_id,
                index=recording.index,
                captured=recording.index,
                span=Span(
                    stream=number,
                    first_unit=0,
                    unit_count=0,
                    t0_ns=0,
                    t1_ns=0,
                    wall0_ns=0,
                    wall1_ns=0,
                ),
                reason=GapReason.PAUSE,
                detail="",
                wall_ns=0,
            )
        )
        recording.state = msgspec.structs.replace(recording.state, streams=())
    recording.sign()
    found = verify(FilesReader(recording.journal()))
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.COVERAGE)
    assert len(found.gaps) == MAX_GAPS
    assert found.totals.gap_count == MAX_STREAMS + 19


def test_a_chunk_without_frames_is_no_chunk() -> None:
    recording = Recording().open().chunk().chunk(0, keyframe=False)
    assert Step.COVERAGE in {s.number for s in report(recording.seal()).steps if s.verdict}


def no_keyframe_behind(reason: GapReason) -> Recording:
    return Recording().open().chunk().gap(reason=reason).chunk(keyframe=False).seal()


@pytest.mark.parametrize("reason", GapReason)
def test_frames_behind_a_gap_need_a_keyframe(reason: GapReason) -> None:
    if reason is GapReason.DEAD_LETTER:
        found = report(no_keyframe_behind(reason))
        assert found.verdict is Verdict.COMPLETE_WITH_GAPS
        assert "cannot be played" in str(found.warnings)
    else:
        expect(no_keyframe_behind(reason), Step.COVERAGE)


@pytest.mark.parametrize("index", [0, 2, 3, 4, 99])
def test_a_keyframe_index_that_is_not_the_newest_keyframe(index: int) -> None:
    recording = Recording().open().chunk().mark().chunk().chunk(keyframe=False).chunk().seal()
    if index != 3:
        expect(edited(recording, 4, keyframe_index=index), Step.COVERAGE)
    else:
        assert chunk_of(recording, 4).keyframe_index == index


# --- one whole session ---------------------------------------------------------------------------


def test_two_seals() -> None:
    recording = with_gap()
    recording.unsealed()
    recording.seal()
    expect(recording, Step.WHOLE)


def test_a_leaf_behind_the_seal() -> None:
    recording = with_gap()
    recording.unsealed()
    found = report(recording.mark())
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.WHOLE)


def replaced(recording: Recording, index: int, record: AnyRecord) -> Recording:
    recording.replace_record(index, encode_record(msgspec.structs.replace(record, index=index)))
    return recording


def test_two_opens() -> None:
    recording = whole()
    expect(replaced(recording, 3, decode_record(recording.records[0])), Step.WHOLE)


def test_no_open() -> None:
    recording = whole()
    expect(replaced(recording, 0, decode_record(recording.records[3])), Step.WHOLE)


def test_totals_that_are_not_so() -> None:
    recording = with_gap()
    seal = decode_record(recording.records[-1])
    assert isinstance(seal, SealRecord)
    for changes in (
        {"totals": msgspec.structs.replace(seal.totals, lost_units=0)},
        {"totals": msgspec.structs.replace(seal.totals, stored_bytes=1)},
        {"streams": ()},
        {"streams": (*seal.streams, StreamEnd(stream=3, next_unit=0, t_ns=seal.t_ns))},
    ):
        expect(edited(with_gap(), 4, **changes), Step.WHOLE)


def test_a_record_with_another_index() -> None:
    expect(edited(whole(), 3, index=4), Step.PLACE)


def test_a_record_of_another_session() -> None:
    expect(edited(whole(), 3, session_id=OTHER_SESSION), Step.PLACE)


def test_checkpoints_of_another_origin() -> None:
    recording = whole()
    recording.session_id = OTHER_SESSION
    recording.rebuild()
    expect(recording, Step.PLACE)


def test_a_recorder_name_that_cannot_be_an_origin() -> None:
    found = report(edited(whole(), 0, recorder="a\nb"))
    assert found.verdict is Verdict.TAMPERED
    assert "\n" not in found.recorder


def test_a_body_that_is_not_the_one_digested() -> None:
    recording = whole()
    digest = blake3(b"other").digest()
    expect(edited(recording, 3, body_blake3=digest), Step.ATTACHED)
    expect(edited(whole(), 3, body_size=1), Step.ATTACHED)


# --- two histories -------------------------------------------------------------------------------


def test_two_roots_for_one_size() -> None:
    recording = whole()
    files = recording.journal() | recording.sealed()
    files[keys.note(4)] = recording.note(4, bytes(32))
    found = verify(FilesReader(files))
    assert (found.verdict, found.failed_step) == (Verdict.EQUIVOCATION, Step.CHECKPOINTS)
    assert "two roots for size 4" in str(found.steps)


def test_two_roots_for_the_last_size() -> None:
    recording = whole()
    files = recording.sealed()
    other = recording.note(9, bytes(32))
    files[keys.SEAL] = other
    found = verify(FilesReader(files))
    assert found.verdict is Verdict.EQUIVOCATION


def test_what_the_key_signed_about_another_session_is_no_second_history() -> None:
    """It does not belong here, and that is all that it shows."""
    recording = whole()
    recording.session_id = OTHER_SESSION
    stray = recording.note(4, bytes(32))
    recording.session_id = SESSION
    recording.notes[4] = stray
    expect(recording, Step.PLACE)


def test_an_earlier_checkpoint_of_another_tree() -> None:
    recording = whole()
    recording.notes[4] = recording.note(4, bytes(32))
    found = report(recording)
    assert (found.verdict, found.failed_step) == (Verdict.EQUIVOCATION, Step.CHECKPOINTS)
    assert found.exit_code == 14


# --- unsupported ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "value"), [(4, 2), (5, 8), (5, 255), (98, 99)])
def test_a_signed_record_that_is_not_known_is_unsupported(offset: int, value: int) -> None:
    recording = with_gap()
    data = bytearray(recording.records[2])
    data[offset] = value
    recording.replace_record(2, bytes(data))
    found = expect(recording, Step.PARSE, Verdict.UNSUPPORTED)
    assert found.signed_size == 5


def test_a_codec_that_is_not_known_is_unsupported() -> None:
    recording = whole()
    data = bytearray(recording.records[1])
    data[46 + 4 + 48 + 1] = 9
    recording.replace_record(1, bytes(data))
    expect(recording, Step.PARSE, Verdict.UNSUPPORTED)


def test_the_names_of_stored_chunks_follow_from_their_records() -> None:
    def renamed(event: ChunkStored) -> ChunkStored:
        return msgspec.structs.replace(event, codec="stored", name=event.name[:-3] + "raw")

    expect(Recording().open().chunk(change=renamed).seal(), Step.PLAIN)
