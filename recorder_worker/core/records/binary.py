"""Fields of a fixed binary layout: how each kind of value is written, and strictly read.

All integers are big-endian and unsigned, and u64 values stay below 2^63 so that every language
and database can hold them. A value has one encoding.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from recorder_worker.core.errors import FormatError, UnsupportedError

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
S = TypeVar("S", bound=msgspec.Struct)


class Cursor:
    """Reads bytes from the front; asking for more than there is raises FormatError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise FormatError(
                f"expected {size} more bytes at offset {self._at}, found {len(piece)}"
            )
        self._at += size
        return piece

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise FormatError(
                f"expected the end at offset {self._at}, found "
                f"{len(self._data) - self._at} trailing bytes"
            )


class Field(msgspec.Struct, Generic[T], frozen=True):
    """One kind of value: its name in docs/format.md, and how it is written and read."""

    kind: str
    write: Callable[[T], bytes]
    read: Callable[[Cursor], T]


Fields = tuple[tuple[str, Field[Any]], ...]


def _unsigned(size: int) -> Field[int]:
    limit = min(256**size, 2**63)

    def write(value: int) -> bytes:
        if not 0 <= value < limit:
            raise FormatError(f"expected an integer in [0, {limit}), got {value}")
        return value.to_bytes(size, "big")

    def read(cursor: Cursor) -> int:
        value = int.from_bytes(cursor.take(size), "big")
        if value >= limit:
            raise FormatError(f"expected an integer in [0, {limit}), found {value}")
        return value

    return Field(f"u{size * 8}", write, read)


def _fixed(size: int) -> Field[bytes]:
    def write(value: bytes) -> bytes:
        if len(value) != size:
            raise FormatError(f"expected {size} bytes, got {len(value)}")
        return bytes(value)

    return Field(f"bytes{size}", write, lambda cursor: cursor.take(size))


U8 = _unsigned(1)
U16 = _unsigned(2)
U32 = _unsigned(4)
U64 = _unsigned(8)
BYTES4 = _fixed(4)
BYTES16 = _fixed(16)
BYTES32 = _fixed(32)


def _write_blob(value: bytes) -> bytes:
    if len(value) >= 1 << 16:
        raise FormatError(f"expected less than 65536 bytes, got {len(value)}")
    return U16.write(len(value)) + value


def _read_blob(cursor: Cursor) -> bytes:
    return cursor.take(U16.read(cursor))


def _read_text(cursor: Cursor) -> str:
    value = _read_blob(cursor)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"expected UTF-8, found {value[:64]!r}") from error


def _write_text(value: str) -> bytes:
    try:
        return _write_blob(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise FormatError(f"expected text that UTF-8 can hold, got {value[:64]!a}") from error


def _read_flag(cursor: Cursor) -> bool:
    value = U8.read(cursor)
    if value > 1:
        raise FormatError(f"expected 0 or 1, found {value}")
    return value == 1


BLOB = Field("blob", _write_blob, _read_blob)
TEXT = Field("text", _write_text, _read_text)
FLAG: Field[bool] = Field("flag", lambda value: U8.write(int(value)), _read_flag)


def _read_session(cursor: Cursor) -> str:
    return str(uuid.UUID(bytes=cursor.take(16)))


def _write_session(value: str) -> bytes:
    try:
        parsed = uuid.UUID(value)
    except ValueError as error:
        raise FormatError(f"session id: expected a UUID, got {value!r}") from error
    if str(parsed) != value:
        raise FormatError(f"session id: expected the canonical {parsed}, got {value!r}")
    return parsed.bytes


SESSION = Field("uuid", _write_session, _read_session)


def code_of(names: tuple[str, ...], what: str) -> Field[str]:
    """A name out of a table, written as u8: its place, counted from 1."""

    def write(value: str) -> bytes:
        if value not in names:
            raise UnsupportedError(f"{what}: expected one of {', '.join(names)}, got {value!r}")
        return U8.write(names.index(value) + 1)

    def read(cursor: Cursor) -> str:
        code = U8.read(cursor)
        if not 1 <= code <= len(names):
            raise UnsupportedError(
                f"{what}: expected a code from 1 to {len(names)}, found {code}; "
                "a newer verifier may know it"
            )
        return names[code - 1]

    return Field("code", write, read)


def enum_code(members: type[E], what: str) -> Field[E]:
    """A member of an enum, written as u8: its place in the declaration, counted from 1."""
    names = code_of(tuple(member.value for member in members), what)
    return Field("code", lambda value: names.write(value.value), lambda c: members(names.read(c)))


def structure(type_: type[S], fields: Fields, kind: str) -> Field[S]:
    """A Struct whose fields are written one behind the other."""

    def write(value: S) -> bytes:
        return write_fields(value, fields)

    def read(cursor: Cursor) -> S:
        return type_(**read_fields(cursor, fields))

    return Field(kind, write, read)


def sequence(item: Field[T]) -> Field[tuple[T, ...]]:
    """A u16 count, then that many items."""

    def write(values: tuple[T, ...]) -> bytes:
        return U16.write(len(values)) + b"".join(item.write(value) for value in values)

    def read(cursor: Cursor) -> tuple[T, ...]:
        return tuple(item.read(cursor) for _ in range(U16.read(cursor)))

    return Field(f"list of {item.kind}", write, read)


def long_sequence(item: Field[T]) -> Field[tuple[T, ...]]:
    """As `sequence`, with a u32 count: what reads it has to bound the bytes."""

    def write(values: tuple[T, ...]) -> bytes:
        return U32.write(len(values)) + b"".join(item.write(value) for value in values)

    def read(cursor: Cursor) -> tuple[T, ...]:
        return tuple(item.read(cursor) for _ in range(U32.read(cursor)))

    return Field(f"long list of {item.kind}", write, read)


def write_fields(value: msgspec.Struct, fields: Fields) -> bytes:
    """The fields of a Struct in order. Raises FormatError that names the field."""
    parts: list[bytes] = []
    for name, field in fields:
        try:
            parts.append(field.write(getattr(value, name)))
        except FormatError as error:
            raise type(error)(f"{name}: {error}") from error
    return b"".join(parts)


def read_fields(cursor: Cursor, fields: Fields) -> dict[str, Any]:
    """The values of fields in order. Raises FormatError that names the field."""
    values: dict[str, Any] = {}
    for name, field in fields:
        try:
            values[name] = field.read(cursor)
        except FormatError as error:
            raise type(error)(f"{name}: {error}") from error
    return values
