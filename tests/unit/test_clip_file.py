"""The file `clip` has one encoding, and everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.evidence import clip_file
from recorder_worker.core.evidence.clip_file import ClipFile, decode_clip, encode_clip
from recorder_worker.core.merkle.partial_tree import LeafRange, ranges_of

CLIP = ClipFile(
    size=9, ranges=(LeafRange(0, 1), LeafRange(4, 6)), hashes=(b"\x01" * 32, b"\x02" * 32)
)
BYTES = bytes.fromhex(
    """
    53524343 01 0000000000000009
    00000002 0000000000000000 0000000000000001 0000000000000004 0000000000000006
    00000002
    """
    + "01" * 32
    + "02" * 32
)


def test_the_bytes_are_those_of_the_format() -> None:
    assert encode_clip(CLIP) == BYTES
    assert decode_clip(BYTES) == CLIP


@given(st.sets(st.integers(0, 500), min_size=1), st.lists(st.binary(min_size=32, max_size=32)))
def test_what_is_written_is_read(shown: set[int], hashes: list[bytes]) -> None:
    clip = ClipFile(size=501, ranges=ranges_of(shown), hashes=tuple(hashes))
    data = encode_clip(clip)
    assert decode_clip(data) == clip


def test_every_cut_and_every_trailing_byte_is_refused() -> None:
    for length in range(len(BYTES)):
        with pytest.raises(FormatError):
            decode_clip(BYTES[:length])
    with pytest.raises(FormatError, match="trailing"):
        decode_clip(BYTES + b"\x00")


def test_every_changed_byte_gives_an_error_or_another_clip() -> None:
    for at in range(len(BYTES)):
        for bit in range(8):
            changed = bytearray(BYTES)
            changed[at] ^= 1 << bit
            try:
                found = decode_clip(bytes(changed))
            except FormatError:
                continue
            assert found != CLIP
            assert encode_clip(found) == bytes(changed)


def test_other_files_and_versions_are_told_apart() -> None:
    with pytest.raises(FormatError, match="SRCC"):
        decode_clip(b"SREC" + BYTES[4:])
    with pytest.raises(UnsupportedError, match="version 1, found 2"):
        decode_clip(BYTES[:4] + b"\x02" + BYTES[5:])


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (0, ((0, 1),)),
        (9, ()),
        (9, ((4, 6), (0, 1))),
        (9, ((0, 1), (1, 2))),
        (9, ((0, 3), (2, 4))),
        (9, ((3, 3),)),
        (9, ((4, 3),)),
        (9, ((8, 10),)),
    ],
)
def test_ranges_in_another_form_are_neither_written_nor_read(
    monkeypatch: pytest.MonkeyPatch, size: int, ranges: tuple[tuple[int, int], ...]
) -> None:
    clip = ClipFile(size=size, ranges=tuple(LeafRange(*one) for one in ranges), hashes=())
    with pytest.raises(FormatError, match="clip: partial tree"):
        encode_clip(clip)
    with monkeypatch.context() as patched:
        patched.setattr(clip_file, "check_ranges", lambda *_: None)
        data = encode_clip(clip)
    with pytest.raises(FormatError, match="clip: partial tree"):
        decode_clip(data)


def test_a_count_that_promises_more_than_there_is_costs_nothing() -> None:
    for at in (13, len(BYTES) - 68):
        with pytest.raises(FormatError, match="expected"):
            decode_clip(BYTES[:at] + b"\xff\xff\xff\xff" + BYTES[at + 4 :])


def test_values_beyond_their_fields_and_files_beyond_their_bound_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for size in (-1, 2**63):
        with pytest.raises(FormatError):
            encode_clip(ClipFile(size=size, ranges=CLIP.ranges, hashes=()))
    with pytest.raises(FormatError, match="hashes: expected 32 bytes"):
        encode_clip(ClipFile(size=9, ranges=CLIP.ranges, hashes=(b"short",)))
    monkeypatch.setattr(clip_file, "MAX_CLIP_SIZE", len(BYTES) - 1)
    with pytest.raises(FormatError, match="at most"):
        encode_clip(CLIP)
    with pytest.raises(FormatError, match="at most"):
        decode_clip(BYTES)
