"""The film of a recording whose packets were copied: fragmented MP4, as it stands in the chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.core.reading.frames import chunk_payload, inflated, recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader


def recording_film(
    recording: RecordingReader, cipher: SessionCipher | None = None
) -> Iterator[tuple[ChunkRecord, Iterator[bytes]]]:
    """Each chunk's record with its plain bytes, which together are a film that plays.

    This plays; it does not verify. The pieces of a chunk are read before the next one is asked for.

    Raises:
        FormatError: a record or a chunk is not of the format.
        RefusedError: a chunk is encrypted and no cipher is given, or holds pictures.
    """
    for data in recording_records(recording):
        record = decode_record(data)
        if not isinstance(record, ChunkRecord):
            continue
        if record.frames != PACKETS_FORMAT:
            raise RefusedError(
                field="profile",
                expected="a recording of copied packets",
                got=f"one of pictures ({record.frames})",
                hint="play its frames",
            )
        pieces: Iterable[bytes] = chunk_payload(recording, record, cipher)
        if record.codec == "zstd":
            pieces = inflated(pieces, chunk_name(record))
        yield record, iter(pieces)


def holds_packets(recording: RecordingReader) -> bool:
    """Whether a recording's chunks hold packets: what its first chunk says.

    Raises:
        FormatError: a record before it is not of the format.
    """
    for data in recording_records(recording):
        record = decode_record(data)
        if isinstance(record, ChunkRecord):
            return record.frames == PACKETS_FORMAT
    return False
