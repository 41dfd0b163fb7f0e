"""The stream `DEAD`, read on from where the last look ended, and what is written about letters.

What became of a letter is a message of its own, on a subject of its own behind a fence: of two
people who settle one letter, one does. The letter itself stays until it is too old.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from blake3 import blake3
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError, NotFoundError

from recorder_worker.bus.dead_letters.letter_headers import letter_in
from recorder_worker.bus.dead_letters.tried_again import headers_again
from recorder_worker.bus.event_log import (
    FENCE,
    MESSAGE_ID,
    PUBLISH_TIMEOUT_S,
    WRONG_LAST_SEQUENCE,
    Headers,
    patiently,
)
from recorder_worker.bus.streams.topology import DEAD_STREAM
from recorder_worker.core.dead_letters import DeadLetter, LetterSeen
from recorder_worker.core.errors import BlobMissingError, BusUnavailableError
from recorder_worker.core.events import DeadLetterSettled
from recorder_worker.core.subjects import DEAD, Fact, again, settled

EVERYTHING = f"{DEAD}.>"
KEPT_LETTERS = 10_000
"""No more are kept in mind, the newest: so many are trouble enough."""

_DEAD_LETTER_SETTLED = msgspec.json.Decoder(DeadLetterSettled)


class DeadLetterBook:
    """`DeadLetters` on JetStream. Keeps what it has read, but no bodies.

    `headers` makes those of what is written, for whoever settles letters.
    """

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], headers: Headers | None = None
    ) -> None:
        self._jetstream = jetstream
        self._headers = headers
        self._after = 0
        self._letters: dict[str, DeadLetter] = {}
        self._settled: dict[str, DeadLetterSettled] = {}
        self._lock = asyncio.Lock()

    async def all(self) -> Sequence[LetterSeen]:
        """All letters that are kept, the oldest first. Raises BusUnavailableError."""
        async with self._lock:
            await self._look()
            return tuple(
                LetterSeen(letter=letter, settled=self._settled.get(letter.letter))
                for letter in self._letters.values()
            )

    async def waiting(self) -> dict[str, int]:
        """How many nobody has dealt with, by stage. Raises BusUnavailableError."""
        return dict(Counter(s.letter.stage for s in await self.all() if s.settled is None))

    async def body(self, letter: DeadLetter) -> bytes:
        """The message as it came. Raises BlobMissingError, BusUnavailableError."""
        try:
            message = await patiently(
                lambda: self._jetstream().get_msg(DEAD_STREAM, seq=letter.place, direct=True)
            )
        except NotFoundError:
            message = None
        found = letter_in(message) if message is not None else None
        if message is None or found is None or found.letter != letter.letter:
            raise BlobMissingError(
                f"dead letter {letter.letter}: expected it in the stream {DEAD_STREAM}, found "
                "none; it was older than nats.max_age_s, or the stream was lost"
            )
        return message.data or b""

    async def settle(self, letter: DeadLetter, event: DeadLetterSettled) -> DeadLetterSettled:
        """Say what becomes of a letter (see `ports.DeadLetters`)."""
        subject = settled(letter.stage, letter.letter)
        headers = {MESSAGE_ID: f"settled:{letter.letter}:{event.action}", FENCE: "0"}
        if self._headers is not None:
            headers |= self._headers(Fact.AUDIT_SETTLED, event.session_id, event)
            # Another event than the one in the audit trail, which says the same.
            headers["ce-id"] = blake3(f"{subject}\n{headers['ce-id']}".encode()).hexdigest()[:32]
        if await self._first(subject, DEAD_STREAM, msgspec.json.encode(event), headers):
            return event
        try:
            last = await patiently(
                lambda: self._jetstream().get_last_msg(DEAD_STREAM, subject, direct=True)
            )
            return _DEAD_LETTER_SETTLED.decode(last.data or b"")
        except (NotFoundError, msgspec.MsgspecError) as error:
            raise BusUnavailableError(
                f"{subject}: expected what somebody else has just written there: {error}"
            ) from error

    async def send_again(self, letter: DeadLetter, body: bytes, bearer: str) -> bool:
        """Let its stage have it once more (see `ports.DeadLetters`)."""
        subject = again(letter.stage, letter.letter)
        return await self._first(subject, letter.stream, body, headers_again(letter, bearer))

    async def _first(self, subject: str, stream: str, data: bytes, headers: dict[str, str]) -> bool:
        """Publish behind a fence as the first of a subject; whether it was."""
        try:
            ack = await patiently(
                lambda: self._jetstream().publish(
                    subject, data, stream=stream, headers=headers, timeout=PUBLISH_TIMEOUT_S
                )
            )
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return not ack.duplicate

    async def _look(self) -> None:
        """Read what came since the last look, and forget what is gone."""
        try:
            state = (await patiently(lambda: self._jetstream().stream_info(DEAD_STREAM))).state
        except NotFoundError as error:
            raise BusUnavailableError(
                f"stream {DEAD_STREAM}: expected it on the NATS server, found none; start a worker"
            ) from error
        if state.last_seq < self._after:  # the stream was lost and made anew
            self._after = 0
            self._letters.clear()
            self._settled.clear()
        while self._after < state.last_seq:
            message = await self._next()
            if message is None:
                break
            self._after = message.seq or self._after + 1
            self._take(message)
        self._letters = {
            name: letter
            for name, letter in list(self._letters.items())[-KEPT_LETTERS:]
            if letter.place >= state.first_seq
        }
        self._settled = {n: found for n, found in self._settled.items() if n in self._letters}

    async def _next(self) -> RawStreamMsg | None:
        try:
            return await patiently(
                lambda: self._jetstream().get_msg(
                    DEAD_STREAM, seq=self._after + 1, subject=EVERYTHING, direct=True, next=True
                )
            )
        except NotFoundError:
            return None

    def _take(self, message: RawStreamMsg) -> None:
        letter = letter_in(message)
        if letter is not None:
            self._letters[letter.letter] = letter
            return
        try:
            event = _DEAD_LETTER_SETTLED.decode(message.data or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # nobody's word about nothing
        if message.subject == settled(event.stage, event.letter):
            self._settled[event.letter] = event
