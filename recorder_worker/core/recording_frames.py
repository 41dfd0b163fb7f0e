"""The frames of a recording: its records say which chunks, its chunks hold the frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, FormatError
from recorder_worker.core.playback import DecodedFrame, FrameDecoder
from recorder_worker.core.record_codec import decode_record
from recorder_worker.core.record_file import unframed
from recorder_worker.core.records import ChunkRecord, GapRecord
from recorder_worker.core.verify.reader import RecordingReader


def recording_frames(recording: RecordingReader) -> Iterator[DecodedFrame]:
    """Every frame, in order. A frame's picture is valid until the next one is asked for.

    This plays; it does not verify. Of an unsealed recording it gives the chunks that are in its
    records so far.

    Raises:
        FormatError: a record, a chunk or a frame is not of the format.
    """
    decoder = FrameDecoder()
    for data in recording_records(recording):
        record = decode_record(data)
        if isinstance(record, GapRecord):
            decoder = FrameDecoder()
        if not isinstance(record, ChunkRecord):
            continue
        name = keys.chunk(record.index, compressed=record.codec == "zstd")
        pieces: Iterable[bytes] = recording.stream(name)
        if record.codec == "zstd":
            pieces = _inflated(pieces, name)
        for piece in pieces:
            yield from decoder.feed(piece)
        decoder.finish()


def recording_records(recording: RecordingReader) -> Iterator[bytes]:
    """The leaf records of a recording, sealed or not."""
    try:
        yield from unframed(recording.stream(keys.RECORDS))
    except BlobMissingError:
        for name in sorted(n for n in recording.names() if n.startswith(keys.LEAVES + "/")):
            yield recording.read(name)


def _inflated(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decompress in bounded pieces, so that a hostile chunk costs time but not memory."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 23)
    stream = decompressor.decompressobj()
    try:
        for piece in pieces:
            yield stream.decompress(piece)
    except zstandard.ZstdError as error:
        raise FormatError(f"chunk {name} cannot be inflated: {error}") from error
