"""Messages that another program publishes on one subject: each is answered, and counted.

What is in a message is for whoever reads it; here is what holds for frames and packets alike: their
order, what of them is missing and why, how long silence may last, and their end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from recorder_worker.adapters.sources.frame_order import FrameOrder
from recorder_worker.adapters.sources.losses import TELL_EVERY_NS, Losses
from recorder_worker.core.errors import (
    RefusedError,
    SourceError,
    SourceLostError,
    UndecodableError,
)
from recorder_worker.core.frame_messages import FrameHeaders, FrameStatus, answer_of
from recorder_worker.core.model import GapReason
from recorder_worker.core.sources.kinds import NatsSource
from recorder_worker.ports import FrameFeed, PublishedFrame

T = TypeVar("T")

MOST_REFUSED: Final = 10
"""Malformed messages in a row: then whoever publishes is no source any more."""
_LOOK_S: Final = 0.1
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Inbox(Generic[T]):
    """What comes on a subject, one after the other.

    Attributes:
        ahead: what is there and was not given yet, and when it was made.
        broken: something is missing since the last that was given; packets go on with a keyframe.
    """

    def __init__(
        self,
        source: NatsSource,
        feed: FrameFeed,
        *,
        noun: str,
        headers: Callable[[Mapping[str, str], int], FrameHeaders],
        make: Callable[[FrameHeaders, bytes, int], T],
        in_place: bool = False,
    ) -> None:
        """Subscribe.

        Args:
            source: the subject, and how long it may be silent.
            feed: where its messages come from.
            noun: what one message is, for people.
            headers: reads the headers of a message of so many bytes. Raises RefusedError.
            make: makes what is read of a message, and of when it was made. Raises RefusedError.
            in_place: whether a gap has to stand just where something is missing. Then what comes
                behind it waits until the gap may be told; else gaps are told when they may be.

        Raises:
            SourceError: the bus does not let us.
        """
        self.ahead: tuple[T, int] | None = None
        self.broken = False
        self._uri = source.uri
        self._noun = noun
        self._headers = headers
        self._make = make
        self._in_place = in_place
        self._timeout_ns = round(source.timeout_s * 1e9)
        self._order = FrameOrder()
        self._losses = Losses(f"{noun}s")
        self._why = GapReason.SOURCE_LOST
        self._broken_ns = 0
        self._told_early = False
        self._refused_in_row = 0
        self._newest = ""
        self._message: PublishedFrame | None = None
        self._ended = self._held = self._closed = self._quiet = False
        self._lost = ""
        self._accepted = 0
        self._silent_ns = 0
        self._messages = feed.subscribe(source.uri)

    def wait_for_first(self, wait_s: float, *, again: bool) -> T | None:
        """The first that can be recorded. What was wrong before it is answered, and no loss.

        `again`: the source was there before, and may have come to its end meanwhile: None.

        Raises:
            SourceError: none came in time.
        """
        end_ns = time.clock_gettime_ns(_CLOCK) + round(wait_s * 1e9)
        while self.ahead is None:
            left_s = (end_ns - time.clock_gettime_ns(_CLOCK)) / 1e9
            if self._ended and again:
                return None
            if left_s <= 0 or self._lost or self._ended:
                raise SourceError(self._lost or self._nothing_came(wait_s))
            message = self._messages.take(left_s)
            if message is not None:
                self._handle(message)
        self._losses = Losses(f"{self._noun}s")
        return self.ahead[0]

    def arrived(self, wait_s: float) -> bool:
        """Whether there is one, the end, a loss to be told, or silence that is too long."""
        if self._closed or self._something():
            return True
        if self.ahead is not None:  # it waits for its gap, and those behind it for it
            threading.Event().wait(min(wait_s, _LOOK_S))
            return self._something()
        while self._take(wait_s):
            if not self._held or self._something():
                break  # else nothing more comes, and what had come is taken up to its end
        return self._something()

    def read(self) -> T | None:
        """The next one, where `arrived` says so; None behind the last, which its publisher tells.

        Raises:
            SourceLostError: silence, too many malformed messages, or the source is closed.
            UnitsMissingError: some are missing here.
        """
        if self._closed:
            raise SourceLostError(f"subject {self._uri}: expected an open source, found it closed")
        now_ns = time.clock_gettime_ns(_CLOCK)
        if self._due(now_ns):
            self._told_early = self.ahead is None
            self._broken_ns = now_ns
            raise self._losses.told(now_ns, self.ahead[1] if self.ahead else now_ns)
        if self.ahead is not None and self._message is not None:
            (item, _), self.ahead = self.ahead, None
            self._accepted += 1
            self._answer(self._message, FrameStatus.ACCEPTED)
            return item
        if self._lost:
            raise SourceLostError(self._lost)
        return None

    def part(self, text: str) -> None:
        """What is being made goes on by itself, behind an empty gap."""
        self._losses.part(GapReason.SOURCE_LOST, text)

    def hold(self) -> None:
        """Take nothing more, and say so to whoever publishes."""
        self._held, self._quiet = True, False
        self._messages.hold()

    def go_on(self, broken: GapReason | None = None) -> None:
        """Take what comes again; `broken`: why what was published meanwhile is missing."""
        self._held = False
        self._silent_ns = 0
        if broken is not None:
            self._order.forget_count()
            self.broken = False  # what was missing before has been told
            self._break(broken)
        self._messages.go_on()

    def close(self) -> None:
        """Tell whoever still publishes that nobody records it."""
        if self.ahead is not None and self._message is not None:
            self._message.answer(answer_of(FrameStatus.ENDED, 0, None))
        self.ahead = None
        self._closed = True
        self._messages.close()

    # --- one message ----------------------------------------------------------------------------

    def _take(self, wait_s: float) -> bool:
        """Whether a message came in that time; it is handled."""
        begin_ns = time.clock_gettime_ns(_CLOCK)
        message = self._messages.take(wait_s)
        # Only while somebody listens: a publisher who waits for our answer publishes nothing.
        self._silent_ns += time.clock_gettime_ns(_CLOCK) - begin_ns
        self._quiet = message is None
        if message is not None:
            self._silent_ns = 0
            self._handle(message)
            return True
        self._count_dropped(self._messages.dropped())
        self._count_away(self._messages.away(), counts=self._order.counts and not self._held)
        if not self._held and self._silent_ns > self._timeout_ns:
            self._lost = (
                f"subject {self._uri}: expected a {self._noun} within "
                f"{self._timeout_ns / 1e9:g} s, found none; see whether its publisher runs, or "
                "give a longer timeout_s"
            )
        return False

    def _something(self) -> bool:
        due = self._due(time.clock_gettime_ns(_CLOCK))
        waits = self._in_place and self._losses.any
        return bool((self.ahead and not waits) or self._ended or self._lost) or due

    def _due(self, now_ns: int) -> bool:
        """Whether a loss is to be told now."""
        over = self._ended or bool(self._lost)
        if self._in_place and self.ahead is None and not over:
            # There may be more of it; but a hole that stays open is told of every second.
            told = now_ns - self._broken_ns >= TELL_EVERY_NS or (self._held and self._quiet)
            return self._losses.any and told
        return self._losses.due(now_ns, at_once=over or self._held or self._told_early)

    def _handle(self, message: PublishedFrame) -> None:
        self._count_dropped(message.dropped)
        self._count_away(message.away, counts=self._order.counts)
        try:
            headers = self._headers(message.headers, len(message.data))
        except RefusedError as error:
            self._order.counted_already(1)  # its own count could not be read
            self._refuse(message, error)
            return
        try:
            if headers.end:
                self._ended = True
                self._answer(message, FrameStatus.ACCEPTED)
                return
            if self._order.repeats(headers):
                self._answer(message, FrameStatus.DUPLICATE)
                return
            self._count_skipped(self._order.skipped(headers))
            t_ns = self._order.time_of(headers, message.arrived_ns)
            item = self._make(headers, message.data, t_ns)
        except RefusedError as error:
            self._refuse(message, error)
            return
        self._order.took(headers)
        self._refused_in_row = 0
        self.broken = False
        self.ahead, self._message = (item, t_ns), message

    def _refuse(self, message: PublishedFrame, error: RefusedError) -> None:
        self._newest = str(error)
        if isinstance(error, UndecodableError):
            self._answer(message, FrameStatus.UNDECODABLE, error)
            text = f"a {self._noun} that builds on a missing one"
            self._miss(self._why if self.broken else GapReason.SOURCE_LOST, 1, text)
            return
        self._answer(message, FrameStatus.REFUSED, error)
        self._miss(GapReason.SOURCE_LOST, 1, f"a {self._noun} that was refused: {error}")
        self._refused_in_row += 1
        if self._refused_in_row >= MOST_REFUSED:
            self._lost = (
                f"subject {self._uri}: expected {self._noun}s that can be recorded, found "
                f"{MOST_REFUSED} in a row that cannot; of the last: {error}"
            )

    def _answer(
        self, message: PublishedFrame, status: FrameStatus, error: RefusedError | None = None
    ) -> None:
        message.answer(answer_of(status, self._accepted, error))

    # --- what is missing ------------------------------------------------------------------------

    def _count_skipped(self, count: int) -> None:
        text = f"{self._noun}s that its publisher counts and that did not arrive"
        self._miss(GapReason.SOURCE_LOST, count, text)

    def _count_dropped(self, dropped: int) -> None:
        self._order.counted_already(dropped)
        text = (
            f"{self._noun}s came faster than they are recorded; publish as requests, and fewer at "
            "once"
        )
        self._miss(GapReason.BACK_PRESSURE, dropped, text)

    def _count_away(self, away: bool, *, counts: bool) -> None:  # noqa: FBT001  (what is counted, as in its neighbours)
        """Where the publisher counts, his next one tells what is missing; else nobody does."""
        if away and not counts:
            self._losses.broken_off(
                f"NATS was away: nobody knows which {self._noun}s came meanwhile"
            )
            self._break(GapReason.SOURCE_LOST)

    def _miss(self, reason: GapReason, count: int, text: str) -> None:
        if count:
            self._losses.add(reason, count, text)
            self._break(reason)

    def _break(self, reason: GapReason) -> None:
        if not self.broken:
            self.broken, self._why = True, reason
            self._broken_ns = time.clock_gettime_ns(_CLOCK)

    def _nothing_came(self, wait_s: float) -> str:
        refused = f"only such as are refused ({self._newest})" if self._newest else "none"
        found = "the end that its publisher tells" if self._ended else refused
        return (
            f"subject {self._uri}: expected a first {self._noun} within {wait_s:g} s, found "
            f"{found}; start its publisher, or give a longer timeout_s"
        )
