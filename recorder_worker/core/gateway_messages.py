"""What the gateway is asked and what it answers, as it stands on the wire.

Requests are plain JSON that a person can type after `nats req`; an empty message is an empty
request. An unknown field is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from recorder_worker.core.events import DeadLetterSettled, Totals
from recorder_worker.core.evidence.proof_file import ProofFile
from recorder_worker.core.lifecycle import State
from recorder_worker.core.model import Count, SessionId, Wire
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import Endpoint

MOST_LISTED = 500


class ListRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions, the one that was started last in front.

    Attributes:
        state: only those in this state.
        owner: only those of this owner.
        limit: at most so many.
        before: only those behind this one in the list: `next` of the answer before.
    """

    state: State | None = None
    owner: Annotated[str, Meta(max_length=256)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 100
    before: Annotated[str, Meta(max_length=64)] = ""


class ListAnswer(Wire, frozen=True, kw_only=True):
    """A page of sessions. `next` is `before` of the next request; empty: it was the last page."""

    sessions: tuple[SessionEntry, ...]
    next: str = ""


class GetRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One session."""

    session_id: SessionId


class ProofRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The proof of one thing of a sealed session: exactly one of the three.

    Attributes:
        chunk: the number of a chunk: that of its file.
        leaf: the index of any record.
        between: two sizes of checkpoints: that the second only adds to the first.
    """

    session_id: SessionId
    chunk: Count | None = None
    leaf: Count | None = None
    between: tuple[Count, Count] | None = None


class StatsRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the recorder is."""


class StageBacklog(Wire, frozen=True, kw_only=True):
    """Messages of a stage that wait, and that are being handled, over all workers."""

    stage: str
    pending: Count
    ack_pending: Count


class StreamUse(Wire, frozen=True, kw_only=True):
    """How much a stream holds, and may hold; the latter is not positive where nothing limits it."""

    stream: str
    stored_bytes: Count
    max_bytes: int


class StatsAnswer(Wire, frozen=True, kw_only=True):
    """How the recorder is.

    `states` is how many sessions stand where; `totals` is over all of them. `node` answered.
    """

    software: str
    node: str
    states: dict[str, Count]
    totals: Totals
    stages: tuple[StageBacklog, ...]
    streams: tuple[StreamUse, ...]


Letter = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{16}$", max_length=16, description="The id of a dead letter."),
]


class RetryRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dead letter is to be tried again by its stage: once, and where that can help.

    Attributes:
        letter: which.
        by: who asks; where tokens are asked for, the subject of the token, or nothing.
        why: what was done about its cause.
    """

    letter: Letter
    by: Annotated[str, Meta(max_length=256)] = ""
    why: Annotated[str, Meta(max_length=1024)] = ""


class DropRequest(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing more is to be done about a dead letter. It stays until it is too old.

    Attributes:
        letter: which.
        by: who asks; where tokens are asked for, the subject of the token, or nothing.
        why: why nothing is to be done.
    """

    letter: Letter
    by: Annotated[str, Meta(max_length=256)] = ""
    why: Annotated[str, Meta(min_length=1, max_length=1024)]


class SettledAnswer(Wire, frozen=True, kw_only=True):
    """What became of a dead letter. `first` is false where that was so before."""

    settled: DeadLetterSettled
    first: bool


class GatewayError(Wire, frozen=True, kw_only=True):
    """The body of a service error: the field, what was expected, what came, and what to do."""

    code: Literal[400, 403, 404, 409, 413, 500, 503]
    field: str
    expected: str
    got: str
    hint: str


REQUEST_TYPES: dict[Endpoint, Any] = {
    Endpoint.LIST: ListRequest,
    Endpoint.GET: GetRequest,
    Endpoint.PROOF: ProofRequest,
    Endpoint.STATS: StatsRequest,
    Endpoint.RETRY: RetryRequest,
    Endpoint.DROP: DropRequest,
}
ANSWER_TYPES: dict[Endpoint, Any] = {
    Endpoint.LIST: ListAnswer,
    Endpoint.GET: SessionEntry,
    Endpoint.PROOF: ProofFile,
    Endpoint.STATS: StatsAnswer,
    Endpoint.RETRY: SettledAnswer,
    Endpoint.DROP: SettledAnswer,
}
