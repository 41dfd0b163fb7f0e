"""Leaf records: the bytes that are hashed into the tree (docs/format.md, "Leaf records").

A record is a header that all have in common and then the fields of its type, from the tables
below. There is one encoding; trailing bytes are an error; the bytes that were hashed are the
bytes that are stored.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.layout import (
    BLOB,
    BYTES4,
    BYTES16,
    BYTES32,
    FLAG,
    SESSION,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Cursor,
    Fields,
    code_of,
    enum_code,
    read_fields,
    sequence,
    structure,
    write_fields,
)
from recorder_worker.core.model import EndReason, GapReason, Mask, SourceClock, Span

MAGIC = b"SREC"
VERSION = 1
MAX_RECORD_SIZE = 65536

HASHES = ("blake3",)
FRAME_FORMATS = ("tiles64-bgr",)
CODECS = ("zstd", "stored")
CIPHERS = ("none",)
TYPES = ("OPEN", "CHUNK", "GAP", "MARK", "SEAL", "EPOCH", "BEAT")
"""Names of the type codes, from 1. EPOCH and BEAT are reserved: they have no layout yet."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every record begins with. `salt` is 16 bytes."""

    session_id: str
    index: int
    salt: bytes


class OpenRecord(Record, frozen=True, kw_only=True):
    """Index 0: who records what, with which key, under which policy. Rates are in millihertz."""

    tree_hash: str
    recorder: str
    public_key: bytes
    manifest_blake3: bytes
    software: str
    node: str
    boot_id: str
    source_kind: str
    source_uri: str
    source_description: str
    source_width: int
    source_height: int
    source_rate_mhz: int
    source_clock: SourceClock
    profile: str
    frame_rate_mhz: int
    masks: tuple[Mask, ...]
    wall_ns: int
    beacon: bytes = b""


class ChunkRecord(Record, frozen=True, kw_only=True):
    """A chunk of units that were recorded, and every digest of its bytes."""

    span: Span
    frames: str
    codec: str
    cipher: str
    raw_size: int
    plain_size: int
    plain_blake3: bytes
    stored_size: int
    stored_blake3: bytes
    stored_sha256: bytes
    keyframe: bool
    keyframe_index: int


class GapRecord(Record, frozen=True, kw_only=True):
    """Units that are known to be missing, and why."""

    span: Span
    reason: GapReason
    detail: str
    wall_ns: int


class MarkRecord(Record, frozen=True, kw_only=True):
    """A client's mark; its body is stored beside the records."""

    t_ns: int
    wall_ns: int
    kind: str
    by: str
    body_size: int
    body_blake3: bytes


class SealRecord(Record, frozen=True, kw_only=True):
    """The last record: why the session ended, and the totals of all before it."""

    reason: EndReason
    detail: str
    t_ns: int
    wall_ns: int
    totals: Totals
    streams: tuple[StreamEnd, ...]


AnyRecord = OpenRecord | ChunkRecord | GapRecord | MarkRecord | SealRecord

PREFIX: Fields = (("magic", BYTES4), ("version", U8), ("type", U8))
HEADER: Fields = (("session_id", SESSION), ("index", U64), ("salt", BYTES16))

MASK = structure(Mask, (("x", U16), ("y", U16), ("width", U16), ("height", U16)), kind="mask")
SPAN = structure(
    Span,
    (
        ("stream", U32),
        ("first_unit", U64),
        ("unit_count", U64),
        ("t0_ns", U64),
        ("t1_ns", U64),
        ("wall0_ns", U64),
        ("wall1_ns", U64),
    ),
    kind="span",
)
TOTALS = structure(
    Totals,
    (
        ("chunk_count", U64),
        ("gap_count", U64),
        ("mark_count", U64),
        ("frame_count", U64),
        ("lost_units", U64),
        ("raw_bytes", U64),
        ("plain_bytes", U64),
        ("stored_bytes", U64),
    ),
    kind="totals",
)
STREAM_END = structure(
    StreamEnd, (("stream", U32), ("next_unit", U64), ("t_ns", U64)), kind="stream end"
)

LAYOUTS: dict[type[AnyRecord], Fields] = {
    OpenRecord: (
        ("tree_hash", code_of(HASHES, "tree hash")),
        ("recorder", TEXT),
        ("public_key", BYTES32),
        ("manifest_blake3", BYTES32),
        ("software", TEXT),
        ("node", TEXT),
        ("boot_id", TEXT),
        ("source_kind", TEXT),
        ("source_uri", TEXT),
        ("source_description", TEXT),
        ("source_width", U32),
        ("source_height", U32),
        ("source_rate_mhz", U32),
        ("source_clock", enum_code(SourceClock, "clock")),
        ("profile", TEXT),
        ("frame_rate_mhz", U32),
        ("masks", sequence(MASK)),
        ("wall_ns", U64),
        ("beacon", BLOB),
    ),
    ChunkRecord: (
        ("span", SPAN),
        ("frames", code_of(FRAME_FORMATS, "frame format")),
        ("codec", code_of(CODECS, "codec")),
        ("cipher", code_of(CIPHERS, "cipher")),
        ("raw_size", U64),
        ("plain_size", U64),
        ("plain_blake3", BYTES32),
        ("stored_size", U64),
        ("stored_blake3", BYTES32),
        ("stored_sha256", BYTES32),
        ("keyframe", FLAG),
        ("keyframe_index", U64),
    ),
    GapRecord: (
        ("span", SPAN),
        ("reason", enum_code(GapReason, "gap reason")),
        ("detail", TEXT),
        ("wall_ns", U64),
    ),
    MarkRecord: (
        ("t_ns", U64),
        ("wall_ns", U64),
        ("kind", TEXT),
        ("by", TEXT),
        ("body_size", U64),
        ("body_blake3", BYTES32),
    ),
    SealRecord: (
        ("reason", enum_code(EndReason, "end reason")),
        ("detail", TEXT),
        ("t_ns", U64),
        ("wall_ns", U64),
        ("totals", TOTALS),
        ("streams", sequence(STREAM_END)),
    ),
}
"""The fields of each type, in order. The place of a type, counted from 1, is its code."""

_BY_CODE = dict(enumerate(LAYOUTS, start=1))
_CODES = {type_: code for code, type_ in _BY_CODE.items()}


def encode_record(record: AnyRecord) -> bytes:
    """The bytes of a record.

    Raises:
        FormatError: a value does not fit its field; the text names it.
        UnsupportedError: a codec, cipher or frame format that has no code.
    """
    type_ = type(record)
    data = MAGIC + bytes([VERSION, _CODES[type_]])
    data += write_fields(record, HEADER) + write_fields(record, LAYOUTS[type_])
    if len(data) > MAX_RECORD_SIZE:
        raise FormatError(
            f"record {record.index}: expected at most {MAX_RECORD_SIZE} bytes, got {len(data)}; "
            "shorten its texts"
        )
    return data


def decode_record(data: bytes) -> AnyRecord:
    """Read a record strictly: `encode_record` gives the same bytes again.

    Raises:
        FormatError: the bytes are not a record.
        UnsupportedError: they are one of a version, type, codec, … that this program does not know.
    """
    if len(data) > MAX_RECORD_SIZE:
        raise FormatError(f"expected at most {MAX_RECORD_SIZE} bytes, found {len(data)}")
    cursor = Cursor(data)
    prefix = read_fields(cursor, PREFIX)
    if prefix["magic"] != MAGIC:
        raise FormatError(f"expected a record to begin with {MAGIC!r}, found {data[:4]!r}")
    if prefix["version"] != VERSION:
        raise UnsupportedError(
            f"expected record version {VERSION}, found {prefix['version']}; "
            "use a verifier that knows it"
        )
    header = read_fields(cursor, HEADER)
    type_ = _BY_CODE.get(prefix["type"])
    if type_ is None:
        raise UnsupportedError(
            f"expected a record type from 1 to {len(LAYOUTS)}, found {prefix['type']}; "
            "use a verifier that knows it"
        )
    record = type_(**header, **read_fields(cursor, LAYOUTS[type_]))
    cursor.end()
    return record


def frame_record(record: bytes) -> bytes:
    """A record as it stands in the file `records`: its length as u32, then its bytes."""
    return len(record).to_bytes(4, "big") + record
