"""A chunk's payload: its segments one after the other, through zstd, into the blob store.

One zstd frame a chunk, with the long window in which scrolled text repeats; what does not shrink
is kept as it is. The bytes depend on the segments and the plan alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import msgspec
import zstandard
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobUnreadableError,
    ImmutableConflictError,
    StoreError,
)
from recorder_worker.core.events import ChunkPlanned, SegmentRef
from recorder_worker.ports import BlobStore, BlobWriter

CODEC_ZSTD = "zstd"
CODEC_STORED = "stored"


class StoredPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the store now. Sizes in bytes, digests in hexadecimal."""

    name: str
    codec: str
    plain_blake3: str
    stored_size: int
    stored_blake3: str
    stored_sha256: str


def store_payload(store: BlobStore, plan: ChunkPlanned) -> StoredPayload:
    """Make a planned chunk's payload durable.

    A payload that an earlier try made is adopted when it holds exactly the plan's segments: the
    spool may be gone by then.

    Raises:
        BlobMissingError, BlobDamagedError: a segment is not what its event says.
        BlobUnreadableError: a segment, or the payload, cannot be read; try again a few times.
        StoreError: the store failed; try again.
    """
    found = find_payload(store, plan)
    if found is not None:
        return found
    try:
        return write_payload(store, plan, lambda: spooled_segments(store, plan))
    except (ImmutableConflictError, BlobMissingError):
        # Another worker was faster: its payload stands, and may have cost us the spool.
        found = find_payload(store, plan)
        if found is None:
            raise
        return found


def write_payload(
    store: BlobStore,
    plan: ChunkPlanned,
    segments: Callable[[], Iterator[bytes]],
) -> StoredPayload:
    """Write a payload made of its segments' plain bytes, as one zstd frame or as it is.

    Raises:
        ImmutableConflictError: there is another payload under this name.
    """
    return _compress(store, plan, segments()) or _copy(store, plan, segments())


def find_payload(store: BlobStore, plan: ChunkPlanned) -> StoredPayload | None:
    """The payload of a plan that is in the store already; None where there is none.

    Raises:
        BlobDamagedError: there is one, but it does not hold the plan's segments.
    """
    for codec in (CODEC_ZSTD, CODEC_STORED):
        name = keys.chunk(plan.index, compressed=codec == CODEC_ZSTD)
        key = keys.blob_key(plan.session_id, name)
        if store.size(key) is None:
            continue
        digests = _Digests()
        plain = blake3()
        for piece in stored_segments(store, plan, name, digests):
            plain.update(piece)
        return digests.payload(name, codec, plain.hexdigest())
    return None


def spooled_segments(store: BlobStore, plan: ChunkPlanned) -> Iterator[bytes]:
    """The plain bytes of each segment of a plan, from the spool, checked against the plan."""
    for reference in plan.segments:
        stored = b"".join(_read(store, keys.blob_key(plan.session_id, reference.name)))
        if blake3(stored).hexdigest() != reference.stored_blake3:
            raise BlobDamagedError(
                f"segment {reference.name}: its stored bytes do not have the digest of its event"
            )
        plain = zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=reference.plain_size
        )
        yield _checked(reference, plain)


def stored_segments(
    store: BlobStore, plan: ChunkPlanned, name: str, digests: _Digests | None = None
) -> Iterator[bytes]:
    """The plain bytes of each segment of a plan, cut out of its stored chunk and checked."""
    pieces: Iterable[bytes] = _read(store, keys.blob_key(plan.session_id, name))
    if digests is not None:
        pieces = digests.watch(pieces)
    reader = _PieceReader(_inflated(pieces) if name.endswith(".zst") else pieces)
    for reference in plan.segments:
        yield _checked(reference, reader.take(reference.plain_size))
    if not reader.at_end():
        raise BlobDamagedError(f"chunk {name}: there are bytes behind its last segment")


class _Digests:
    """Counts and digests stored bytes as they pass."""

    def __init__(self) -> None:
        self._size = 0
        self._blake3 = blake3()
        self._sha256 = hashlib.sha256()

    def update(self, piece: bytes) -> None:
        self._size += len(piece)
        self._blake3.update(piece)
        self._sha256.update(piece)

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.update(piece)
            yield piece

    @property
    def size(self) -> int:
        return self._size

    def payload(self, name: str, codec: str, plain_blake3: str) -> StoredPayload:
        return StoredPayload(
            name=name,
            codec=codec,
            plain_blake3=plain_blake3,
            stored_size=self._size,
            stored_blake3=self._blake3.hexdigest(),
            stored_sha256=self._sha256.hexdigest(),
        )


def _compress(
    store: BlobStore, plan: ChunkPlanned, segments: Iterator[bytes]
) -> StoredPayload | None:
    """Write the payload as one zstd frame; None where that would not be smaller."""
    name = keys.chunk(plan.index, compressed=True)
    writer = store.writer(keys.blob_key(plan.session_id, name))
    digests, plain = _Digests(), blake3()
    try:
        compressor = zstandard.ZstdCompressor(compression_params=_parameters(plan))
        stream = compressor.compressobj(size=plan.plain_size)
        for segment in segments:
            plain.update(segment)
            _write(writer, digests, stream.compress(segment))
        _write(writer, digests, stream.flush())
        if digests.size >= plan.plain_size:
            return None
        writer.commit()
        return digests.payload(name, CODEC_ZSTD, plain.hexdigest())
    finally:
        writer.abort()


def _parameters(plan: ChunkPlanned) -> zstandard.ZstdCompressionParameters:
    """Zstd's parameters: the level's own, with the long window."""
    return zstandard.ZstdCompressionParameters.from_level(
        plan.zstd_level, window_log=plan.zstd_window_log, enable_ldm=True
    )


def _copy(store: BlobStore, plan: ChunkPlanned, segments: Iterator[bytes]) -> StoredPayload:
    """Write the payload as it is."""
    name = keys.chunk(plan.index, compressed=False)
    writer = store.writer(keys.blob_key(plan.session_id, name))
    digests = _Digests()
    try:
        for segment in segments:
            _write(writer, digests, segment)
        writer.commit()
        stored = digests.payload(name, CODEC_STORED, "")
        return msgspec.structs.replace(stored, plain_blake3=stored.stored_blake3)
    finally:
        writer.abort()


def _write(writer: BlobWriter, digests: _Digests, piece: bytes) -> None:
    if piece:
        writer.write(piece)
        digests.update(piece)


def _read(store: BlobStore, key: str) -> Iterator[bytes]:
    """A blob's bytes. A failure to read is kept apart from one to write, which passes with time.

    Behind an unreadable block a whole session would wait for ever; a gap lets it go on.
    """
    try:
        yield from store.stream(key)
    except StoreError as error:
        raise BlobUnreadableError(str(error)) from error


def _checked(reference: SegmentRef, plain: bytes) -> bytes:
    if len(plain) != reference.plain_size or blake3(plain).hexdigest() != reference.plain_blake3:
        raise BlobDamagedError(
            f"segment {reference.name}: expected {reference.plain_size} plain bytes of digest "
            f"{reference.plain_blake3}, found {len(plain)} others"
        )
    return plain


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    stream = zstandard.ZstdDecompressor().decompressobj()
    try:
        for piece in pieces:
            yield stream.decompress(piece)
    except zstandard.ZstdError as error:
        raise BlobDamagedError(f"a stored chunk cannot be inflated: {error}") from error


class _PieceReader:
    """Takes exact numbers of bytes out of pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise BlobDamagedError(
                    f"a stored chunk ends {size - len(self._held)} bytes before its last segment"
                )
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def at_end(self) -> bool:
        return not self._held and all(not piece for piece in self._pieces)
