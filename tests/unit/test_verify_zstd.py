"""A chunk is exactly one zstd frame, and a bomb costs nothing: even where a record signs it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from blake3 import blake3
from edited_recordings import chunk_of, edited, expect, report
from recordings import Recording, whole, zstd

from recorder_worker.core.verify import Step, Verdict
from recorder_worker.core.verify.plain import PIECE_SIZE, ChunkFaultError, PlainBytes

SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"more"
MEBIBYTE = bytes(1 << 20)


# --- zstd ----------------------------------------------------------------------------------------


def long_window(plain: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj()
    return stream.compress(plain) + stream.flush()


def with_dictionary(plain: bytes) -> bytes:
    samples: list[bytes | bytearray | memoryview[int]] = [
        b"%d sample of text %d" % (n, n * n) * 9 for n in range(400)
    ]
    dictionary = zstandard.train_dictionary(2048, samples)
    return zstandard.ZstdCompressor(dict_data=dictionary).compress(plain)


def with_checksum(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(plain)


def without_content_size(plain: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(plain) + stream.flush()


def in_many_blocks(plain: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj(size=len(plain))
    parts = [
        stream.compress(plain[at : at + 1000]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(plain), 1000)
    ]
    return b"".join(parts) + stream.flush()


@pytest.mark.parametrize(
    "compress",
    [zstd, with_checksum, without_content_size, in_many_blocks],
    ids=lambda f: f.__name__,
)
def test_every_way_to_write_one_frame_is_read(compress: Callable[[bytes], bytes]) -> None:
    found = report(Recording(compress=compress).open().chunk().chunk(40).seal())
    assert found.verdict is Verdict.COMPLETE


ZSTD_ATTACKS: dict[str, Callable[[bytes], bytes]] = {
    "two frames": lambda plain: zstd(plain[:100]) + zstd(plain[100:]),
    "the same frame twice": lambda plain: zstd(plain) * 2,
    "an empty second frame": lambda plain: zstd(plain) + zstd(b""),
    "a skippable frame behind": lambda plain: zstd(plain) + SKIPPABLE,
    "a skippable frame before": lambda plain: SKIPPABLE + zstd(plain),
    "trailing bytes": lambda plain: zstd(plain) + b"\0",
    "a frame without end": lambda plain: zstd(plain)[:-1],
    "a checksum that is wrong": lambda plain: with_checksum(plain)[:-1] + b"\0",
    "a checksum that is missing": lambda plain: with_checksum(plain)[:-4],
    "a longer window": long_window,
    "a dictionary": with_dictionary,
    "no frame": lambda plain: plain,
    "nothing": lambda _: b"",
    "a bomb": lambda plain: zstd(plain + MEBIBYTE * 64),
    "a bomb that hides its size": lambda plain: without_content_size(plain + MEBIBYTE * 64),
    "too little": lambda plain: zstd(plain[:-1]),
    "other bytes": lambda plain: zstd(bytes([plain[0] ^ 1]) + plain[1:]),
    "a reserved block": lambda plain: zstd(plain)[:6] + b"\x07\x00\x00" + zstd(plain)[9:],
    "a reserved bit": lambda plain: zstd(plain)[:4] + bytes([zstd(plain)[4] | 8]) + zstd(plain)[5:],
}


@pytest.mark.parametrize("attack", ZSTD_ATTACKS.values(), ids=ZSTD_ATTACKS.keys())
def test_a_chunk_is_exactly_one_plain_zstd_frame(attack: Callable[[bytes], bytes]) -> None:
    found = expect(Recording(compress=attack).open().chunk().seal(), Step.PLAIN)
    assert found.chunk_map == "X"


def test_a_bomb_is_never_inflated_past_the_declared_length() -> None:
    stored = without_content_size(MEBIBYTE * 256)
    record = msgspec.structs.replace(chunk_of(whole(), 1), plain_size=1000)
    with pytest.raises(ChunkFaultError, match="found more"):
        list(PlainBytes(record, iter([stored])))


def test_inflated_pieces_are_small_however_much_is_in_them() -> None:
    plain = MEBIBYTE * 64
    digest = blake3(plain).digest()
    record = msgspec.structs.replace(
        chunk_of(whole(), 1), plain_size=len(plain), plain_blake3=digest
    )
    pieces = PlainBytes(record, iter([zstd(plain)]))
    assert max(map(len, pieces)) <= PIECE_SIZE
    pieces.finish()


def test_an_absurd_declared_length_is_refused_before_anything_is_inflated() -> None:
    recording = edited(Recording().open().chunk().seal(), 1, plain_size=2**40)
    found = expect(recording, Step.PLAIN)
    assert "at most" in next(s for s in found.steps if s.number == Step.PLAIN).detail
