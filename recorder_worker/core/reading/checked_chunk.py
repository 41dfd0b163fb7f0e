"""A chunk whose stored bytes were compared with its record before anything looks inside of them.

What no record vouches for is given to no parser. The file is read twice, so that memory does not
grow with its size: once for its digest, once to be opened and inflated. One that is changed in
between is found by the digest of its plain bytes, when all of them were read.

Here stands which formats of frames can be shown, and as what: `playable_format` is the one place to
ask.
"""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from recorder_worker.core.cipher.names import CIPHER_NONE
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import BlobDamagedError, RefusedError, UnsupportedError
from recorder_worker.core.frames.header import FRAMES_FORMAT
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.verify.chunks import chunk_name
from recorder_worker.core.verify.plain import ChunkFaultError, PlainBytes
from recorder_worker.core.verify.reader import RecordingReader

PLAYABLE = (FRAMES_FORMAT,)
"""Formats whose plain bytes `FrameDecoder` reads."""
COPYABLE = (PACKETS_FORMAT,)
"""Formats whose plain bytes are packets, which a film takes over as they are."""


def playable_format(record: ChunkRecord, formats: tuple[str, ...] = PLAYABLE) -> None:
    """Whether a chunk is of one of the formats that are being shown.

    Raises:
        UnsupportedError: it is of another one.
    """
    if record.frames in formats:
        return
    hint = (
        "pictures and packets are not shown together"
        if record.frames in PLAYABLE + COPYABLE
        else "pictures of it cannot be made here: use a newer recorder"
    )
    raise UnsupportedError(
        f"{chunk_name(record)}: expected frames of format {', '.join(formats)}, found "
        f"{record.frames}; {hint}"
    )


def check_stored(recording: RecordingReader, record: ChunkRecord) -> None:
    """Compare a chunk's file with the length and the BLAKE3 digest in its record.

    Raises:
        BlobDamagedError: it is another one.
        RecorderError: it cannot be read.
    """
    size, digest = 0, blake3()
    for piece in recording.stream(chunk_name(record)):
        size += len(piece)
        if size > record.stored_size:
            break
        digest.update(piece)
    if size != record.stored_size or digest.digest() != record.stored_blake3:
        raise BlobDamagedError(
            f"{chunk_name(record)}: expected {record.stored_size} bytes of BLAKE3 "
            f"{record.stored_blake3.hex()} as its record says, found "
            f"{'more' if size > record.stored_size else size} of {digest.hexdigest()}; it was "
            "changed: see what `recorder verify` says"
        )


def checked_plain(
    recording: RecordingReader,
    record: ChunkRecord,
    cipher: SessionCipher | None,
    *,
    whole: bool = True,
    formats: tuple[str, ...] = PLAYABLE,
) -> Iterator[bytes]:
    """The plain bytes of a chunk, in pieces, once its stored ones are those of its record.

    `whole=False` is for those who need not read them all: their digest is then not held, which
    tells nothing more than that of the stored bytes did. `formats` are those that are being shown.

    Raises:
        BlobDamagedError: stored or plain bytes are not what the record says.
        UnsupportedError: its frames are of another format.
        RefusedError: it is encrypted and no cipher is given.
        RecorderError: it cannot be read.
    """
    playable_format(record, formats)
    encrypted = record.cipher != CIPHER_NONE
    if encrypted and cipher is None:
        raise RefusedError(
            field="--identity",
            expected="an identity of one of the session's recipients, for it is encrypted",
            got="none",
            hint="session.json names the recipients under `encryption`",
        )
    check_stored(recording, record)
    try:
        stored = recording.stream(chunk_name(record))
        plain = PlainBytes(record, stored, cipher if encrypted else None, digested=whole)
        yield from plain
        if whole:
            plain.finish()
    except ChunkFaultError as fault:
        raise BlobDamagedError(f"{chunk_name(record)}: {fault.detail}") from fault
