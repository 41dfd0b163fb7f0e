"""The ladder of a disk that fills up: which rung holds, until when, and who is paused by it."""

from __future__ import annotations

import pytest

from recorder_worker.core.load.disk_ladder import (
    DiskLadder,
    DiskLimits,
    Room,
    Rung,
    byte_marks,
    inode_marks,
)

SECOND = 1_000_000_000
MIB, GIB = 1 << 20, 1 << 30
LIMITS = DiskLimits(
    floor_bytes=100, pause_bytes=200, refuse_bytes=300, warn_bytes=400, back_bytes=50
)


def room(free: int, name: str = "/data", **inodes: int) -> Room:
    return Room(name=name, free_bytes=free, total_bytes=10_000, **inodes)


def test_each_rung_begins_below_its_mark_and_ends_well_above_it() -> None:
    ladder = DiskLadder(LIMITS)
    frees = [400, 399, 449, 450, 299, 349, 350, 199, 249, 250, 99, 149, 150, 450]
    rungs = []
    for second, free in enumerate(frees):
        ladder.measured((room(free),), second * SECOND)
        rungs.append(ladder.rung)
    assert [rung.name for rung in rungs] == [
        *("CLEAR", "WARN", "WARN", "CLEAR"),
        *("REFUSE", "REFUSE", "WARN"),
        *("PAUSE", "PAUSE", "REFUSE"),
        *("STOP", "STOP", "PAUSE", "CLEAR"),
    ]


def test_what_was_measured_and_what_it_is_held_against_is_said() -> None:
    ladder = DiskLadder(LIMITS)
    ladder.measured((room(1000),), 0)
    assert ladder.detail == "1000 bytes free on /data; warned below 400"
    assert ladder.measured((room(250),), SECOND) is Rung.CLEAR
    assert ladder.detail == (
        "250 bytes free on /data: no new sessions are taken (below 300, until 350 are free)"
    )


def test_the_worst_file_system_counts_and_each_has_its_own_way_back() -> None:
    ladder = DiskLadder(LIMITS)
    ladder.measured((room(1000), room(99, "/data/nats")), 0)
    assert (ladder.rung, "/data/nats" in ladder.detail) == (Rung.STOP, True)
    ladder.measured((room(120), room(1000, "/data/nats")), SECOND)
    assert ladder.rung.name == "PAUSE", "what /data/nats went through is none of /data"


def test_inodes_count_like_bytes_where_the_file_system_counts_them() -> None:
    ladder = DiskLadder(LIMITS)
    ladder.measured((room(1000, free_inodes=3, total_inodes=4096),), 0)
    assert ladder.rung.name == "STOP"
    assert ladder.detail.startswith("3 inodes free on /data: all sessions end")
    ladder.measured((room(1000, free_inodes=0, total_inodes=0),), SECOND)
    assert ladder.rung.name == "CLEAR"


def test_a_store_that_takes_nothing_takes_no_new_sessions_however_much_is_free() -> None:
    ladder = DiskLadder(LIMITS)
    ladder.measured((room(1000),), 0, trouble="read-only")
    assert (ladder.rung, ladder.detail) == (
        Rung.REFUSE,
        "read-only; no new sessions are taken",
    )
    ladder.measured((room(99),), SECOND, trouble="read-only")
    assert ladder.rung.name == "STOP"
    ladder.measured((room(1000),), 2 * SECOND)
    assert ladder.rung.name == "CLEAR"


def test_one_priority_after_the_other_is_paused_on_the_way_to_the_floor() -> None:
    ladder = DiskLadder(LIMITS)
    for name, priority in (("a", 1), ("b", 1), ("c", 5), ("d", 9), ("e", 9)):
        ladder.join(name, priority=priority)
    found = {}
    for free in (250, 199, 166, 190, 133, 240, 250):
        ladder.measured((room(free),), 0)
        found[free] = "".join(name for name in "abcde" if ladder.pauses(name))
    assert found == {250: "", 199: "ab", 166: "abc", 190: "abc", 133: "abcde", 240: "abcde"} | {
        250: ""
    }
    assert not ladder.pauses("unknown")


@pytest.mark.parametrize("total", [64 * MIB, GIB, 10 * GIB, 4096 * GIB])
@pytest.mark.parametrize("floor", [0, 1, 8 * MIB, 512 * MIB])
def test_derived_marks_are_in_order_and_an_empty_disk_is_never_full(total: int, floor: int) -> None:
    marks = byte_marks(DiskLimits(floor_bytes=floor), total)
    assert marks.stop == floor
    assert marks.stop <= marks.pause <= marks.refuse <= marks.warn <= floor + total // 5
    assert marks.back >= 1
    if floor and floor <= total // 2:
        assert marks.rung(total * 9 // 10, Rung.STOP) is Rung.CLEAR
    if floor == 0:
        assert marks.rung(0, Rung.CLEAR) is Rung.CLEAR, "no floor, no ladder"
    inodes = inode_marks(total // 16384)
    assert 0 < inodes.stop <= inodes.pause <= inodes.refuse <= inodes.warn <= total // 16384 // 5


def test_the_marks_of_the_defaults_on_a_large_disk() -> None:
    marks = byte_marks(DiskLimits(floor_bytes=512 * MIB), 1000 * GIB)
    assert (marks.warn, marks.refuse, marks.pause, marks.stop, marks.back) == (
        *(2048 * MIB, 1024 * MIB, 768 * MIB, 512 * MIB),
        128 * MIB,
    )


def test_a_mark_that_is_set_moves_those_above_it_that_are_not() -> None:
    marks = byte_marks(DiskLimits(floor_bytes=100, pause_bytes=5000), 10_000)
    assert (marks.pause, marks.refuse, marks.warn) == (5000, 5000, 5000)


def test_it_is_looked_at_more_often_the_faster_it_fills_up() -> None:
    ladder = DiskLadder(LIMITS)
    ladder.measured((room(9000),), 0)
    assert ladder.look_s == 1
    ladder.measured((room(8900),), SECOND)
    assert ladder.look_s == 1, "88 seconds from the floor"
    ladder.measured((room(6900),), 2 * SECOND)
    assert ladder.look_s == pytest.approx(6800 / 2000 / 4)
    ladder.measured((room(1000),), 3 * SECOND)
    assert ladder.look_s == 0.1
    ladder.measured((room(1000),), 4 * SECOND)
    assert ladder.look_s == 1
