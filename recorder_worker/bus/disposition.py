"""What happens to a message after its handler: one table, one middleware.

Success is an ack. An error is a nak with a delay (it may work later) or a dead letter (it never
will): a copy goes to `session.dead.<stage>` with the reason, and only when that copy is stored
is the message terminated. What is kept of it, and how it is tried again, stands in `dead_letters/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, NoReturn

import msgspec
import structlog
from faststream import BaseMiddleware
from faststream.exceptions import HandlerException, NackMessage, RejectMessage, SkipMessage
from nats.aio.msg import Msg

from recorder_worker.bus.attempts.attempts import Attempts
from recorder_worker.bus.attempts.memory_book import MemoryBook
from recorder_worker.bus.dead_letters.letter_headers import STACK, letter_of, reason_of
from recorder_worker.bus.dead_letters.tried_again import original_of
from recorder_worker.bus.event_log import MESSAGE_ID
from recorder_worker.bus.streams.topology import DEAD_STREAM
from recorder_worker.core import errors
from recorder_worker.core.command_parsing import session_id_in
from recorder_worker.core.dead_letters import letter_id
from recorder_worker.core.pipeline import CONTROL
from recorder_worker.core.subjects import Command, dead_letters, session_of
from recorder_worker.ports import StageMetrics

log = structlog.get_logger(__name__)

SOON_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Waits for a log that somebody else wrote on, or for another worker."""

IN_TURN_S = (*SOON_S, *(0.5,) * 19, *(1.0,) * 20, *(2.0,) * 30, 5.0)
"""Waits for a predecessor that is on its way. The first 24 are some 10 s, in which nearly all
come; a message that has waited for minutes asks seldom."""

ONE_AT_A_TIME = frozenset({CONTROL.name})
"""A message of theirs that fails is tried again soon each time: all commands of all sessions wait
behind it, and must not do so for the minutes that a back-off takes."""

DEAD_LETTER_TIMEOUT_S = 5.0


class Verdict(Enum):
    """What an error does to its message."""

    LEAVE = "nothing: the message is somebody else's now"
    SOON = "nak, and again at once"
    IN_TURN = "nak, and again at once; in seconds once it has waited for long"
    LATER = "nak, and again with back-off, for ever"
    LIMITED = "nak, and again with back-off, then a dead letter"
    DEAD = "a dead letter"


DISPOSITIONS: tuple[tuple[type[BaseException], Verdict], ...] = (
    (errors.LeaseLostError, Verdict.LEAVE),
    (errors.LeaseReleasedError, Verdict.SOON),
    (errors.NoRoomError, Verdict.SOON),
    (errors.OutOfOrderError, Verdict.IN_TURN),
    (errors.FencedError, Verdict.SOON),
    (errors.BlobUnreadableError, Verdict.LIMITED),
    (errors.TransientError, Verdict.LATER),
    (errors.PermanentError, Verdict.DEAD),
    (msgspec.MsgspecError, Verdict.DEAD),
    (UnicodeDecodeError, Verdict.DEAD),
    (Exception, Verdict.LIMITED),
)
"""First match wins."""


class RetryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often and with which waits a failing message is tried again.

    `max_deliver` counts tries that failed by a defect, and no other deliveries: a start that was
    handed over from worker to worker has not failed once. `max_crashes` counts those at which the
    worker died.
    """

    backoff_s: Sequence[float]
    max_deliver: int
    max_crashes: int = 5


LastResort = Callable[[Msg, str], Awaitable[None]]
"""Called with the message and the reason before a stage's message is dead-lettered, so that the
stage can put a gap where the message's leaf would have been, or say that its session is stuck."""


class Disposition:
    """Broker middleware: makes the nak or dead letter of whatever a handler raised."""

    def __init__(
        self,
        limits: RetryLimits,
        metrics: StageMetrics,
        last_resorts: dict[str, LastResort],
        attempts: Attempts | None = None,
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.last_resorts = last_resorts
        self.attempts = attempts or Attempts(MemoryBook(), limits.max_crashes, metrics)

    def __call__(self, msg: Msg | None, /, *, context: Any) -> _Dispose:  # noqa: ANN401  (FastStream's context repository)
        """The middleware of one message."""
        return _Dispose(msg, context=context, disposition=self)

    def verdict(self, error: BaseException) -> Verdict:
        """The row of the table that an error falls under."""
        return next(verdict for kind, verdict in DISPOSITIONS if isinstance(error, kind))


class _Dispose(BaseMiddleware):
    """The middleware of one message."""

    def __init__(self, msg: Msg | None, /, *, context: Any, disposition: Disposition) -> None:  # noqa: ANN401  (FastStream's context repository)
        super().__init__(msg, context=context)
        self._of = disposition

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        """Ack, nak, leave or dead-letter, by what the handler raised."""
        del exc_type, exc_tb
        if not isinstance(exc_val, Exception) or isinstance(exc_val, HandlerException):
            # Success, a disposition chosen by the handler, or a shutdown: in the last case the
            # message stays un-acked and comes back after ack_wait.
            return False
        assert isinstance(self.msg, Msg)  # noqa: S101  (FastStream types it as Any)
        stage = self.msg.metadata.consumer
        deliveries = self.msg.metadata.num_delivered
        verdict = self._of.verdict(exc_val)
        with structlog.contextvars.bound_contextvars(**_named(self.msg)):
            return await self._dispose(verdict, stage, deliveries, exc_val)

    async def _dispose(
        self, verdict: Verdict, stage: str, deliveries: int, exc_val: Exception
    ) -> NoReturn:
        """Raise what FastStream turns into the verdict's nak or term."""
        assert isinstance(self.msg, Msg)  # noqa: S101  (FastStream types it as Any)
        if verdict is Verdict.LEAVE:
            log.warning("MessageLeft", stage=stage, reason=str(exc_val))
            raise SkipMessage from exc_val
        if verdict is Verdict.SOON:
            raise NackMessage(delay=_wait(SOON_S, deliveries)) from exc_val
        if verdict is Verdict.IN_TURN:
            raise NackMessage(delay=_wait(IN_TURN_S, deliveries)) from exc_val
        limited = verdict is Verdict.LIMITED
        tries = await self._of.attempts.failed(self.msg) if limited else deliveries
        exhausted = limited and tries >= self._of.limits.max_deliver
        if verdict is Verdict.DEAD or exhausted:
            await self._dead_letter(stage, deliveries, exc_val)
            raise RejectMessage from exc_val
        hurried = limited and stage in ONE_AT_A_TIME
        delay_s = _wait(SOON_S if hurried else self._of.limits.backoff_s, tries)
        log.warning(
            "MessagePostponed",
            stage=stage,
            subject=self.msg.subject,
            deliveries=deliveries,
            delay_s=delay_s,
            error=f"{type(exc_val).__name__}: {exc_val}",
            exc_info=exc_val if limited else None,
        )
        raise NackMessage(delay=delay_s) from exc_val

    async def _dead_letter(self, stage: str, deliveries: int, error: Exception) -> None:
        """Store a copy of the message with its reason; only then may it be terminated."""
        assert isinstance(self.msg, Msg)  # noqa: S101  (FastStream types it as Any)
        message = self.msg
        original, broker = original_of(message), self.context.get("broker")
        reason = reason_of(error)
        try:
            last_resort = self._of.last_resorts.get(stage)
            if last_resort is not None:
                await last_resort(message, reason)
            body, headers = letter_of(message, stage, deliveries, error, broker.client.max_payload)
            await broker.jetstream.publish(
                dead_letters(stage),
                body,
                stream=DEAD_STREAM,
                timeout=DEAD_LETTER_TIMEOUT_S,
                headers=headers,
            )
        except Exception as failure:  # noqa: BLE001  (whatever failed, the message must come again)
            log.warning("DeadLetterPostponed", stage=stage, error=repr(failure))
            raise NackMessage(delay=self._of.limits.backoff_s[-1]) from error
        await self._of.attempts.forget(message)
        self._of.metrics.dead_lettered(stage)
        log.error(
            "MessageDeadLettered",
            stage=stage,
            letter=letter_id(headers[MESSAGE_ID]),
            stack=headers[STACK],
            subject=original.subject,
            deliveries=deliveries,
            reason=reason,
            exc_info=error,
        )


def _named(message: Msg) -> dict[str, str]:
    """The session that a message is about, for log lines: from its subject, else its body."""
    subject = original_of(message).subject
    if subject in set(Command) or not subject.startswith("session."):
        return {"session_id": session_id_in(message.data)}
    return {"session_id": session_of(subject)}


def _wait(waits_s: Sequence[float], deliveries: int) -> float:
    return waits_s[min(deliveries, len(waits_s)) - 1]
