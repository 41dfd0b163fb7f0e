"""Compressors are lent: to one thread at a time, whatever became of the one before."""

from __future__ import annotations

from itertools import count
from threading import Barrier, Thread

import pytest
import zstandard

from recorder_worker.stages.compressors import KEPT, Compressors

TEXT = b"that nothing was left out " * 4000


def compressed(compressors: Compressors, data: bytes) -> bytes:
    with compressors.lend() as compressor:
        stream = compressor.compressobj(size=len(data))
        return stream.compress(data) + stream.flush()


def test_one_is_made_for_one_after_the_other() -> None:
    made: list[zstandard.ZstdCompressor] = []

    def make() -> zstandard.ZstdCompressor:
        made.append(zstandard.ZstdCompressor(level=1))
        return made[-1]

    compressors = Compressors(make)
    for _ in range(3):
        assert zstandard.decompress(compressed(compressors, TEXT)) == TEXT
    assert len(made) == 1


def test_threads_at_once_have_one_each_and_no_more_are_kept_than_can_work() -> None:
    made = count()

    def make() -> zstandard.ZstdCompressor:
        next(made)
        return zstandard.ZstdCompressor(level=1)

    compressors, many = Compressors(make), KEPT + 3
    barrier = Barrier(many)
    for _ in range(2):
        lent: list[zstandard.ZstdCompressor] = []

        def take(lent: list[zstandard.ZstdCompressor] = lent) -> None:
            with compressors.lend() as compressor:
                lent.append(compressor)
                barrier.wait()

        threads = [Thread(target=take) for _ in range(many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(compressor) for compressor in lent}) == many
    assert next(made) == 2 * many - KEPT


def test_what_an_error_left_is_in_no_stream_behind_it() -> None:
    compressors = Compressors(lambda: zstandard.ZstdCompressor(level=1))
    fresh = compressed(compressors, TEXT)

    def fail() -> None:
        with compressors.lend() as compressor:
            compressor.compressobj(size=10_000).compress(b"half of it")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert compressed(compressors, TEXT) == fresh
