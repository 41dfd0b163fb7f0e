"""Frames and packets from subjects: a connection of its own for each source, a bounded queue.

Of its own, because a server cuts off whoever reads too slowly: a flood of frames must not take the
leases of the worker with it. What is on its way is bounded everywhere: by the queue here, and where
the event loop is held up, by what nats-py keeps. Both count what they drop, and know where: what an
encoder made of a dropped packet is no picture.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.connection.client_connection import Denials, connect_client, reach_server
from recorder_worker.core.errors import BusUnavailableError, SourceError, SourceLostError
from recorder_worker.core.frame_messages import END, STATUS, FrameAnswer, FrameStatus, tells_end
from recorder_worker.ports.frame_feed import PublishedFrame

MOST_MESSAGES: Final = 64
MOST_BYTES: Final = 67_108_864
"""What is kept of one subject until its reader takes it: any message has room where nothing else
is there, for NATS knows none that is larger."""
MOST_ANSWERS: Final = 1024
"""Answers that are being sent; a publisher who gets none asks again."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_ENDS = FrameAnswer(status=FrameStatus.ACCEPTED, hint="the session ends with it once it goes on")
_BUSY = FrameAnswer(
    status=FrameStatus.BUSY,
    expected=f"at most {MOST_MESSAGES} frames or packets that wait to be recorded",
    got="no room for one more",
    hint="it counts as missing; wait for the answer to one before the next is published",
)


class NatsFrameFeed:
    """Subscriptions for sources. Satisfies `ports.FrameFeed`; `start` comes first."""

    def __init__(self, login: Login) -> None:
        self._login = msgspec.structs.replace(login, name=f"{login.name} frames")
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()

    def subscribe(self, subject: str) -> FrameQueue:
        """As the port; never called on the event loop itself."""
        if self._loop is None:
            raise SourceError(f"subject {subject}: expected a bus that is started, found none")
        wait_s = 2 * self._login.connect_timeout_s
        opening = asyncio.run_coroutine_threadsafe(self._open(subject), self._loop)
        try:
            return opening.result(wait_s)
        except (FutureTimeoutError, BusUnavailableError, nats.errors.Error, OSError) as error:
            opening.cancel()
            raise SourceError(
                f"subject {subject}: expected NATS to let us subscribe within {wait_s:g} s, "
                f"found {error or 'no answer'}"
            ) from error

    async def _open(self, subject: str) -> FrameQueue:
        queue = FrameQueue(subject, asyncio.get_running_loop())
        client = await connect_client(self._login, queue)
        try:
            await queue.open(client)
            await reach_server(client, self._login.connect_timeout_s)
        except BaseException:
            await client.close()
            raise
        if queue.newest:
            await client.close()
            raise SourceError(
                f"subject {subject}: expected the right to subscribe to it, found {queue.newest}; "
                "users of recorder nats-conf may have frames below source. alone"
            )
        return queue


class FrameQueue(Denials):
    """What has come on one subject and was not taken yet. Satisfies `ports.FrameSubscription`."""

    def __init__(self, subject: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._subject = subject
        self._loop = loop
        self._client: Client | None = None
        self._waiting: deque[PublishedFrame] = deque()
        self._size = 0
        self._dropped = 0
        self._away = False
        self._away_told = False
        self._came_count = 0
        self._cut: deque[int] = deque()
        self._refuse: FrameAnswer | None = None
        self._ends = False
        self._closed = False
        self._changed = threading.Condition()
        self._answers: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None

    # --- on the event loop ----------------------------------------------------------------------

    async def open(self, client: Client) -> None:
        """Subscribe."""
        self._client = client
        await client.subscribe(
            self._subject,
            cb=self._came,
            pending_msgs_limit=MOST_MESSAGES,
            pending_bytes_limit=MOST_BYTES,
        )

    async def report(self, error: Exception) -> None:
        """What nats-py had no room for is counted as well."""
        if isinstance(error, nats.errors.SlowConsumerError):
            with self._changed:
                if self._refuse is None:
                    # So many are older than it, and still on their way to `_came`.
                    self._cut.append(self._came_count + error.sub.pending_msgs)
            if error.reply:
                self._answer(error.reply, _BUSY)
            return
        await super().report(error)

    async def reconnected(self) -> None:
        """Nobody knows what was published meanwhile: it is told of as a loss."""
        with self._changed:
            self._away = not self._away_told
            self._changed.notify()

    async def _came(self, message: Msg) -> None:
        reply = message.reply
        with self._changed:
            refused = self._refuse
            self._count_cut()
            self._came_count += 1
            if refused is not None and refused.status is FrameStatus.PAUSED:
                # Nobody would tell it again: it is kept, and taken as if it came on going on.
                ends = tells_end(message.headers or {})
                refused, self._ends = (_ENDS if ends else refused), self._ends or ends
            if refused is None and not self._has_room(len(message.data)):
                refused = _BUSY
                self._dropped += 1
            if refused is None:
                self._waiting.append(self._taken(message))
                self._size += len(message.data)
            self._changed.notify()
        if refused is not None and reply:
            self._answer(reply, refused)

    def _taken(self, message: Msg) -> PublishedFrame:
        reply, dropped, away = message.reply, self._dropped, self._away
        self._dropped, self._away = 0, False
        return PublishedFrame(
            data=message.data,
            headers=message.headers or {},
            arrived_ns=time.clock_gettime_ns(_CLOCK),
            answer=lambda answer: self._answer_soon(reply, answer),
            dropped=dropped,
            away=away,
        )

    def _count_cut(self) -> None:
        """What nats-py has dropped in front of the message that comes next."""
        while self._cut and self._cut[0] <= self._came_count:
            self._cut.popleft()
            self._dropped += 1

    def _has_room(self, size: int) -> bool:
        few = len(self._waiting) < MOST_MESSAGES
        return few and (not self._waiting or self._size + size <= MOST_BYTES)

    def _answer(self, reply: str, answer: FrameAnswer) -> None:
        if len(self._answers) < MOST_ANSWERS:
            task = self._loop.create_task(self._publish(reply, answer))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _publish(self, reply: str, answer: FrameAnswer) -> None:
        client = self._client
        if client is not None and client.is_connected:
            with suppress(nats.errors.Error, OSError):
                body = msgspec.json.encode(answer)
                await client.publish(reply, body, headers={STATUS: answer.status.value})

    def _begin_end(self) -> None:
        self._ending = self._loop.create_task(self._end())  # a task that nobody holds may go

    async def _end(self) -> None:
        """What is left is answered first; nobody waits for a server that does not."""
        client = self._client
        if client is None:
            return
        with suppress(nats.errors.Error, OSError, asyncio.TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*self._answers, return_exceptions=True)
                await client.flush(1)
        with suppress(nats.errors.Error, OSError):
            await client.close()

    # --- in any thread --------------------------------------------------------------------------

    def _answer_soon(self, reply: str, answer: FrameAnswer) -> None:
        if reply and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, reply, answer)

    def take(self, wait_s: float) -> PublishedFrame | None:
        """As the port."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, wait_s)
            if self._closed:
                raise SourceLostError(
                    f"subject {self._subject}: expected an open source, found it closed"
                )
            if not self._waiting:
                return None
            frame = self._waiting.popleft()
            self._size -= len(frame.data)
            return frame

    def dropped(self) -> int:
        """As the port."""
        with self._changed:
            if self._waiting:
                return 0
            self._count_cut()
            count, self._dropped = self._dropped, 0
            return count

    def away(self) -> bool:
        """As the port."""
        with self._changed:
            if self._waiting:
                return False
            client, held = self._client, self._refuse is not None
            if held and client is not None and not client.is_connected and not self._away_told:
                # Once for as long as nothing is taken: it is asked again until the server is back.
                self._away = self._away_told = True
            away, self._away = self._away, False
            return away

    def hold(self) -> None:
        """As the port."""
        self._set_refusal(
            FrameAnswer(status=FrameStatus.PAUSED, hint="publish again once it goes on")
        )

    def go_on(self) -> None:
        """As the port."""
        self._set_refusal(None)
        with self._changed:
            if self._ends:
                self._ends = False
                self._waiting.append(_end_now())
                self._changed.notify_all()

    def close(self) -> None:
        """As the port; the connection is closed by the event loop, and not waited for."""
        over = FrameAnswer(status=FrameStatus.ENDED, hint="nobody records this subject any more")
        self._set_refusal(over)
        with self._changed:
            left, first = list(self._waiting), not self._closed
            self._waiting.clear()
            self._closed = True
            self._changed.notify_all()
        for frame in left:
            frame.answer(over)
        if first and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin_end)

    def _set_refusal(self, answer: FrameAnswer | None) -> None:
        with self._changed:
            self._refuse = answer
            self._away_told = False


def _end_now() -> PublishedFrame:
    """The end that was told while nothing was taken; it has been answered."""
    return PublishedFrame(
        data=b"",
        headers={END: "1"},
        arrived_ns=time.clock_gettime_ns(_CLOCK),
        answer=lambda _: None,
    )
