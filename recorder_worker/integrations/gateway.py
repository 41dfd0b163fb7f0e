"""The gateway: answers list, get, proof and stats about sessions, as a NATS service.

It reads the table of sessions and the store, and writes nothing but the audit of what it told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from recorder_worker import __version__
from recorder_worker.bus.micro_service import MicroService, Served
from recorder_worker.core import keys
from recorder_worker.core.errors import RefusedError, RequestRefusedError
from recorder_worker.core.events import Totals
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_file import ProofFile, encode_proof
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf
from recorder_worker.core.gateway_messages import (
    REQUEST_TYPES,
    GetRequest,
    ListAnswer,
    ListRequest,
    ProofRequest,
    StageBacklog,
    StatsAnswer,
    StatsRequest,
    StreamUse,
)
from recorder_worker.core.session_entry import SessionEntry
from recorder_worker.core.subjects import SERVICE, Endpoint
from recorder_worker.ports import Asked, BlobStore, EntryTable, RequestGate
from recorder_worker.stages.stored_recording import StoredRecording

DESCRIPTION = "Lists sessions, shows and proves them, and says how the recorder is."

MOST_RECORD_BYTES = 4 * 1024 * 1024
"""Of a session that is proved here: most of a day, in at most fifty thousand records, which take
up to 2.5 seconds in a thread. A longer one is for `recorder proof`, in a process of its own."""

Headers = Mapping[str, str]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What `stats` tells besides sessions: who answers, what waits, how full the streams are."""

    software: str
    node: str
    backlogs: Callable[[], Awaitable[tuple[StageBacklog, ...]]]
    streams: Callable[[], Awaitable[tuple[StreamUse, ...]]]


class Gateway:
    """The answers to the endpoints' requests."""

    def __init__(
        self, table: EntryTable, store: BlobStore, gate: RequestGate, around: Surroundings
    ) -> None:
        self._table = table
        self._store = store
        self._gate = gate
        self._around = around

    def service(self, *more: Served) -> MicroService:
        """All endpoints, and more of others, to be put on a connection."""
        answers = {
            Endpoint.LIST: self.list,
            Endpoint.GET: self.get,
            Endpoint.PROOF: self.proof,
            Endpoint.STATS: self.stats,
        }
        served = tuple(
            Served(
                name=endpoint.name.lower(),
                subject=endpoint.value,
                request=REQUEST_TYPES[endpoint],
                answer=answer,  # type: ignore[arg-type]  # each takes the request of its endpoint
                metadata={
                    "request_schema": f"{endpoint.value}.request.json",
                    "answer_schema": f"{endpoint.value}.answer.json",
                },
            )
            for endpoint, answer in answers.items()
        )
        return MicroService(SERVICE, __version__, DESCRIPTION, (*served, *more))

    async def list(self, request: ListRequest, headers: Headers) -> bytes:
        """A page of sessions. Raises RefusedError, BusUnavailableError."""
        shown = {"state": request.state, "owner": request.owner}
        detail = " ".join(f"{name}={value}" for name, value in shown.items() if value is not None)
        admission = await self._gate.admit(Asked(action="list", detail=detail, headers=headers))
        owners = {owner for owner in (request.owner, admission.only_owner) if owner is not None}
        entries = [
            entry
            for entry in await self._table.all()
            if request.state in {None, entry.state} and owners <= {entry.owner}
        ]
        entries.sort(key=_place, reverse=True)
        rest = [entry for entry in entries if not request.before or _place(entry) < request.before]
        page = tuple(rest[: request.limit])
        more = len(rest) > len(page)
        return msgspec.json.encode(ListAnswer(sessions=page, next=_place(page[-1]) if more else ""))

    async def get(self, request: GetRequest, headers: Headers) -> bytes:
        """One session's entry. Raises RefusedError, BusUnavailableError."""
        return msgspec.json.encode(await self._admitted("get", request.session_id, "", headers))

    async def proof(self, request: ProofRequest, headers: Headers) -> bytes:
        """The file that `recorder proof` would write.

        Raises:
            RefusedError: not one thing is asked for, or the session has no such thing.
            RecorderError: the recording cannot be read, or is not whole.
        """
        wanted = {
            name: value
            for name in ("chunk", "leaf", "between")
            if (value := getattr(request, name)) is not None
        }
        if len(wanted) != 1:
            raise RequestRefusedError(
                400,
                field="chunk",
                expected="one of chunk, leaf and between",
                got=", ".join(wanted) or "none of them",
                hint='{"session_id":"…","chunk":7}: the number in the name of a chunk\'s file',
            )
        detail = " ".join(f"{name} {value}" for name, value in wanted.items())
        await self._admitted("proof", request.session_id, detail, headers)
        made = await asyncio.to_thread(self._prove, request)
        return encode_proof(made)

    async def stats(self, _request: StatsRequest, headers: Headers) -> bytes:
        """How the recorder is. Raises RefusedError, BusUnavailableError."""
        admission = await self._gate.admit(Asked(action="stats", headers=headers))
        entries = [
            entry
            for entry in await self._table.all()
            if admission.only_owner in {None, entry.owner}
        ]
        answer = StatsAnswer(
            software=self._around.software,
            node=self._around.node,
            states=dict(Counter(entry.state.value for entry in entries)),
            totals=_sum([entry.totals for entry in entries]),
            stages=await self._around.backlogs(),
            streams=await self._around.streams(),
        )
        return msgspec.json.encode(answer)

    async def _admitted(
        self, action: str, session_id: str, detail: str, headers: Headers
    ) -> SessionEntry:
        """A session that there is, and that whoever asks may be told of."""
        entry, _ = await self._table.get(session_id)
        asked = Asked(
            action=action,
            session_id=session_id,
            owner=entry.owner if entry else "",
            detail=detail,
            headers=headers,
        )
        admission = await self._gate.admit(asked)
        if entry is None or admission.only_owner not in {None, entry.owner}:
            raise _no_session(session_id)
        return entry

    def _prove(self, request: ProofRequest) -> ProofFile:
        recording = StoredRecording(self._store, request.session_id)
        seal = self._store.size(keys.blob_key(request.session_id, keys.SEAL))
        size = self._store.size(keys.blob_key(request.session_id, keys.RECORDS))
        if seal is None or size is None:
            raise RequestRefusedError(
                409,
                field="session_id",
                expected="a session that is sealed",
                got=f"{request.session_id}, which is not",
                hint="wait for session.sealed, or run `recorder proof` on its folder",
            )
        if size > MOST_RECORD_BYTES:
            raise RequestRefusedError(
                413,
                field="session_id",
                expected=f"a session with at most {MOST_RECORD_BYTES} bytes of records",
                got=f"{request.session_id} with {size}",
                hint="run `recorder proof` on its folder",
            )
        try:
            made = _made(recording, request)
        except RefusedError as error:
            refusal = msgspec.structs.asdict(error.refusal)
            raise RequestRefusedError(
                400, **refusal | {"field": error.refusal.field.removeprefix("--")}
            ) from error
        check_proof(made)  # a recording that is not whole gives no proof that is
        return made


def _made(recording: StoredRecording, request: ProofRequest) -> ProofFile:
    if request.between is not None:
        return prove_consistency(recording, *request.between)
    if request.chunk is not None:
        return prove_leaf(recording, request.chunk, chunk=True)
    return prove_leaf(recording, request.leaf or 0)


def _place(entry: SessionEntry) -> str:
    """Where a session stands in a list: by the time of its start, then by its id."""
    return f"{entry.started_wall_ns:019d}/{entry.session_id}"


def _no_session(session_id: str) -> RequestRefusedError:
    return RequestRefusedError(
        404,
        field="session_id",
        expected="a session that is known here",
        got=session_id,
        hint="`list` names them",
    )


def _sum(totals: list[Totals]) -> Totals:
    names = Totals.__struct_fields__
    return Totals(**{name: sum(getattr(one, name) for one in totals) for name in names})
