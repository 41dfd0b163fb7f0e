"""The frames of a recording: its records say which chunks, its chunks hold the frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Final, cast

import zstandard

from recorder_worker.core import keys
from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    FormatError,
    RefusedError,
)
from recorder_worker.core.frames.playback import DecodedFrame, FrameDecoder
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.core.reading.piece_file import PieceFile
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import ChunkRecord, GapRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader

_PIECE_SIZE: Final = 256 * 1024


def recording_frames(
    recording: RecordingReader, cipher: SessionCipher | None = None
) -> Iterator[DecodedFrame]:
    """Every frame, in order. A frame's picture is valid until the next one is asked for.

    This plays; it does not verify. Of an unsealed recording it gives the chunks that are in its
    records so far. `cipher` opens the chunks of an encrypted session.

    Raises:
        FormatError: a record, a chunk or a frame is not of the format.
        RefusedError: a chunk is encrypted and no cipher is given, or holds no pictures.
    """
    decoder = FrameDecoder()
    for data in recording_records(recording):
        record = decode_record(data)
        if isinstance(record, GapRecord):
            decoder = FrameDecoder()
        if not isinstance(record, ChunkRecord):
            continue
        if record.frames == PACKETS_FORMAT:
            raise RefusedError(
                field="profile",
                expected="a recording of pictures",
                got="one of copied packets (profile copy)",
                hint="`recorder export` makes a film of it, and `recorder frame` one picture",
            )
        for piece in _plain(recording, record, cipher):
            yield from decoder.feed(piece)
        decoder.finish()


def _plain(
    recording: RecordingReader, record: ChunkRecord, cipher: SessionCipher | None
) -> Iterable[bytes]:
    pieces = chunk_payload(recording, record, cipher)
    return inflated(pieces, chunk_name(record)) if record.codec == "zstd" else pieces


def chunk_payload(
    recording: RecordingReader, record: ChunkRecord, cipher: SessionCipher | None
) -> Iterator[bytes]:
    """A chunk's stored bytes, without their encryption; each piece was checked before.

    Raises:
        FormatError: they were not sealed in this place with this key.
        RefusedError: they are encrypted and no cipher is given.
    """
    name = chunk_name(record)
    if record.cipher == CIPHER_NONE:
        yield from recording.stream(name)
        return
    if cipher is None:
        raise RefusedError(
            field="--identity",
            expected="an identity of one of the session's recipients, for it is encrypted",
            got="none",
            hint=f"{keys.MANIFEST} names the recipients under `encryption`",
        )
    try:
        yield from cipher.unseal(Place(PayloadKind.CHUNK, record.index), recording.stream(name))
    except FormatError as error:
        raise BlobDamagedError(
            f"{name}: cannot be decrypted: {error}; see what `recorder verify --identity` says"
        ) from error


def recording_records(recording: RecordingReader) -> Iterator[bytes]:
    """The leaf records of a recording, sealed or not."""
    try:
        yield from unframed(recording.stream(keys.RECORDS))
    except BlobMissingError:
        for name in sorted(n for n in recording.names() if n.startswith(keys.LEAVES + "/")):
            yield recording.read(name)


def inflated(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decompress in bounded pieces, so that a hostile chunk costs time but not memory."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 23)
    file = cast("IO[bytes]", PieceFile(pieces))  # zstandard asks a file for its `read` alone
    try:
        with decompressor.stream_reader(file) as reader:
            while piece := reader.read(_PIECE_SIZE):
                yield piece
    except zstandard.ZstdError as error:
        raise FormatError(f"chunk {name} cannot be inflated: {error}") from error
