"""What has to be known of all chunks of an extent before the first picture of a film is drawn.

A film has one size. It is the largest width and the largest height of all pictures that it shows,
so that none is ever scaled: a smaller one stands at the top left, and black around it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    FormatError,
    UnsupportedError,
)
from recorder_worker.core.frames.playback import scan_headers
from recorder_worker.core.reading.checked_chunk import checked_plain
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.screening.extent import Extent
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.reader import RecordingReader

MAX_DAMAGED = 1000

Tell = Callable[[int], None]
"""Called with the session time that was gone through, in nanoseconds."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """`width` and `height` hold every picture, in pixels; 0: there is none.

    `damaged` are the names of the first `MAX_DAMAGED` chunks that cannot be shown because they
    are not what was recorded; there are `damaged_count`. `size_count` counts sizes of pictures,
    each time that one follows another.
    """

    width: int = 0
    height: int = 0
    size_count: int = 0
    damaged: tuple[str, ...] = ()
    damaged_count: int = 0


def survey(
    recording: RecordingReader,
    extent: Extent,
    cipher: SessionCipher | None,
    tell: Tell,
    *,
    damaged_too: bool = False,
) -> Survey:
    """Look at the header of every frame that a film of the extent may show. Raises as `scenes`."""
    width = height = size_count = damaged_count = 0
    damaged: list[str] = []
    size: tuple[int, int] | None = None
    for data in recording_records(recording):
        record = decode_record(data)
        if record.index > extent.last_index:
            break
        if record.index < extent.first_index or not isinstance(record, ChunkRecord):
            continue
        try:
            for header in scan_headers(checked_plain(recording, record, cipher)):
                if size != (header.width, header.height):
                    size = (header.width, header.height)
                    size_count += 1
                width, height = max(width, header.width), max(height, header.height)
        except UnsupportedError:
            raise
        except (BlobDamagedError, BlobMissingError, FormatError):
            if not damaged_too:
                raise
            damaged_count += 1
            damaged = [*damaged, chunk_name(record)][:MAX_DAMAGED]
        tell(record.span.t1_ns)
    return Survey(
        width=width,
        height=height,
        size_count=size_count,
        damaged=tuple(damaged),
        damaged_count=damaged_count,
    )
