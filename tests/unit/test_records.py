"""Leaf records have one encoding, which docs/format.md describes to the byte."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.model import ClockState, EndReason, GapReason, Mask, SourceClock, Span
from recorder_worker.core.records.binary import Field
from recorder_worker.core.records.codec import (
    MAX_RECORD_SIZE,
    decode_record,
    encode_record,
    frame_record,
)
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.layouts import (
    HEADER,
    LAYOUTS,
    MASK,
    SPAN,
    STREAM_END,
    TOTALS,
    TYPES,
)
from recorder_worker.core.records.leaves import (
    AnyRecord,
    BeatRecord,
    ChunkRecord,
    EpochRecord,
    GapRecord,
    MarkRecord,
    OpenRecord,
    SealRecord,
)
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

SESSION = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
FORMAT = Path(__file__).parents[2] / "docs/format.md"

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
digests = st.binary(min_size=32, max_size=32)
common = {
    "session_id": st.uuids().map(str),
    "index": u64,
    "salt": st.binary(min_size=16, max_size=16),
}
clocks = st.sampled_from(ClockState)
keys = st.lists(
    st.builds(PublicKey, st.sampled_from(KeyKind), st.binary(max_size=60)), max_size=2
).map(tuple)
stream_ends = st.lists(st.builds(StreamEnd, stream=u32, next_unit=u64, t_ns=u64), max_size=4).map(
    tuple
)
spans = st.builds(
    Span,
    stream=u32,
    first_unit=u64,
    unit_count=u64,
    t0_ns=u64,
    t1_ns=u64,
    wall0_ns=u64,
    wall1_ns=u64,
)
records: st.SearchStrategy[AnyRecord] = st.one_of(
    st.builds(
        OpenRecord,
        **common,
        tree_hash=st.just("blake3"),
        recorder=texts,
        session_counter=u64,
        previous_seal=digests,
        device_keys=keys,
        epoch_keys=keys,
        manifest_blake3=digests,
        software=texts,
        software_blake3=digests,
        node=texts,
        boot_id=texts,
        source_kind=texts,
        source_uri=texts,
        source_description=texts,
        source_width=u32,
        source_height=u32,
        source_rate_mhz=u32,
        source_clock=st.sampled_from(SourceClock),
        profile=texts,
        frame_rate_mhz=u32,
        masks=st.lists(st.builds(Mask, x=u16, y=u16, width=u16, height=u16), max_size=5).map(tuple),
        checkpoint_interval_ns=u64,
        checkpoint_leaves=u32,
        epoch_length_ns=u64,
        wall_ns=u64,
        clock=clocks,
        beacon=st.binary(max_size=60),
        timestamped=st.binary(max_size=60),
        timestamp=st.binary(max_size=60),
        device_signatures=st.lists(st.binary(max_size=64), max_size=2).map(tuple),
    ),
    st.builds(
        ChunkRecord,
        **common,
        span=spans,
        frames=st.just("tiles64-bgr"),
        codec=st.sampled_from(["zstd", "stored"]),
        cipher=st.just("none"),
        raw_size=u64,
        plain_size=u64,
        plain_blake3=digests,
        stored_size=u64,
        stored_blake3=digests,
        stored_sha256=digests,
        keyframe=st.booleans(),
        keyframe_index=u64,
        clock=clocks,
    ),
    st.builds(
        GapRecord,
        **common,
        span=spans,
        reason=st.sampled_from(GapReason),
        detail=texts,
        wall_ns=u64,
    ),
    st.builds(
        MarkRecord,
        **common,
        t_ns=u64,
        wall_ns=u64,
        kind=texts,
        by=texts,
        body_size=u64,
        body_blake3=digests,
    ),
    st.builds(
        SealRecord,
        **common,
        reason=st.sampled_from(EndReason),
        detail=texts,
        t_ns=u64,
        wall_ns=u64,
        totals=st.builds(Totals, **dict.fromkeys(Totals.__struct_fields__, u64)),
        streams=stream_ends,
    ),
    st.builds(EpochRecord, **common, number=u32, t_ns=u64, wall_ns=u64, clock=clocks, keys=keys),
    st.builds(
        BeatRecord,
        **common,
        unit=u64,
        t_ns=u64,
        wall_ns=u64,
        clock=clocks,
        streams=stream_ends,
    ),
)


def gap(**changes: object) -> GapRecord:
    record = GapRecord(
        session_id=SESSION,
        index=7,
        salt=bytes(range(16)),
        span=Span(
            stream=1,
            first_unit=2,
            unit_count=3,
            t0_ns=4,
            t1_ns=5,
            wall0_ns=6,
            wall1_ns=7,
        ),
        reason=GapReason.DISK,
        detail="voll",
        wall_ns=9,
    )
    return msgspec.structs.replace(record, **changes)


GAP_BYTES = bytes.fromhex(
    "53524543"  # magic
    "01"  # version
    "03"  # type
    "0192f0c12b3c7d4e8f50123456789abc"  # session id
    "0000000000000007"  # index
    "000102030405060708090a0b0c0d0e0f"  # salt
    "00000001"  # stream
    "0000000000000002"  # first unit
    "0000000000000003"  # unit count
    "0000000000000004"  # t0
    "0000000000000005"  # t1
    "0000000000000006"  # wall0
    "0000000000000007"  # wall1
    "04"  # reason: the fourth
    "0004766f6c6c"  # detail
    "0000000000000009"  # wall
)


def test_the_bytes_of_a_record_are_pinned() -> None:
    assert encode_record(gap()) == GAP_BYTES
    assert decode_record(GAP_BYTES) == gap()


@given(records)
def test_every_record_comes_back_and_has_one_encoding(record: AnyRecord) -> None:
    data = encode_record(record)
    assert decode_record(data) == record
    assert encode_record(decode_record(data)) == data


@given(records, st.binary(min_size=1, max_size=3))
def test_trailing_and_missing_bytes_are_errors(record: AnyRecord, more: bytes) -> None:
    data = encode_record(record)
    for wrong in (data + more, data[:-1], data[: len(data) // 2]):
        with pytest.raises(FormatError):
            decode_record(wrong)


@given(records, st.data())
def test_another_byte_is_another_record_or_none(record: AnyRecord, data: st.DataObject) -> None:
    stored = encode_record(record)
    at = data.draw(st.integers(0, len(stored) - 1))
    changed = bytearray(stored)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_record(bytes(changed))
    except FormatError:
        return
    assert other != record
    assert encode_record(other) == bytes(changed)


@given(data=st.binary(max_size=300), prefixed=st.booleans())
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes, *, prefixed: bool) -> None:
    try:
        decode_record(GAP_BYTES[:5] + data if prefixed else data)
    except FormatError:
        return


def changed(offset: int, value: bytes) -> bytes:
    return GAP_BYTES[:offset] + value + GAP_BYTES[offset + len(value) :]


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", FormatError, "magic"),
        (changed(0, b"s"), FormatError, "SREC"),
        (changed(4, b"\x02"), UnsupportedError, "version 1, found 2"),
        (changed(5, b"\x08"), UnsupportedError, "type"),
        (changed(5, b"\x00"), UnsupportedError, "type"),
        (changed(22, b"\x80"), FormatError, "index"),
        (changed(98, b"\x00"), UnsupportedError, "gap reason"),
        (changed(98, b"\x0a"), UnsupportedError, "gap reason"),
        (changed(101, b"\xff"), FormatError, "UTF-8"),
        (changed(99, b"\xff\xff"), FormatError, "detail"),
        (bytes(MAX_RECORD_SIZE + 1), FormatError, "at most"),
    ],
)
def test_what_is_not_a_record_is_refused_by_name(
    data: bytes, error: type[FormatError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        decode_record(data)
    assert type(caught.value) is error


@pytest.mark.parametrize("utf8", [b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"])
def test_overlong_and_surrogate_utf8_is_refused(utf8: bytes) -> None:
    detail = len(utf8).to_bytes(2, "big") + utf8
    with pytest.raises(FormatError, match="UTF-8"):
        decode_record(GAP_BYTES[:99] + detail + GAP_BYTES[-8:])


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (gap(session_id="0192F0C1-2B3C-7D4E-8F50-123456789ABC"), "session_id"),
        (gap(session_id="x"), "session_id"),
        (gap(index=2**63), "index"),
        (gap(index=-1), "index"),
        (gap(salt=b"short"), "salt"),
        (gap(detail="x" * 65536), "detail"),
        (gap(detail="x" * 65535), "shorten"),
        (gap(detail="\ud800"), "detail"),
        (gap(span=msgspec.structs.replace(gap().span, stream=2**32)), "span: stream"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(record: GapRecord, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        encode_record(record)


def test_a_flag_is_zero_or_one_and_an_unknown_codec_is_not_written() -> None:
    chunk = ChunkRecord(
        session_id=SESSION,
        index=1,
        salt=bytes(16),
        span=gap().span,
        frames="tiles64-bgr",
        codec="zstd",
        cipher="none",
        raw_size=1,
        plain_size=1,
        plain_blake3=bytes(32),
        stored_size=1,
        stored_blake3=bytes(32),
        stored_sha256=bytes(32),
        keyframe=True,
        keyframe_index=1,
        clock=ClockState.SYNCHRONISED,
    )
    data = encode_record(chunk)
    assert (data[-10], data[-1]) == (1, 2)
    with pytest.raises(FormatError, match="keyframe"):
        decode_record(data[:-10] + b"\x02" + data[-9:])
    with pytest.raises(UnsupportedError, match="codec"):
        encode_record(msgspec.structs.replace(chunk, codec="brotli"))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 9))
def test_framed_records_are_told_apart_whatever_the_pieces(
    data: list[bytes], piece_size: int
) -> None:
    file = b"".join(map(frame_record, data))
    pieces = [file[at : at + piece_size] for at in range(0, len(file), piece_size)]
    assert list(unframed(pieces)) == data


@pytest.mark.parametrize(
    "file", [b"\0\0\0\0", b"\0\0\0", b"\0\0\0\2x", b"\xff\xff\xff\xff", b"\0\0\0\1xy"]
)
def test_a_records_file_that_ends_in_a_record_is_refused(file: bytes) -> None:
    with pytest.raises(FormatError):
        list(unframed([file]))


# --- the document says the same ------------------------------------------------------------------


def table_rows(heading: str) -> list[tuple[str, str]]:
    """Field and kind of each row in the first table behind a heading of docs/format.md."""
    text = FORMAT.read_text()
    assert heading in text, f"docs/format.md has no {heading!r}"
    section = re.split(r"\n#+ ", text.split(heading, 1)[1])[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+?) \|", section, re.MULTILINE)
    return [(name, kind) for name, kind in rows]


def described(fields: tuple[tuple[str, Field[object]], ...]) -> list[tuple[str, str]]:
    return [(name, field.kind) for name, field in fields]


@pytest.mark.parametrize("code", range(1, 8))
def test_the_document_has_the_fields_of_every_type(code: int) -> None:
    fields = list(LAYOUTS.values())[code - 1]
    assert table_rows(f"\n#### {code}. {TYPES[code - 1]}") == described(fields)


def test_the_document_has_the_header_and_the_parts() -> None:
    magic = [("magic", "bytes4"), ("version", "u8"), ("type", "u8")]
    assert table_rows("\n#### Header") == magic + described(HEADER)
    span, mask, totals, end = (
        [(n, "u32" if n == "stream" else "u16" if part is MASK else "u64") for n in names]
        for part, names in (
            (SPAN, Span.__struct_fields__),
            (MASK, Mask.__struct_fields__),
            (TOTALS, Totals.__struct_fields__),
            (STREAM_END, StreamEnd.__struct_fields__),
        )
    )
    assert table_rows("\n#### span") == span
    assert table_rows("\n#### mask") == mask
    assert table_rows("\n#### totals") == totals
    assert table_rows("\n#### stream end") == end
    assert table_rows("\n#### key") == [("kind", "code"), ("data", "blob")]


@pytest.mark.parametrize("members", [SourceClock, GapReason, EndReason, ClockState])
def test_the_document_has_the_codes_of_every_enum(
    members: type[SourceClock | GapReason | EndReason | ClockState],
) -> None:
    listed = ", ".join(f"{n} `{m.value}`" for n, m in enumerate(members, start=1))
    assert listed in " ".join(FORMAT.read_text().split())
