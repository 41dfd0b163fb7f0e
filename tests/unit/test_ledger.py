"""The same events give the same records and the same root, wherever the fold was taken up."""

from __future__ import annotations

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import SESSION, Recording, whole, with_gap

from recorder_worker.core.errors import FormatError, IncidentError, OutOfOrderError
from recorder_worker.core.events import (
    ChunkStored,
    EndLeaf,
    GapLeaf,
    Head,
    MarkLeaf,
    StreamEnd,
    Totals,
)
from recorder_worker.core.merkle.tree import BLAKE3, frontier_of
from recorder_worker.core.model import EndReason, GapReason, Span
from recorder_worker.core.records.codec import decode_record, signed_open
from recorder_worker.core.records.leaves import BeatRecord, MarkRecord, OpenRecord, SealRecord
from recorder_worker.core.records.ledger import (
    LedgerState,
    apply,
    replay_records,
    state_from_head,
)
from recorder_worker.core.records.making import MAX_MILLIHERTZ, millihertz
from recorder_worker.core.records.salts import Salts
from recorder_worker.core.signing.signing_keys import verify_signature

PINNED_ROOT = "891ac8b5b5a1f3da773bfd73b4978a2c7f5fe9c3d34e33655bd75f0ed69a7a6b"


def head_of(state: LedgerState) -> Head:
    return Head(
        session_id=SESSION,
        session_counter=state.session_counter,
        tree_size=state.size,
        root_hash=state.frontier.root().hex(),
        frontier=state.frontier.to_bytes().hex(),
        totals=state.totals,
        streams=state.streams,
        signing=state.signing,
        epoch=state.epoch,
        signed_at_s=1,
        sealed=state.sealed,
        reason="",
    )


def test_the_root_of_a_session_is_pinned_on_every_machine() -> None:
    """No zstd in it: other releases of zstd give other stored bytes, and rightly another root."""
    recording = Recording().open().chunk(codec="stored").gap().mark().beat().epoch()
    recording.chunk(codec="stored").seal()
    assert recording.state.frontier.root().hex() == PINNED_ROOT


def test_records_are_the_leaves_of_the_tree() -> None:
    recording = whole()
    root = frontier_of(map(BLAKE3.leaf, recording.records)).root()
    assert recording.state.frontier.root() == root


@settings(deadline=None)
@given(st.data())
def test_a_fold_that_is_taken_up_from_a_head_or_from_records_goes_on_the_same(
    data: st.DataObject,
) -> None:
    recording = with_gap()
    cut = data.draw(st.integers(0, len(recording.events)))
    state = replay_records(recording.records[:cut])
    again = msgspec.json.decode(msgspec.json.encode(head_of(state)), type=Head)
    assert state_from_head(again) == state
    for event, record in zip(recording.events[cut:], recording.records[cut:], strict=True):
        made, state = apply(recording.context, state, event)
        assert made == record
    assert state == recording.state


def test_totals_and_streams_are_counted() -> None:
    recording = whole()
    assert recording.state.totals == Totals(
        chunk_count=6,
        gap_count=0,
        mark_count=1,
        frame_count=14,
        lost_units=0,
        raw_bytes=14 * 70 * 50 * 3,
        plain_bytes=sum(e.plain_size for e in recording.events if isinstance(e, ChunkStored)),
        stored_bytes=sum(e.stored_size for e in recording.events if isinstance(e, ChunkStored)),
    )
    gapped = with_gap().state
    assert (gapped.totals.gap_count, gapped.totals.lost_units) == (1, 2)
    assert gapped.streams == (StreamEnd(stream=0, next_unit=7, t_ns=700_000_000),)


def test_the_seal_holds_the_totals_of_all_before_it() -> None:
    recording = with_gap()
    seal = decode_record(recording.records[-1])
    assert isinstance(seal, SealRecord)
    assert (seal.totals, seal.streams) == (recording.state.totals, recording.state.streams)
    assert seal.reason is EndReason.SOURCE_ENDED


def test_open_binds_recorder_key_and_manifest() -> None:
    recording = whole()
    opened = decode_record(recording.records[0])
    assert isinstance(opened, OpenRecord)
    assert opened.device_keys == recording.keys.device_keys()
    assert opened.epoch_keys == recording.keys.epoch_keys(0)
    verify_signature(opened.device_keys[0], signed_open(opened), opened.device_signatures[0])
    assert opened.recorder == recording.recorder
    assert opened.session_counter == 1
    assert opened.manifest_blake3 == blake3(recording.files["session.json"]).digest()
    assert (opened.frame_rate_mhz, opened.source_rate_mhz) == (10_000, 10_000)
    assert opened.beacon == b""


def test_the_leaf_that_begins_an_epoch_is_signed_by_the_one_before() -> None:
    recording = Recording().open()
    assert recording.state.signing == recording.state.epoch
    recording.epoch()
    state = recording.state
    assert (state.signing.number, state.epoch.number) == (0, 1)
    assert state.signing.keys == recording.keys.epoch_keys(0)
    assert state.epoch.keys == recording.keys.epoch_keys(1)
    recording.beat()
    assert recording.state.signing == recording.state.epoch == state.epoch


def test_an_epoch_that_is_not_the_next_is_an_incident() -> None:
    recording = Recording().open().epoch()
    for number in (1, 3):
        leaf = msgspec.structs.replace(recording.events[1], index=2, number=number)
        with pytest.raises(IncidentError, match=f"expected epoch 2 .* got epoch {number}"):
            apply(recording.context, recording.state, leaf)


def test_a_beat_holds_where_the_streams_stand() -> None:
    recording = Recording().open().chunk(3).beat(unit=9, t_ns=900_000_000)
    beat = decode_record(recording.records[2])
    assert isinstance(beat, BeatRecord)
    assert (beat.unit, beat.t_ns, beat.streams) == (9, 900_000_000, recording.state.streams)


def test_a_mark_binds_the_bytes_of_its_body() -> None:
    body = '{"text":"Grüße"}'
    recording = Recording().open().mark(body)
    mark = decode_record(recording.records[1])
    assert isinstance(mark, MarkRecord)
    assert (mark.body_size, mark.body_blake3) == (
        len(body.encode()),
        blake3(body.encode()).digest(),
    )


@pytest.mark.parametrize("index", [0, 1, 3, 100])
def test_a_leaf_that_is_not_the_next_is_refused(index: int) -> None:
    recording = Recording().open().chunk()
    event = msgspec.structs.replace(recording.events[1], index=index)
    with pytest.raises(OutOfOrderError, match="expected leaf 2"):
        apply(recording.context, recording.state, event)


def test_nothing_follows_a_seal() -> None:
    recording = whole()
    leaf = EndLeaf(
        session_id=SESSION,
        index=recording.index,
        captured=1,
        t_ns=1,
        reason=EndReason.IDLE,
        detail="",
        wall_ns=1,
    )
    with pytest.raises(IncidentError, match="nothing behind the SEAL"):
        apply(recording.context, recording.state, leaf)


def test_the_first_leaf_is_open_and_no_other_is() -> None:
    recording = Recording().open()
    again = msgspec.structs.replace(recording.events[0], index=1)
    with pytest.raises(IncidentError, match="OPEN"):
        apply(recording.context, recording.state, again)
    mark = MarkLeaf(
        session_id=SESSION, index=0, captured=0, t_ns=0, kind="k", by="", body="", wall_ns=0
    )
    with pytest.raises(IncidentError, match="OPEN"):
        apply(recording.context, LedgerState(), mark)


def test_a_leaf_of_another_session_or_chunk_name_is_refused() -> None:
    recording = Recording().open().chunk()
    state = replay_records(recording.records[:1])
    for change, text in (
        ({"session_id": "0192f0c1-2b3c-7d4e-8f50-cba987654321"}, "expected session"),
        ({"name": "chunks/0000000009.zst"}, "stored as"),
    ):
        with pytest.raises(FormatError, match=text):
            apply(recording.context, state, msgspec.structs.replace(recording.events[1], **change))


def test_a_head_that_contradicts_itself_is_an_incident() -> None:
    head = head_of(whole().state)
    for change in (
        {"root_hash": "00" * 32},
        {"tree_size": 8},
        {"frontier": "xx"},
    ):
        with pytest.raises((IncidentError, FormatError)):
            state_from_head(msgspec.structs.replace(head, **change))


def test_a_replay_refuses_records_out_of_place() -> None:
    records = whole().records
    for wrong in (records[1:], [*records[:2], records[3]], [*records, records[-1]]):
        with pytest.raises(IncidentError):
            replay_records(wrong)


def test_salts_differ_by_index_and_session_and_never_show_their_secret() -> None:
    secret = bytes(range(32))
    salts = Salts(secret)
    assert salts.salt(0) == blake3(bytes(8), key=secret).digest()[:16]
    assert len({salts.salt(n) for n in range(100)} | {Salts(bytes(32)).salt(0)}) == 101
    assert secret.hex() not in repr(salts)
    assert repr(secret) not in repr(salts)
    with pytest.raises(FormatError, match="32 bytes"):
        Salts(b"short")


def test_rates_are_whole_millihertz() -> None:
    assert [millihertz(r) for r in (0, 29.97, 1e12)] == [0, 29970, MAX_MILLIHERTZ]
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(FormatError, match="rate"):
            millihertz(rate)


def test_the_ledger_counts_and_does_not_judge_coverage() -> None:
    """A hole is for the verifier to see: the ledger must not stop a session over it."""
    recording = Recording().open().chunk()
    hole = GapLeaf(
        session_id=SESSION,
        index=2,
        captured=2,
        span=Span(
            first_unit=1000,
            unit_count=1,
            t0_ns=10**12,
            t1_ns=10**12,
            wall0_ns=0,
            wall1_ns=0,
        ),
        reason=GapReason.CRASH,
        detail="",
        wall_ns=0,
    )
    _, state = apply(recording.context, recording.state, hole)
    assert state.streams == (StreamEnd(stream=0, next_unit=1001, t_ns=10**12),)
