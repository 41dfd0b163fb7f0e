"""How each type of record is written: tables of fields, from which docs/format.md is drawn."""

from __future__ import annotations

from recorder_worker.core.cipher.names import CIPHERS
from recorder_worker.core.events import StreamEnd, Totals
from recorder_worker.core.model import (
    ClockState,
    EndReason,
    GapReason,
    Mask,
    SourceClock,
    Span,
)
from recorder_worker.core.records.binary import (
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
    Fields,
    code_of,
    enum_code,
    sequence,
    structure,
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

HASHES = ("blake3",)
FRAME_FORMATS = ("tiles64-bgr", "fmp4")
CODECS = ("zstd", "stored")
TYPES = ("OPEN", "CHUNK", "GAP", "MARK", "SEAL", "EPOCH", "BEAT")
"""Names of the type codes, from 1."""

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

CLOCK = enum_code(ClockState, "clock state")
KEY = structure(
    PublicKey, (("kind", enum_code(KeyKind, "kind of key")), ("data", BLOB)), kind="key"
)

LAYOUTS: dict[type[AnyRecord], Fields] = {
    OpenRecord: (
        ("tree_hash", code_of(HASHES, "tree hash")),
        ("recorder", TEXT),
        ("session_counter", U64),
        ("previous_seal", BYTES32),
        ("device_keys", sequence(KEY)),
        ("epoch_keys", sequence(KEY)),
        ("manifest_blake3", BYTES32),
        ("software", TEXT),
        ("software_blake3", BYTES32),
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
        ("checkpoint_interval_ns", U64),
        ("checkpoint_leaves", U32),
        ("epoch_length_ns", U64),
        ("wall_ns", U64),
        ("clock", CLOCK),
        ("beacon", BLOB),
        ("timestamped", BLOB),
        ("timestamp", BLOB),
        ("device_signatures", sequence(BLOB)),
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
        ("clock", CLOCK),
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
    EpochRecord: (
        ("number", U32),
        ("t_ns", U64),
        ("wall_ns", U64),
        ("clock", CLOCK),
        ("keys", sequence(KEY)),
    ),
    BeatRecord: (
        ("unit", U64),
        ("t_ns", U64),
        ("wall_ns", U64),
        ("clock", CLOCK),
        ("streams", sequence(STREAM_END)),
    ),
}
"""The fields of each type, in order. The place of a type, counted from 1, is its code."""
