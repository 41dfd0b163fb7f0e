"""Records as bytes: one encoding, strictly read.

A record is a header that all have in common and then the fields of its type. Trailing bytes are
an error; the bytes that were hashed are the bytes that are stored.
"""

from __future__ import annotations

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.records.binary import Cursor, Fields, read_fields, write_fields
from recorder_worker.core.records.layouts import HEADER, LAYOUTS, PREFIX
from recorder_worker.core.records.leaves import AnyRecord, OpenRecord

MAGIC = b"SREC"
VERSION = 1
MAX_RECORD_SIZE = 65536

OPEN_SIGNED = b"session-recorder open v1\n"
"""Stands in front of what the device signs of an OPEN record."""

_BY_CODE = dict(enumerate(LAYOUTS, start=1))
_CODES = {type_: code for code, type_ in _BY_CODE.items()}


def encode_record(record: AnyRecord) -> bytes:
    """The bytes of a record.

    Raises:
        FormatError: a value does not fit its field; the text names it.
        UnsupportedError: a codec, cipher or frame format that has no code.
    """
    data = _written(record, LAYOUTS[type(record)])
    if len(data) > MAX_RECORD_SIZE:
        raise FormatError(
            f"record {record.index}: expected at most {MAX_RECORD_SIZE} bytes, got {len(data)}; "
            "shorten its texts"
        )
    return data


def signed_open(record: OpenRecord) -> bytes:
    """What the device signs of an OPEN record: all of it before the signatures.

    Raises:
        FormatError: a value does not fit its field; the text names it.
    """
    return OPEN_SIGNED + _written(record, LAYOUTS[OpenRecord][:-1])


def _written(record: AnyRecord, fields: Fields) -> bytes:
    head = MAGIC + bytes([VERSION, _CODES[type(record)]])
    return head + write_fields(record, HEADER) + write_fields(record, fields)


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
