"""A chunk's payload: its segments one after the other, through zstd, into the blob store.

One zstd frame a chunk, with the long window in which scrolled text repeats; what does not shrink
is kept as it is. The bytes depend on the segments, the plan and the session's key alone: in an
encrypted session the segments are opened, and the chunk is sealed, with that key (`cipher`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import msgspec
import zstandard
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import Place, SessionCipher, plain_hasher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobUnreadableError,
    FormatError,
    ImmutableConflictError,
    StoreError,
)
from recorder_worker.core.events import ChunkPlanned, SegmentRef
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.ports import BlobStore
from recorder_worker.stages.compressors import Compressors
from recorder_worker.stages.payload_writer import (
    Digests,
    PayloadWriter,
    chunk_place,
    segment_place,
)

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


def store_payload(
    store: BlobStore, plan: ChunkPlanned, cipher: SessionCipher | None
) -> StoredPayload:
    """Make a planned chunk's payload durable.

    A payload that an earlier try made is adopted when it holds exactly the plan's segments: the
    spool may be gone by then.

    Raises:
        BlobMissingError, BlobDamagedError: a segment is not what its event says.
        BlobUnreadableError: a segment, or the payload, cannot be read; try again a few times.
        StoreError: the store failed; try again.
    """
    found = find_payload(store, plan, cipher)
    if found is not None:
        return found
    try:
        return write_payload(store, plan, cipher, lambda: spooled_segments(store, plan, cipher))
    except (ImmutableConflictError, BlobMissingError):
        # Another worker was faster: its payload stands, and may have cost us the spool.
        found = find_payload(store, plan, cipher)
        if found is None:
            raise
        return found


def write_payload(
    store: BlobStore,
    plan: ChunkPlanned,
    cipher: SessionCipher | None,
    segments: Callable[[], Iterator[bytes]],
) -> StoredPayload:
    """Write a payload made of its segments' plain bytes, as one zstd frame or as it is.

    Raises:
        ImmutableConflictError: there is another payload under this name.
    """
    written = None
    if plan.frames != PACKETS_FORMAT:  # what a video encoder made, zstd only spends time on
        written = _compress(store, plan, cipher, segments())
    return written or _copy(store, plan, cipher, segments())


def find_payload(
    store: BlobStore, plan: ChunkPlanned, cipher: SessionCipher | None
) -> StoredPayload | None:
    """The payload of a plan that is in the store already; None where there is none.

    Raises:
        BlobDamagedError: there is one, but it does not hold the plan's segments.
    """
    for codec in (CODEC_ZSTD, CODEC_STORED):
        name = _name(plan, codec, cipher)
        if store.size(keys.blob_key(plan.session_id, name)) is None:
            continue
        digests = Digests()
        plain = plain_hasher(cipher)
        for piece in stored_segments(store, plan, cipher, codec, digests):
            plain.update(piece)
        return _stored(name, codec, digests, plain.hexdigest())
    return None


def spooled_segments(
    store: BlobStore, plan: ChunkPlanned, cipher: SessionCipher | None
) -> Iterator[bytes]:
    """The plain bytes of each segment of a plan, from the spool, checked against the plan."""
    for reference in plan.segments:
        stored = b"".join(_read(store, keys.blob_key(plan.session_id, reference.name)))
        if blake3(stored).hexdigest() != reference.stored_blake3:
            raise BlobDamagedError(
                f"segment {reference.name}: its stored bytes do not have the digest of its event"
            )
        place = segment_place(keys.segment_unit(reference.name))
        compressed = b"".join(_opened(cipher, place, [stored], reference.name))
        plain = zstandard.ZstdDecompressor().decompress(
            compressed, max_output_size=reference.plain_size
        )
        yield _checked(reference, plain, cipher)


def stored_segments(
    store: BlobStore,
    plan: ChunkPlanned,
    cipher: SessionCipher | None,
    codec: str,
    digests: Digests | None = None,
) -> Iterator[bytes]:
    """The plain bytes of each segment of a plan, cut out of its stored chunk and checked."""
    name = _name(plan, codec, cipher)
    stored: Iterable[bytes] = _read(store, keys.blob_key(plan.session_id, name))
    if digests is not None:
        stored = digests.watch(stored)
    pieces = _opened(cipher, chunk_place(plan.index), stored, name)
    reader = _PieceReader(_inflated(pieces) if codec == CODEC_ZSTD else pieces)
    for reference in plan.segments:
        yield _checked(reference, reader.take(reference.plain_size), cipher)
    if not reader.at_end():
        raise BlobDamagedError(f"chunk {name}: there are bytes behind its last segment")


def _name(plan: ChunkPlanned, codec: str, cipher: SessionCipher | None) -> str:
    return keys.chunk(plan.index, compressed=codec == CODEC_ZSTD, encrypted=cipher is not None)


def _stored(name: str, codec: str, digests: Digests, plain_blake3: str) -> StoredPayload:
    return StoredPayload(
        name=name,
        codec=codec,
        plain_blake3=plain_blake3,
        stored_size=digests.size,
        stored_blake3=digests.blake3,
        stored_sha256=digests.sha256,
    )


def _compress(
    store: BlobStore,
    plan: ChunkPlanned,
    cipher: SessionCipher | None,
    segments: Iterator[bytes],
) -> StoredPayload | None:
    """Write the payload as one zstd frame; None where that would not be smaller."""
    plain = plain_hasher(cipher)
    with PayloadWriter(store, plan, cipher, zstd=True) as writer:
        with _compressors(plan.zstd_level, plan.zstd_window_log).lend() as compressor:
            stream = compressor.compressobj(size=plan.plain_size)
            for segment in segments:
                plain.update(segment)
                writer.write(stream.compress(segment))
            writer.write(stream.flush())
        if writer.size >= plan.plain_size:
            return None
        writer.commit()
        return _stored(writer.name, CODEC_ZSTD, writer.digests, plain.hexdigest())


@lru_cache(maxsize=2)
def _compressors(level: int, window_log: int) -> Compressors:
    parameters = chunk_parameters(level, window_log)
    return Compressors(lambda: zstandard.ZstdCompressor(compression_params=parameters))


def chunk_parameters(level: int, window_log: int) -> zstandard.ZstdCompressionParameters:
    """Zstd's parameters for a chunk: the level's own, with the long window.

    Long matches of 64 bytes, zstd's own choice, are parts of a letter that is everywhere; from
    two thirds of a tile's row on they are text that scrolled.
    """
    return zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window_log, enable_ldm=True, ldm_min_match=128
    )


def _copy(
    store: BlobStore,
    plan: ChunkPlanned,
    cipher: SessionCipher | None,
    segments: Iterator[bytes],
) -> StoredPayload:
    """Write the payload as it is."""
    plain = plain_hasher(cipher)
    with PayloadWriter(store, plan, cipher, zstd=False) as writer:
        for segment in segments:
            plain.update(segment)
            writer.write(segment)
        writer.commit()
        return _stored(writer.name, CODEC_STORED, writer.digests, plain.hexdigest())


def _read(store: BlobStore, key: str) -> Iterator[bytes]:
    """A blob's bytes. A failure to read is kept apart from one to write, which passes with time.

    Behind an unreadable block a whole session would wait for ever; a gap lets it go on.
    """
    try:
        yield from store.stream(key)
    except StoreError as error:
        raise BlobUnreadableError(str(error)) from error


def _opened(
    cipher: SessionCipher | None, place: Place, stored: Iterable[bytes], name: str
) -> Iterator[bytes]:
    """Stored bytes without their encryption."""
    if cipher is None:
        yield from stored
        return
    try:
        yield from cipher.unseal(place, stored)
    except FormatError as error:
        raise BlobDamagedError(f"{name}: {error}") from error


def _checked(reference: SegmentRef, plain: bytes, cipher: SessionCipher | None) -> bytes:
    digest = plain_hasher(cipher).update(plain).hexdigest()
    if len(plain) != reference.plain_size or digest != reference.plain_blake3:
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
