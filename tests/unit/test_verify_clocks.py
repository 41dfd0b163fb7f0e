"""Steps 10 and 12 beside the streams: clocks that do not step back, and how often was signed."""

from __future__ import annotations

import msgspec
import pytest
from edited_recordings import report
from recordings import FRAME_NS, WALL_NS, Recording, device_key, with_gap

from recorder_worker.core.events import StreamEnd
from recorder_worker.core.model import ClockState, GapReason
from recorder_worker.core.records.codec import decode_record, encode_record, signed_open
from recorder_worker.core.records.leaves import AnyRecord, BeatRecord, ChunkRecord, OpenRecord
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    TreeHead,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.verify import Step, TrustedKey, TrustPolicy, Verdict
from recorder_worker.core.verify.policy import Rules


def lively() -> Recording:
    """OPEN, chunk, BEAT 2, EPOCH 3, chunk, BEAT 5, SEAL."""
    return Recording().open().chunk().beat().epoch().chunk().beat().seal()


def edited(recording: Recording, place: int, /, **changes: object) -> Recording:
    record = decode_record(recording.records[place])
    if isinstance(record, OpenRecord):
        record = msgspec.structs.replace(record, device_signatures=(), **changes)
        changes = {"device_signatures": recording.keys.endorse(signed_open(record))}
    recording.replace_record(place, encode_record(msgspec.structs.replace(record, **changes)))
    return recording


def expect(recording: Recording, text: str) -> None:
    found = report(recording)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.COVERAGE), found.steps
    assert text in next(s for s in found.steps if s.number == Step.COVERAGE).detail


def record(recording: Recording, place: int) -> AnyRecord:
    return decode_record(recording.records[place])


def test_a_lively_session_is_whole() -> None:
    found = report(lively())
    assert (found.verdict, found.warnings) == (Verdict.COMPLETE, ())


@pytest.mark.parametrize("field", ["unit", "t_ns"])
def test_a_beat_that_steps_back(field: str) -> None:
    ahead = {"unit": 50, "t_ns": 50 * FRAME_NS}
    expect(edited(lively(), 2, **{field: ahead[field]}), "steps back")


def test_an_epoch_that_steps_back() -> None:
    recording = Recording().open().chunk().beat(t_ns=10**9).epoch()
    expect(recording.chunk().beat(t_ns=10**9).seal(t_ns=10**9), "steps back")


@pytest.mark.parametrize("field", ["unit", "t_ns"])
def test_a_beat_that_is_behind_the_stream(field: str) -> None:
    expect(edited(lively(), 2, **{field: 1}), "behind stream 0")


def test_an_epoch_that_is_behind_the_stream() -> None:
    expect(edited(lively(), 3, t_ns=1), "behind stream 0")


def test_a_beat_may_be_ahead_of_the_chunks_that_are_still_to_come() -> None:
    recording = Recording().open().chunk().beat(unit=6, t_ns=6 * FRAME_NS).chunk().beat().seal()
    assert report(recording).verdict is Verdict.COMPLETE


def test_a_seal_before_the_last_beat() -> None:
    expect(Recording().open().chunk().beat(unit=9, t_ns=10**10).seal(), "the SEAL is at")


def test_a_beat_that_counts_the_streams_wrongly() -> None:
    beat = record(lively(), 5)
    assert isinstance(beat, BeatRecord)
    for streams in (
        (),
        (msgspec.structs.replace(beat.streams[0], next_unit=5),),
        (*beat.streams, StreamEnd(stream=1, next_unit=0, t_ns=0)),
    ):
        expect(edited(lively(), 5, streams=streams), "a BEAT says that the streams stand at")


# --- the wall clock ------------------------------------------------------------------------------


def test_a_wall_clock_that_steps_back_is_told_with_its_record() -> None:
    recording = lively()
    chunk = record(recording, 4)
    assert isinstance(chunk, ChunkRecord)
    earlier = msgspec.structs.replace(chunk.span, wall0_ns=WALL_NS)
    for place, changes in ((4, {"span": earlier}), (5, {"wall_ns": WALL_NS})):
        found = report(edited(lively(), place, **changes))
        assert found.verdict is Verdict.COMPLETE
        assert [w for w in found.warnings if f"record {place}: the wall clock stepped back" in w]


def test_a_clock_that_is_not_synchronised_is_said() -> None:
    found = report(edited(lively(), 4, clock=ClockState.UNSYNCHRONISED))
    assert found.verdict is Verdict.COMPLETE
    assert any("not synchronised in 1 records, record 4" in text for text in found.warnings)
    assert any("it was not synchronised" in text for text in found.not_proved)


def test_a_clock_that_says_that_it_is_right_is_not_doubted_in_every_report() -> None:
    recording = lively()
    for place in range(6):
        edited(recording, place, clock=ClockState.SYNCHRONISED)
    assert not any("synchronised" in text for text in report(recording).not_proved)
    assert any("nothing says that it was" in text for text in report(lively()).not_proved)


# --- cadence -------------------------------------------------------------------------------------


def signed_late(size: int, late_s: int) -> Recording:
    """All checkpoints from a size on, signed later than they should have been."""
    recording = Recording(checkpoint_every=1).open().chunk().chunk().seal()
    for found in range(size, len(recording.records) + 1):
        head = parse_note(recording.notes[found]).head
        private = recording.keys.epoch_key(0)
        key = NoteKey(name=recording.recorder, public_key=private.public_key().public_bytes_raw())
        recording.notes[found] = sign_checkpoint(
            TreeHead(origin=head.origin, tree_size=found, root_hash=head.root_hash),
            signers=[NoteSigner(key=key, sign=private.sign)],
            signed_at_s=WALL_NS // 10**9 + found + late_s,
        )
    return recording


def test_the_longest_time_without_a_checkpoint_is_held_against_the_promise() -> None:
    found = report(signed_late(3, 60))
    assert found.verdict is Verdict.COMPLETE
    assert found.cadence.longest_ns == 61 * 10**9
    assert any("61.0 s went without a checkpoint before size 3" in text for text in found.warnings)


def test_the_most_records_without_a_checkpoint_are_held_against_the_promise() -> None:
    recording = Recording(checkpoint_every=100).open()
    for _ in range(90):
        recording.beat()
    found = report(recording.seal())
    assert (found.cadence.most_records, found.cadence.promised_records) == (92, 64)
    assert any("92 records went without a checkpoint" in text for text in found.warnings)


def test_an_epoch_that_is_too_long_is_told() -> None:
    recording = Recording().open().chunk().epoch().chunk().seal()
    late = edited(recording, 2, wall_ns=WALL_NS + 400 * 10**9)
    assert any("a key epoch lasted 400.0 s" in text for text in report(late).warnings)


# --- rules of a policy ---------------------------------------------------------------------------


def judged(recording: Recording, **rules: object) -> dict[str, bool]:
    found = report(recording, TrustPolicy(rules=Rules(**rules)))  # type: ignore[arg-type]
    assert found.verdict in {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}
    assert found.exit_code == 20
    return {rule.rule: rule.held for rule in found.rules}


def test_rules_are_judged_apart_from_integrity() -> None:
    late = signed_late(3, 60)
    assert judged(late, max_checkpoint_interval_s=60.0) == {"max_checkpoint_interval_s": True}
    assert judged(late, max_checkpoint_interval_s=59.0) == {"max_checkpoint_interval_s": False}
    gap = with_gap()
    assert judged(gap, max_gap_s=0.2) == {"max_gap_s": True}
    assert judged(gap, max_gap_s=0.1) == {"max_gap_s": False}
    allowed = {"allowed_gap_reasons": (GapReason.PAUSE, GapReason.CRASH)}
    assert judged(gap, **allowed) == {"allowed_gap_reasons": True}
    assert judged(gap, allowed_gap_reasons=()) == {"allowed_gap_reasons": False}
    assert judged(gap, require_ml_dsa_44=True) == {"require_ml_dsa_44": False}
    assert judged(gap, require_log_proof=True) == {"require_log_proof": False}
    assert judged(gap, require_receipt=True, max_window_s=60.0) == {
        "require_receipt": False,
        "max_window_s": False,
    }


def test_a_policy_without_rules_asks_for_nothing() -> None:
    assert judged(with_gap()) == {}


def test_a_broken_rule_has_the_exit_code_of_trust() -> None:
    trusted = TrustedKey(name="lab 7", public_key=device_key().public_key().public_bytes_raw())
    for limit_s, code in ((0.2, 0), (0.1, 20)):
        policy = TrustPolicy(keys=(trusted,), rules=Rules(max_gap_s=limit_s))
        found = report(with_gap(), policy)
        assert (found.verdict, found.exit_code) == (Verdict.COMPLETE_WITH_GAPS, code)
        assert found.failed_step is None
