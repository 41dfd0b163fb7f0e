"""Messages on a subject: where a gap stands, and how often one is told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from recorder_worker.adapters.sources.inbox import Inbox
from recorder_worker.core.errors import RefusedError, UndecodableError, UnitsMissingError
from recorder_worker.core.frame_messages import FrameAnswer, FrameHeaders, FrameStatus
from recorder_worker.core.model import GapReason
from recorder_worker.core.sources.kinds import NatsSource
from recorder_worker.ports import FrameSubscription, PublishedFrame

DEADLINE_S = 20.0


class Written:
    """A subscription of messages as a test writes them; `K` is a keyframe, `!` malformed.

    `-` is a message that had no room: it is told with the next, or behind the last.
    """

    def __init__(self, messages: str = "") -> None:
        self.answers: list[FrameAnswer] = []
        self.calls: list[str] = []
        self._waiting: deque[PublishedFrame] = deque()
        self._dropped = 0
        self._away = False
        self.write(messages)

    def write(self, messages: str) -> None:
        for message in messages:
            if message == "-":
                self._dropped += 1
                continue
            if message == "~":
                self._away = True
                continue
            dropped, self._dropped = self._dropped, 0
            away, self._away = self._away, False
            self._waiting.append(
                PublishedFrame(
                    data=message.encode(),
                    headers={},
                    arrived_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                    answer=self.answers.append,
                    dropped=dropped,
                    away=away,
                )
            )

    def subscribe(self, subject: str) -> FrameSubscription:
        assert subject == "source.test"
        return self

    def take(self, wait_s: float) -> PublishedFrame | None:
        assert wait_s >= 0
        return self._waiting.popleft() if self._waiting else None

    def dropped(self) -> int:
        if self._waiting:
            return 0
        dropped, self._dropped = self._dropped, 0
        return dropped

    def away(self) -> bool:
        if self._waiting:
            return False
        away, self._away = self._away, False
        return away

    def hold(self) -> None:
        self.calls.append("hold")

    def go_on(self) -> None:
        self.calls.append("go on")

    def close(self) -> None:
        self.calls.append("close")


class Bench:
    """An inbox of letters, as packets are read; what it gives, and the gaps, in their order."""

    def __init__(self, messages: str) -> None:
        self.feed = Written(messages)
        self.reasons: list[GapReason] = []
        self.inbox: Inbox[str] = Inbox(
            NatsSource(uri="source.test", timeout_s=60),
            self.feed,
            noun="packet",
            headers=self._headers,
            make=self._make,
            in_place=True,
        )
        self.first = self.inbox.wait_for_first(1, again=False)

    def _headers(self, headers: Mapping[str, str], size: int) -> FrameHeaders:
        assert (headers, size) == ({}, 1)
        return FrameHeaders()

    def _make(self, _headers: FrameHeaders, data: bytes, _t_ns: int) -> str:
        letter = data.decode()
        if letter == "!":
            raise RefusedError(field="$", expected="a letter", got="!", hint="send letters")
        if letter != "K" and self.inbox.broken:
            raise UndecodableError(field="$", expected="K", got=letter, hint="send K")
        if letter == "K" and not self.inbox.broken and self.feed.answers:
            self.inbox.part("another alphabet")
        return letter

    def given(self, until: Callable[[str], bool]) -> str:
        """Letters, and `(n)` for a gap of n, until there is enough."""
        found, end = "", time.monotonic() + DEADLINE_S
        while not until(found):
            assert time.monotonic() < end, found
            found += self.one()
        return found

    def one(self) -> str:
        if not self.inbox.arrived(0.01):
            return ""
        try:
            return self.inbox.read() or "."
        except UnitsMissingError as error:
            self.reasons.append(error.reason)
            return f"({error.unit_count})"

    def statuses(self) -> list[FrameStatus]:
        return [answer.status for answer in self.feed.answers]


def ends(letters: str) -> Callable[[str], bool]:
    return lambda found: found.endswith(letters)


def test_a_gap_stands_where_messages_had_no_room_and_lasts_until_a_keyframe() -> None:
    bench = Bench("Kab-cdKe")
    assert bench.given(ends("e")) == "Kab(3)Ke"
    assert bench.statuses().count(FrameStatus.UNDECODABLE) == 2


def test_what_had_no_room_behind_the_last_is_told_of_as_well() -> None:
    bench = Bench("Ka--")
    assert bench.given(ends(")")) == "Ka(2)"
    bench.feed.write("bK")
    assert bench.given(ends("K")) == "(1)K"


def test_a_keyframe_waits_until_its_gap_may_be_told_and_so_do_those_behind_it() -> None:
    bench = Bench("Ka!bKc!dKe")
    begin = time.monotonic()
    assert bench.given(ends("e")) == "Ka(2)Kc(2)Ke"
    assert time.monotonic() - begin >= 0.9, "two gaps within a second"


def test_a_gap_that_stays_open_is_told_of_and_holds_no_keyframe_up() -> None:
    bench = Bench("Ka!b")
    assert bench.given(ends(")")) == "Ka(2)"
    bench.feed.write("cKd")
    assert [bench.one() for _ in range(4)] == ["", "(1)", "K", "d"]


def test_what_is_held_is_read_at_once_and_what_comes_behind_it_needs_a_keyframe() -> None:
    bench = Bench("Kab!c")
    bench.inbox.hold()
    assert "".join(bench.one() for _ in range(4)) == "Kab(2)"
    bench.inbox.go_on(GapReason.PAUSE)
    assert bench.feed.calls == ["hold", "go on"]
    bench.feed.write("dK")
    assert bench.given(ends("K")) == "(1)K"
    assert bench.reasons == [GapReason.SOURCE_LOST, GapReason.PAUSE]


def test_what_goes_on_by_itself_stands_behind_an_empty_gap() -> None:
    bench = Bench("KaKb")
    assert bench.given(ends("b")) == "Ka(0)Kb"


def test_where_the_connection_was_lost_there_is_a_gap_at_once_and_then_a_keyframe() -> None:
    bench = Bench("Ka~bcKd")
    assert bench.given(ends("d")) == "Ka(0)(2)Kd"
    bench.feed.write("~")
    assert bench.given(ends(")")) == "(0)", "also where nothing comes behind it"
    assert set(bench.reasons) == {GapReason.SOURCE_LOST}


def test_undecodable_messages_are_no_reason_to_give_the_publisher_up() -> None:
    bench = Bench("K!" + 40 * "a" + "K")
    assert bench.given(lambda found: found.count("K") == 2) == "K(41)K"
    assert bench.statuses().count(FrameStatus.UNDECODABLE) == 40
