"""Sessions while everything breaks: some at once, each of known units, until the storm is over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import nats.errors
import numpy as np
from chaos.plan import Session, Shape, session_of
from chaos.rig import Rig
from films import write_film
from frame_publisher import Pixels, raw_headers
from nats.js.errors import APIError, Error, NotFoundError

from recorder_worker.bus.streams.topology import COMMANDS_STREAM, SESSIONS_STREAM
from recorder_worker.core.frame_messages import FrameStatus

FPS = 20
SEAL_S = 180.0
SENDING_S = 120.0
ANSWER_S = 1.0
FILM_FPS, FILM_UNITS = 25, 100

T = TypeVar("T")


class Sent(msgspec.Struct, kw_only=True):
    """A session as its client saw it.

    `accepted` are the published frames that a recorder has taken, `sent` how many there were; each
    attempt has a number of its own. `marks` are the texts that JetStream has acknowledged.
    """

    session: Session
    started_ns: int
    sent: int = 0
    accepted: list[int] = msgspec.field(default_factory=list)
    marks: list[str] = msgspec.field(default_factory=list)
    sealed: bool = False


class Traffic:
    """Keeps some sessions going; their clients never give up."""

    def __init__(self, rig: Rig, seed: int, at_once: int) -> None:
        self._rig = rig
        self._seed = seed
        self._at_once = at_once
        self._over = asyncio.Event()
        self._next = 0
        self._film = rig.folder / "film.mp4"
        self.sessions: list[Sent] = []

    def end(self) -> None:
        """Begin no more sessions; those that run come to their end."""
        self._over.set()

    async def run(self) -> None:
        """Until `end`, and until every session is sealed, or has had time enough for it."""
        await asyncio.to_thread(write_film, self._film, audio=None, frames=FILM_UNITS, fps=FILM_FPS)
        await asyncio.gather(*(self._one_after_the_other() for _ in range(self._at_once)))

    async def _one_after_the_other(self) -> None:
        while not self._over.is_set() or self._next < len(Shape):
            session = session_of(self._seed, self._next)
            self._next += 1
            sent = Sent(session=session, started_ns=time.time_ns())
            self.sessions.append(sent)
            await self._go_through(sent)

    async def _go_through(self, sent: Sent) -> None:
        session = sent.session
        await self._command("session.start", self._start_of(session))
        tasks = [self._marks(sent)]
        if session.shape is Shape.FRAMES:
            tasks.append(self._publish(sent))
        elif session.shape is Shape.PAUSED:
            tasks.append(self._pause_and_resume(session))
        elif session.shape is Shape.ARMED:
            tasks.append(self._trigger(sent))
        await asyncio.gather(*tasks)
        await self._sealed(sent)

    def _start_of(self, session: Session) -> dict[str, Any]:
        body: dict[str, Any] = {"session_id": session.session_id, "max_duration_s": 600}
        if session.shape is Shape.FRAMES:
            source = {"kind": "nats", "uri": subject_of(session), "timeout_s": 10}
            return body | {"source": source, "fps": FPS}
        if session.shape is Shape.COPY:
            source = {"kind": "file", "uri": str(self._film), "pace": "native"}
            return body | {"source": source, "profile": "copy"}
        body |= {"source": pattern_of(session), "fps": FPS}
        return body | ({"pre_record_s": 1.0} if session.shape is Shape.ARMED else {})

    # --- what a client does ---------------------------------------------------------------------

    async def _command(self, subject: str, body: dict[str, Any]) -> None:
        """Send a command until JetStream has it; under one message id it is one command."""
        data = json.dumps(body).encode()
        key = command_key(subject, body)
        await patiently(
            lambda: self._rig.bus.jetstream(timeout=2).publish(
                subject, data, stream=COMMANDS_STREAM, headers={"Nats-Msg-Id": key}
            )
        )

    async def _recording(self, session: Session) -> None:
        """Until its first segment, pause or end is there."""
        await self._until_last(session, "session.captured", lambda found: found["type"] != "opened")

    async def _marks(self, sent: Sent) -> None:
        if not sent.session.marks:
            return
        await self._recording_or_armed(sent.session)
        for n in range(sent.session.marks):
            text = f"mark {n}"
            body = {"session_id": sent.session.session_id, "text": text}
            await self._command("session.mark", body)
            sent.marks.append(text)
            await asyncio.sleep(0.3)

    async def _recording_or_armed(self, session: Session) -> None:
        await self._until_last(session, "session.captured", lambda _: True)

    async def _pause_and_resume(self, session: Session) -> None:
        await self._recording(session)
        await self._command("session.pause", {"session_id": session.session_id})
        await asyncio.sleep(1.5)
        await self._command("session.resume", {"session_id": session.session_id})

    async def _trigger(self, sent: Sent) -> None:
        await self._recording_or_armed(sent.session)
        await asyncio.sleep(1.0)
        body = {"session_id": sent.session.session_id, "type": "trigger", "text": "go"}
        await self._command("session.mark", body)

    async def _publish(self, sent: Sent) -> None:
        """As many frames as the session has units, each attempt with a picture of its own."""
        session, bus = sent.session, self._rig.bus
        by_s = time.monotonic() + SENDING_S
        while len(sent.accepted) < session.units and time.monotonic() < by_s:
            number, sent.sent = sent.sent, sent.sent + 1
            picture = published_picture(session, number)
            headers = raw_headers(picture)
            try:
                answer = await bus.request(
                    subject_of(session), picture.tobytes(), timeout=ANSWER_S, headers=headers
                )
                status = json.loads(answer.data)["status"]
            except (nats.errors.Error, OSError):
                status = ""
            if status == FrameStatus.ACCEPTED:
                sent.accepted.append(number)
            if status == FrameStatus.ENDED:
                break
            await asyncio.sleep(1 / FPS)
        await self._command("session.stop", {"session_id": session.session_id})

    async def _sealed(self, sent: Sent) -> None:
        """Wait for the seal. One that is late is stopped, so that the judge sees how it is."""
        try:
            async with asyncio.timeout(SEAL_S):
                await self._until_last(sent.session, "session.sealed", lambda _: True)
        except TimeoutError:
            return
        sent.sealed = True

    async def _until_last(self, session: Session, fact: str, wanted: Callable[[Any], bool]) -> None:
        """Until the newest fact of a kind about a session is such a one; or it has ended."""
        subject = f"{fact}.{session.session_id}"
        while True:
            found = await self._last(subject)
            if found is not None and (wanted(found) or found.get("type") == "ended"):
                return
            if found is None and await self._last(f"session.rejected.{session.session_id}"):
                return  # the start was refused: nothing else is before a session's first event
            await asyncio.sleep(0.25)

    async def _last(self, subject: str) -> Any:  # noqa: ANN401  (JSON)
        jetstream = self._rig.bus.jetstream(timeout=2)

        async def ask() -> Any:  # noqa: ANN401  (JSON)
            try:
                message = await jetstream.get_last_msg(SESSIONS_STREAM, subject, direct=True)
            except NotFoundError:
                return None
            return json.loads(message.data or b"null")

        return await patiently(ask)


def command_key(subject: str, body: dict[str, Any]) -> str:
    """The message id of a command, which is the id under which it is refused."""
    return f"chaos-{subject}-{body['session_id']}-{body.get('text', '')}"


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until the server answers."""
    while True:
        try:
            return await call()
        except (APIError, Error, nats.errors.Error, OSError):
            await asyncio.sleep(0.2)


def subject_of(session: Session) -> str:
    """Where the frames of a session are published."""
    return f"source.chaos.{session.number}"


def pattern_of(session: Session) -> dict[str, Any]:
    """Its source, where that is a pattern."""
    size = {"width": 64, "height": 48}
    more = {"frames": session.units, "seed": session.seed % 1000, "pace": "native"}
    return {"kind": "pattern", **size, **more}


def published_picture(session: Session, number: int) -> Pixels:
    """Noise that no other attempt, of no other session, shows."""
    return np.random.default_rng((session.seed, number)).integers(0, 256, (16, 16, 3), np.uint8)
