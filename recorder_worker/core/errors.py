"""Every error of the recorder, in one tree.

Two branches decide what happens to the message that was being handled: a `TransientError` is
tried again later, a `PermanentError` is dead-lettered. Everything else is a defect and is
treated as transient until its deliveries are used up.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.model import GapReason


class RecorderError(Exception):
    """Base of every error that the recorder raises on purpose."""


class TransientError(RecorderError):
    """It may work later: ask for the message again."""


class PermanentError(RecorderError):
    """It will never work: dead-letter the message, with this text as its reason."""


class BusUnavailableError(TransientError):
    """NATS did not answer in time."""


class StreamFullError(BusUnavailableError):
    """An events stream has reached its limit and refuses what is new, until it has room again."""


class KeysUnreadableError(TransientError):
    """The keys that check tokens cannot be read: commands wait, for nobody knows who sends them."""


class NewerVersionError(TransientError):
    """A newer recorder wrote this: it waits for a worker that knows it, and is never half read."""


class OutOfOrderError(TransientError):
    """An earlier event of this session has not been applied yet."""


class FencedError(TransientError):
    """Someone else has written to this session's subject since we read it: our view is stale."""


class LeaseLostError(RecorderError):
    """Another worker holds this session now.

    The message is let go without a word, because a nak would disturb the holder's delivery.
    """


class LeaseReleasedError(TransientError):
    """This worker shuts down and gives its session to another."""


class NoRoomError(TransientError):
    """There is no room here for a new session: another worker may have some, or there is soon."""


class StoreError(TransientError):
    """The blob store failed: an I/O error, a missing permission, a read-only mount."""


class StoreFullError(StoreError):
    """The blob store has no room left."""


class BlobUnreadableError(StoreError):
    """A blob is there and cannot be read: a bad disk block seldom heals, so tries are limited."""


class SecondStoreError(StoreError):
    """The store that recordings are copied to failed: the copy waits, and nothing else does."""


class CopyDamagedError(SecondStoreError):
    """The second store did not hold what it was given: it was written over, and is looked at."""


class WorkerDiedError(PermanentError):
    """Workers died with this message in their hands, one after the other: nobody takes it again."""


class EventsMissingError(PermanentError):
    """The stream does not have all events of a session any more."""


class BlobMissingError(PermanentError):
    """A blob that an event names is not in the store."""


class BlobDamagedError(PermanentError):
    """A stored blob does not have the digest or length that its event names."""


class ImmutableConflictError(PermanentError):
    """A key that must never change already holds other bytes."""


class KeyErasedError(PermanentError):
    """A private key that was asked to sign is erased, as it should be."""


class SessionKeyMissingError(PermanentError):
    """The key that a session's segments and chunks are encrypted with is not there."""


class SourceError(PermanentError):
    """A source cannot be opened or read: what was expected, what was found, what to do."""


class SourceLostError(SourceError):
    """A source that was delivering frames has gone away."""


class UnitsMissingError(SourceError):
    """So many units of a source are missing here, of which it knows; it goes on behind them.

    `t_ns`, on the source's own clock, is where those behind them begin.
    """

    def __init__(self, unit_count: int, t_ns: int, reason: GapReason, message: str) -> None:
        self.unit_count = unit_count
        self.t_ns = t_ns
        self.reason = reason
        super().__init__(message)


class SourceForbiddenError(SourceError):
    """The operator's rules do not allow this source; `field` is what of the start is refused."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class FormatError(PermanentError):
    """Stored bytes are not of the documented format (docs/format.md)."""


class UnsupportedError(FormatError):
    """The bytes are of a format version, codec or cipher that this program does not know."""


class SettingsError(RecorderError):
    """A setting is wrong: names the key, the value, what is allowed and where it came from."""


class TopologyError(RecorderError):
    """A stream or consumer cannot be brought to its declared shape."""


class IncidentError(PermanentError):
    """The record on disk contradicts what was signed: nothing more may be signed."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a command was refused: the field, what was expected, what came, and what to do."""

    field: str
    expected: str
    got: str
    hint: str


class RefusedError(RecorderError):
    """A command is refused; answered with `session.rejected.<id>` and then acknowledged."""

    def __init__(self, *, field: str, expected: str, got: str, hint: str) -> None:
        self.refusal = Refusal(field=field, expected=expected, got=got, hint=hint)
        super().__init__(f"{field}: expected {expected}, got {got}; {hint}")


class UndecodableError(RefusedError):
    """A packet is refused that is none by itself: one that it builds on is missing."""


class RequestRefusedError(RefusedError):
    """A request to the gateway is refused; answered as a service error with `code`."""

    def __init__(self, code: int, *, field: str, expected: str, got: str, hint: str) -> None:
        self.code = code
        super().__init__(field=field, expected=expected, got=got, hint=hint)
