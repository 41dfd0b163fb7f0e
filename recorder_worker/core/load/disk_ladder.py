"""How full the disks may get: a ladder of marks of free room, with a way back above each.

From rung to rung more is given up, so that what is recorded by then can still be signed and sealed,
and the machine's other users keep a floor of room. A rung holds from its mark on, and until `back`
more than its mark is free: else what a pause frees would begin and end it all the time. What is
measured is every file system that the recorder writes to, by bytes and by inodes; the worst counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from recorder_worker.core.load.hysteresis import Marks

SECOND_NS = 1_000_000_000
SLOWEST_LOOK_S, FASTEST_LOOK_S = 1.0, 0.1
LOOKS_BEFORE_FLOOR = 4
"""While it fills up, so many looks are taken in the time until the floor would be reached."""


class Rung(IntEnum):
    """What is given up; each one includes those before it."""

    CLEAR = 0
    WARN = 1
    REFUSE = 2
    PAUSE = 3
    STOP = 4


WORDS = {
    Rung.CLEAR: "there is room",
    Rung.WARN: "room runs short",
    Rung.REFUSE: "no new sessions are taken",
    Rung.PAUSE: "sessions of the lowest priority are paused",
    Rung.STOP: "all sessions end",
}


class DiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Free bytes, as set; 0 in all but the floor: derived from the floor and the disk's size."""

    floor_bytes: int
    pause_bytes: int = 0
    refuse_bytes: int = 0
    warn_bytes: int = 0
    back_bytes: int = 0


class DiskMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Below how much free each rung holds; it ends when `back` more than that is free."""

    warn: int
    refuse: int
    pause: int
    stop: int
    back: int

    def of(self, rung: Rung) -> int:
        """The mark of a rung that has one."""
        return {
            Rung.WARN: self.warn,
            Rung.REFUSE: self.refuse,
            Rung.PAUSE: self.pause,
            Rung.STOP: self.stop,
        }[rung]

    def rung(self, free: int, before: Rung) -> Rung:
        """The rung with so much free, `before` being the one until now."""
        for rung in (Rung.STOP, Rung.PAUSE, Rung.REFUSE, Rung.WARN):
            mark = self.of(rung)
            # Taken as "how much is missing", which begins high and ends low.
            missing = Marks(high=1, low=1 - self.back)
            if mark > 0 and missing.holds(mark - free, before=before >= rung):
                return rung
        return Rung.CLEAR


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What is free of one file system. `total_inodes` 0: it does not count them."""

    name: str
    free_bytes: int
    total_bytes: int
    free_inodes: int = 0
    total_inodes: int = 0


def byte_marks(limits: DiskLimits, total_bytes: int) -> DiskMarks:
    """The marks of a file system of some size, for what is not set.

    The steps are as large as the floor on a large disk; on a small one they are a share of it, so
    that a disk that is nearly empty never counts as full.
    """
    floor = limits.floor_bytes
    step = min(floor, total_bytes // 20)
    pause = limits.pause_bytes or floor + step // 2
    refuse = limits.refuse_bytes or max(pause, floor + step)
    warn = limits.warn_bytes or max(refuse, floor + 3 * step)
    back = limits.back_bytes or max(1, step // 4)
    return DiskMarks(warn=warn, refuse=refuse, pause=pause, stop=floor, back=back)


def inode_marks(total_inodes: int) -> DiskMarks:
    """A session takes some ten files at its end, and two for each chunk and its segments."""
    return DiskMarks(
        warn=min(8192, total_inodes // 10),
        refuse=min(2048, total_inodes // 20),
        pause=min(1024, total_inodes // 40),
        stop=min(512, total_inodes // 80),
        back=max(1, min(256, total_inodes // 100)),
    )


class DiskLadder:
    """The rung of one worker, and which of its sessions are paused by it."""

    def __init__(self, limits: DiskLimits) -> None:
        self._limits = limits
        self._rungs: dict[tuple[str, str], Rung] = {}
        self._priorities: dict[str, int] = {}
        self._depth = 0.0
        self._before: tuple[int, int] | None = None
        self.rung = Rung.CLEAR
        self.detail = ""
        """What was measured and what it is held against, in words; of the worst file system."""
        self.look_s = SLOWEST_LOOK_S
        """How soon to look again."""

    def join(self, session_id: str, *, priority: int) -> None:
        """A session that is recorded here."""
        self._priorities[session_id] = priority

    def leave(self, session_id: str) -> None:
        """It has ended, or another worker has it."""
        self._priorities.pop(session_id, None)

    def measured(self, rooms: Sequence[Room], now_ns: int, trouble: str = "") -> Rung:
        """Take a measurement; the rung before it.

        `trouble` says why nothing can be written there, whatever is free: then nothing new is
        begun. What runs finds out by itself, and is given time.
        """
        before, worst, said = self.rung, Rung.CLEAR, ""
        depth = 0.0
        for room in rooms:
            for kind, free, marks in self._counted(room):
                rung = marks.rung(free, self._rungs.get((room.name, kind), Rung.CLEAR))
                self._rungs[room.name, kind] = rung
                depth = max(depth, _depth(free, marks))
                if rung > worst or not said:
                    worst, said = max(rung, worst), _words(room.name, kind, free, marks, rung)
        if trouble and worst < Rung.REFUSE:
            worst, said = Rung.REFUSE, f"{trouble}; {WORDS[Rung.REFUSE]}"
        self.rung, self.detail = worst, said
        # Who is paused stays so until the whole rung is over: what his pause saves is for others.
        self._depth = max(depth, self._depth) if worst >= Rung.PAUSE else 0.0
        self.look_s = self._next_look_s(rooms, now_ns)
        return before

    def pauses(self, session_id: str) -> bool:
        """Whether a session is to write nothing now.

        Between the mark of this rung and the floor, one priority after the other, from the lowest.
        """
        if self.rung < Rung.PAUSE or session_id not in self._priorities:
            return False
        order = sorted(set(self._priorities.values()))
        place = order.index(self._priorities[session_id])
        return place == 0 or self._depth >= place / len(order)

    def _counted(self, room: Room) -> list[tuple[str, int, DiskMarks]]:
        found = [("bytes", room.free_bytes, byte_marks(self._limits, room.total_bytes))]
        if room.total_inodes and self._limits.floor_bytes:
            found.append(("inodes", room.free_inodes, inode_marks(room.total_inodes)))
        return found

    def _next_look_s(self, rooms: Sequence[Room], now_ns: int) -> float:
        """A quarter of the time in which the floor would be reached, going on as it did."""
        free = min((room.free_bytes for room in rooms), default=0)
        before, self._before = self._before, (free, now_ns)
        if before is None or not rooms:
            return SLOWEST_LOOK_S
        fallen, passed_s = before[0] - free, (now_ns - before[1]) / SECOND_NS
        if fallen <= 0 or passed_s <= 0:
            return SLOWEST_LOOK_S
        left_s = max(0, free - self._limits.floor_bytes) / (fallen / passed_s)
        return min(SLOWEST_LOOK_S, max(FASTEST_LOOK_S, left_s / LOOKS_BEFORE_FLOOR))


def _depth(free: int, marks: DiskMarks) -> float:
    """How far from the mark of PAUSE down to the floor, 0 to 1."""
    if free >= marks.pause:
        return 0.0
    return min(1.0, (marks.pause - free) / max(1, marks.pause - marks.stop))


def _words(name: str, kind: str, free: int, marks: DiskMarks, rung: Rung) -> str:
    if rung is Rung.CLEAR:
        return f"{free} {kind} free on {name}; warned below {marks.warn}"
    mark = marks.of(rung)
    return (
        f"{free} {kind} free on {name}: {WORDS[rung]} (below {mark}, until "
        f"{mark + marks.back} are free)"
    )
