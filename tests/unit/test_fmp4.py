"""The packet stream: what the recorder writes is read, and nothing else is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade_pieces import box, fragment, head, piece, times, track, words
from hypothesis import given
from hypothesis import strategies as st
from reference_format import Problem
from reference_packets import read_packets

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.packets.fmp4 import MAX_UNITS, PieceTimes, pack_times, unpack_times
from recorder_worker.core.packets.fmp4_stream import scan_pieces

STREAM = piece(7, [0, 10]) + piece(9, [20], keyframe=False) + piece(10, [30, 40, 50])


def test_pieces_say_their_units_their_times_and_their_bytes() -> None:
    found = list(scan_pieces([STREAM]))
    assert [each.times.first_unit for each in found] == [7, 9, 10]
    assert [[t_ns for t_ns, _ in each.times.times] for each in found] == [
        [0, 10],
        [20],
        [30, 40, 50],
    ]
    assert [(each.keyframe, each.headed, each.size) for each in found] == [
        (True, True, 30),
        (False, False, 20),
        (True, True, 40),
    ]
    assert [each.head for each in found] == [head(), b"", head()]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in itertools.pairwise(places)]
    assert list(scan_pieces(parts)) == list(scan_pieces([STREAM]))


@given(st.integers(1, len(STREAM) - 1))
def test_a_stream_that_is_cut_short_is_refused_within_a_piece(size: int) -> None:
    ends, at = [], 0
    for part in (piece(7, [0, 10]), piece(9, [20], keyframe=False)):
        at += len(part)
        ends.append(at)
    if size in ends:
        list(scan_pieces([STREAM[:size]]))
        return
    with pytest.raises(FormatError):
        list(scan_pieces([STREAM[:size]]))


GOOD = fragment((1, [10]))
MOVED = GOOD.replace(words(0x201, 1, len(GOOD) - 10), words(0x201, 1, len(GOOD) - 9))


def tables(**counts: int) -> bytes:
    """The tables of samples that a moov has, with so many in some of them."""
    times_of = box(b"stts", words(0, 1, 0, 1))  # as FFmpeg writes it for G.711
    sizes = [box(name, words(0, 1, counts.get(name.decode(), 0))) for name in (b"stsz", b"stz2")]
    places = [box(name, words(0, counts.get(name.decode(), 0))) for name in (b"stco", b"co64")]
    return box(b"stbl", times_of, *sizes, *places)


def much_sound(count: int) -> bytes:
    """A piece of one unit, and so many samples of sound of which none has a byte."""

    def moof(at: int) -> bytes:
        picture = box(b"tfhd", words(0x20010, 1, 10)), box(b"trun", words(1, 1, at))
        sound = box(b"tfhd", words(0x20000, 2)), box(b"trun", words(1, count, at + 10))
        begin = box(b"tfdt", b"\1\0\0\0", bytes(8))
        trafs = [box(b"traf", tfhd, begin, trun) for tfhd, trun in (picture, sound)]
        return box(b"moof", box(b"mfhd", words(0, 1)), *trafs)

    return head() + times(0, [0]) + moof(len(moof(0)) + 8) + box(b"mdat", bytes(10))


def with_tables(**counts: int) -> bytes:
    hdlr = box(b"hdlr", words(0, 0), b"vide", bytes(13))
    mdia = box(b"mdia", hdlr, box(b"minf", tables(**counts)))
    return head(box(b"trak", box(b"tkhd", words(3, 0, 0, 1)), mdia))


SIGNED = GOOD.replace(words(0x201, 1), words(0x1000201, 1))
WRONG: dict[str, bytes] = {
    "a trun of another version": head()
    + times(0, [0])
    + GOOD.replace(words(0x201, 1), words(0x2000201, 1)),
    "no ftyp before a keyframe": times(0, [0]) + GOOD,
    "ftyp before a delta": head() + times(0, [0]) + fragment((1, [10]), keyframe=False),
    "bytes behind the samples": head() + times(0, [0]) + fragment((1, [10]), more=b"hidden"),
    "samples elsewhere": head() + times(0, [0]) + MOVED,
    "a box between": head() + box(b"free", b"hidden") + times(0, [0]) + GOOD,
    "no times": head() + GOOD,
    "two moofs": head() + times(0, [0]) + GOOD + GOOD,
    "more times than samples": head() + times(0, [0, 1]) + GOOD,
    "fewer times than samples": head() + times(0, [0]) + fragment((1, [10, 10])),
    "no video": head() + times(0, [0]) + fragment((2, [10])),
    "a track that is twice there": head() + times(0, [0]) + fragment((1, [10]), (1, [10])),
    # A player would show samples of a moov, and reserve memory for as many as it tells of.
    **{
        f"samples in the {name} of a moov": with_tables(**{name: 1 << 26}) + times(0, [0]) + GOOD
        for name in ("stsz", "stz2", "stco", "co64")
    },
    "samples of sound without end": much_sound((1 << 20) + 1),
    "no mvex": head(fragmented=False) + times(0, [0]) + GOOD,
    "sound as track 1": head(track(1, b"soun")) + times(0, [0]) + GOOD,
    "two videos": head(track(1, b"vide"), track(2, b"vide")) + times(0, [0]) + GOOD,
    "two tracks of one number": head(track(1, b"vide"), track(1, b"soun")) + times(0, [0]) + GOOD,
    "a moov that is too long": box(b"ftyp") + box(b"moov", bytes(1 << 20)) + times(0, [0]) + GOOD,
    "an empty mdat": head() + times(0, [0]) + fragment((1, [0])),
    "a box of no size": head() + times(0, [0]) + bytes(4) + b"moof" + GOOD[8:],
    "a uuid of another": head() + times(0, [0]).replace(b"session-", b"SESSION-") + GOOD,
    "two trafs in words of one": head() + times(0, [0]) + GOOD.replace(b"tfdt", b"free"),
    "4 GiB of samples of no size": head()
    + times(0, [0])
    + box(
        b"moof",
        box(b"mfhd", words(0, 1)),
        box(
            b"traf",
            box(b"tfhd", words(0x20000, 1)),
            box(b"tfdt", b"\1\0\0\0", bytes(8)),
            box(b"trun", words(1, 0xFFFFFFFF, 116)),
        ),
    )
    + box(b"mdat", b"x"),
}


@pytest.mark.parametrize("attack", WRONG, ids=str)
def test_both_programs_refuse(attack: str) -> None:
    data = WRONG[attack]
    with pytest.raises(FormatError):
        list(scan_pieces([data]))
    span = {"first_unit": 0, "unit_count": 1, "t0_ns": 0, "t1_ns": 100}
    with pytest.raises(Problem):
        read_packets({"span": span, "keyframe": True, "raw_size": 10}, data)


@pytest.mark.parametrize("data", [with_tables() + times(0, [0]) + GOOD, much_sound(1 << 20)])
def test_both_programs_take_tables_that_are_empty_and_the_most_samples(data: bytes) -> None:
    assert len(list(scan_pieces([data]))) == 1
    span = {"first_unit": 0, "unit_count": 1, "t0_ns": 0, "t1_ns": 100}
    assert len(read_packets({"span": span, "keyframe": True, "raw_size": 10}, data)) == 1


def test_both_programs_take_what_is_good() -> None:
    span = {"first_unit": 7, "unit_count": 6, "t0_ns": 0, "t1_ns": 100}
    units = read_packets({"span": span, "keyframe": True, "raw_size": 90}, STREAM)
    assert [unit["t_ns"] for unit in units] == [0, 10, 20, 30, 40, 50]


def test_both_programs_take_presentation_before_decoding() -> None:
    data = head() + times(0, [0]) + SIGNED
    assert data != head() + times(0, [0]) + GOOD
    span = {"first_unit": 0, "unit_count": 1, "t0_ns": 0, "t1_ns": 100}
    assert len(read_packets({"span": span, "keyframe": True, "raw_size": 10}, data)) == 1
    assert len(list(scan_pieces([data]))) == 1


def test_times_are_the_same_bytes_and_back() -> None:
    said = PieceTimes(first_unit=3, shift=-5, tick_num=1, tick_den=25, times=((1, 2), (3, 4)))
    data = pack_times(said)
    assert unpack_times(data) == said
    assert len(data) == 53 + 2 * 16


def test_the_example_in_the_document_is_what_is_written() -> None:
    said = PieceTimes(first_unit=7, shift=0, tick_num=1, tick_den=90_000, times=((8, 9),))
    document = (Path(__file__).parents[2] / "docs/format.md").read_text("utf-8")
    example = document.split("A `uuid` box of unit 7 alone", 1)[1].split("```")[1]
    assert pack_times(said) == bytes.fromhex(example)


def test_another_version_of_the_times_is_unsupported() -> None:
    data = bytearray(times(0, [0]))
    data[24] = 2
    with pytest.raises(UnsupportedError):
        unpack_times(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:40],
        lambda data: data[:-16],
        lambda data: data + bytes(16),
        lambda data: data[:41] + bytes(4) + data[45:],
    ],
)
def test_times_of_another_length_are_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FormatError):
        unpack_times(change(times(0, [0])))


@pytest.mark.parametrize("count", [0, MAX_UNITS + 1])
def test_a_piece_has_some_units_and_not_too_many(count: int) -> None:
    with pytest.raises(FormatError):
        times(0, [0] * count)
