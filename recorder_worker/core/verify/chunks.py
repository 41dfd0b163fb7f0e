"""Steps 7, 8 and 9 for every chunk: stored bytes, plain bytes, and the frames inside.

Stored bytes are digested before zstd is given any of them: what no record vouches for is not
parsed. A chunk is then read a second time and inflated in pieces, so memory does not grow with
its size. Hashing and zstd let go of the interpreter lock, so threads share the work; the results
come in the order of the records whatever the threads do.

Of an encrypted chunk the stored bytes are all that can be looked at without the session's key.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
from blake3 import blake3

from recorder_worker.core import keys
from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobMissingError,
    FormatError,
    RecorderError,
    UnsupportedError,
)
from recorder_worker.core.frames.header import FrameHeader
from recorder_worker.core.frames.playback import scan_headers
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.packets import PacketWalk
from recorder_worker.core.verify.plain import MAX_PLAIN_SIZE, ChunkFaultError, PlainBytes
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.steps import Step


class ChunkCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in one chunk. Pictures are (width, height) of its first and last frame.

    `closed`: it is encrypted and its key is not here, so its plain bytes were not looked at.
    """

    record: ChunkRecord
    fault: ChunkFaultError | None = None
    closed: bool = False
    first_picture: tuple[int, int] | None = None
    last_picture: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The chunk's file."""
        return chunk_name(self.record)


def chunk_name(record: ChunkRecord) -> str:
    """The file that a chunk's stored bytes are in."""
    return keys.chunk(
        record.index,
        compressed=record.codec == "zstd",
        encrypted=record.cipher != CIPHER_NONE,
    )


class ChunkPool:
    """Checks chunks on some threads; gives the results in the order of the records.

    No more than a few chunks wait, so that a long recording is not held.
    """

    def __init__(
        self, reader: RecordingReader, workers: int, cipher: SessionCipher | None = None
    ) -> None:
        self._reader = reader
        self._cipher = cipher
        self._limit = workers * 2
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="verify")
        self._waiting: deque[Future[ChunkCheck]] = deque()

    def check(self, record: ChunkRecord) -> Iterator[ChunkCheck]:
        """Begin with one more chunk; gives results while too many wait."""
        self._waiting.append(self._pool.submit(check_chunk, self._reader, record, self._cipher))
        while len(self._waiting) > self._limit:
            yield self._waiting.popleft().result()

    def rest(self) -> Iterator[ChunkCheck]:
        """The results that are still to come."""
        while self._waiting:
            yield self._waiting.popleft().result()

    def close(self) -> None:
        """Begin with nothing more."""
        self._pool.shutdown(cancel_futures=True)


def check_chunk(
    reader: RecordingReader, record: ChunkRecord, cipher: SessionCipher | None = None
) -> ChunkCheck:
    """Check one chunk; what is wrong with it is in the result."""
    encrypted = record.cipher != CIPHER_NONE
    frames = PacketWalk(record) if record.frames == PACKETS_FORMAT else FrameWalk(record)
    step = Step.STORED
    try:
        _check_stored(record, reader.stream(chunk_name(record)))
        if encrypted and cipher is None:
            return ChunkCheck(record=record, closed=True)
        step = Step.PLAIN
        stored = reader.stream(chunk_name(record))
        _check_plain(PlainBytes(record, stored, cipher if encrypted else None), frames)
    except ChunkFaultError as fault:
        return ChunkCheck(record=record, fault=fault)
    except BlobMissingError:
        missing = ChunkFaultError(step, "the file is missing", missing=True)
        return ChunkCheck(record=record, fault=missing)
    except RecorderError as error:
        text = str(error).removeprefix(f"{chunk_name(record)}: ")
        return ChunkCheck(record=record, fault=ChunkFaultError(step, f"cannot be read: {text}"))
    except Exception as error:  # noqa: BLE001  (no bytes whatever may stop a verification)
        return ChunkCheck(record=record, fault=ChunkFaultError(step, f"cannot be read: {error!r}"))
    return ChunkCheck(record=record, first_picture=frames.first, last_picture=frames.last)


MAX_STORED_SIZE = MAX_PLAIN_SIZE + (MAX_PLAIN_SIZE >> 7)
"""Bytes: what zstd may make of the most plain bytes that nothing shrinks, and some."""


def _check_stored(record: ChunkRecord, stored: Iterator[bytes]) -> None:
    if record.stored_size > MAX_STORED_SIZE:
        raise ChunkFaultError(
            Step.STORED,
            f"expected at most {MAX_STORED_SIZE} stored bytes, the record says "
            f"{record.stored_size}",
        )
    size, first, second = 0, blake3(), hashlib.sha256()
    for piece in stored:
        size += len(piece)
        if size > record.stored_size:
            raise ChunkFaultError(
                Step.STORED, f"expected {record.stored_size} stored bytes, found more"
            )
        first.update(piece)
        second.update(piece)
    if size != record.stored_size:
        raise ChunkFaultError(
            Step.STORED, f"expected {record.stored_size} stored bytes, found {size}"
        )
    for name, expected, found in (
        ("BLAKE3", record.stored_blake3, first.digest()),
        ("SHA-256", record.stored_sha256, second.digest()),
    ):
        if found != expected:
            raise ChunkFaultError(
                Step.STORED,
                f"expected stored bytes of {name} {expected.hex()}, found {found.hex()}",
            )


def _check_plain(plain: PlainBytes, frames: FrameWalk | PacketWalk) -> None:
    fault: ChunkFaultError | None = None
    try:
        frames.walk(plain)
    except FormatError as error:
        fault = ChunkFaultError(Step.FRAMES, str(error))
        fault.unsupported = isinstance(error, UnsupportedError)
    # The digest speaks first: frames of bytes that are not the recorded ones say nothing.
    for _ in plain:
        pass
    plain.finish()
    if fault is not None:
        raise fault


class FrameWalk:
    """Holds the headers of a chunk's frames against its record, without decoding a pixel."""

    def __init__(self, record: ChunkRecord) -> None:
        self.record = record
        self.first: tuple[int, int] | None = None
        self.last: tuple[int, int] | None = None
        self._count = 0
        self._raw_size = 0
        self._t_ns = record.span.t0_ns

    def walk(self, plain: PlainBytes) -> None:
        """Read all frames. Raises FormatError for what is not as the record says."""
        for header in scan_headers(plain):
            self._accept(header)
        span = self.record.span
        self._expect("frames", span.unit_count, self._count)
        self._expect("bytes of pictures", self.record.raw_size, self._raw_size)

    def _accept(self, header: FrameHeader) -> None:
        span = self.record.span
        if self._count == 0:
            self._expect("a keyframe at the start", self.record.keyframe, header.keyframe)
        self._expect("unit", span.first_unit + self._count, header.unit)
        if not self._t_ns <= header.t_ns < span.t1_ns:
            raise FormatError(
                f"unit {header.unit}: expected a time in [{self._t_ns}, {span.t1_ns}) ns, "
                f"found {header.t_ns}"
            )
        picture = (header.width, header.height)
        if not header.keyframe and self.last not in {None, picture}:
            raise FormatError(f"unit {header.unit}: the size changed without a keyframe")
        self.first = self.first or picture
        self.last = picture
        self._t_ns = header.t_ns
        self._count += 1
        self._raw_size += header.width * header.height * 3

    def _expect(self, what: str, expected: int, found: int) -> None:
        if expected != found:
            raise FormatError(f"{what}: expected {expected} by the record, found {found}")
