"""NATS Object Store as its clients keep it, with what nats-py's own calls lack.

An object is pieces on `$O.<bucket>.C.<nuid>` and one message about it, which replaces the one
before, on `$O.<bucket>.M.<name in base64>`. It exists once that message is stored: whatever died
before has left pieces that nobody reads. nats-py always replaces what is there, cannot read from an
offset, and needs the right to make consumers; here that message is fenced, and pieces are read by
direct gets. `nats object ls` and `nats object get` read what is written here.

A direct get may be answered by a server that has not heard yet of what was stored a moment ago. So
that there is no object, or no other one, is believed of the stream's leader alone, who answers what
is asked of the state of a stream: else what is to go would be left, and called gone.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError, NotFoundError

from recorder_worker.bus.event_log import FENCE, PUBLISH_TIMEOUT_S, WRONG_LAST_SEQUENCE
from recorder_worker.bus.sessions.batched_get import read_batch
from recorder_worker.bus.streams.topology import object_stream
from recorder_worker.core.errors import StoreError

PIECE_BYTES = 131_072
"""As other clients cut them."""
BATCH = 32
STALE_TRIES = 10
STALE_S = 0.1
HEADERS_BYTES = 1024
"""Room in a message for what is not the piece."""
ROLLUP = {"Nats-Rollup": "sub"}
_DIGEST = "SHA-256="


class ObjectOptions(msgspec.Struct, frozen=True):
    """How an object is cut."""

    max_chunk_size: int = PIECE_BYTES


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The message about an object, in the form of NATS clients. `size` is in bytes."""

    name: str
    bucket: str
    nuid: str
    size: int = 0
    chunks: int = 0
    digest: str = ""
    deleted: bool = False
    options: ObjectOptions = ObjectOptions()

    @property
    def sha256(self) -> str:
        """What its writer says of its bytes, in hexadecimal."""
        text = self.digest.partition("=")[2]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()


_OBJECT_INFO = msgspec.json.Decoder(ObjectInfo)
_NUID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST_LENGTHS = (0, 64)
NOBODY = "-"
"""No writer has this id: there are no pieces under it."""


class Found(msgspec.Struct, frozen=True):
    """An object, None where there is none, and the sequence of the newest message about it.

    There is such a message also of an object that another client has deleted; 0: there is none.
    """

    info: ObjectInfo | None
    sequence: int


def digest_text(sha256: bytes) -> str:
    """A digest as NATS clients write it."""
    return _DIGEST + base64.urlsafe_b64encode(sha256).decode()


class ObjectBucket:
    """One bucket; every call is one or a few round trips. Raises what nats-py raises."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream = object_stream(name)

    async def find(self, js: JetStreamContext, name: str) -> Found:
        """What a name leads to, by one read: a second one might see another writer's message."""
        message = await self._newest(js, self._about(name))
        if message is None:
            return Found(None, 0)
        lost = ObjectInfo(name=name, bucket=self.name, nuid=NOBODY, chunks=1)
        info = self._read(message) or lost
        return Found(None if info.deleted else info, message.seq or 0)

    async def _newest(self, js: JetStreamContext, about: str) -> RawStreamMsg | None:
        """The newest message about an object; None where the leader has none either.

        Raises:
            StoreError: the leader has one, and whoever answers direct gets does not hear of it.
        """
        for _ in range(STALE_TRIES):
            try:
                return await js.get_last_msg(self.stream, about, direct=True)
            except NotFoundError:
                if not await self._subjects(js, about):  # which raises where there is no bucket
                    return None
            await asyncio.sleep(STALE_S)
        raise StoreError(
            f"bucket {self.name}: expected what its leader has on {about}, and no other server of "
            "it has heard of that; see nats server report jetstream"
        )

    async def _subjects(self, js: JetStreamContext, subject: str) -> set[str]:
        """What the leader has messages on; it tells so many at once (100,000)."""
        found: set[str] = set()
        while True:
            answer = await js._api_request(  # noqa: SLF001  (nats-py asks for the first ones alone)
                f"{js._prefix}.STREAM.INFO.{self.stream}",  # noqa: SLF001  (as above)
                json.dumps({"subjects_filter": subject, "offset": len(found)}).encode(),
                timeout=js._timeout,  # noqa: SLF001  (as above)
            )
            page = answer["state"].get("subjects") or {}
            found |= page.keys()
            if not page or len(found) >= answer.get("total", 0):
                return found

    def _read(self, message: RawStreamMsg) -> ObjectInfo | None:
        """What a message says of the object that its subject names; None where that is nothing.

        Who may write to the bucket may write anything: that one object is another, or that its
        pieces are all there are (`*`), which would go with it.
        """
        try:
            info = _OBJECT_INFO.decode(message.data or b"")
            known = (message.subject, len(info.sha256)) in {
                (self._about(info.name), length) for length in _DIGEST_LENGTHS
            }
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return info if known and _NUID.fullmatch(info.nuid) else None

    async def names(self, js: JetStreamContext) -> list[str]:
        """The names of all objects."""
        return [info.name for info in await self._infos(js)]

    async def _infos(self, js: JetStreamContext) -> list[ObjectInfo]:
        subject = f"$O.{self.name}.M.*"
        found: dict[str, ObjectInfo | None] = {}
        after, seen = 0, -1
        while after != seen:
            seen = after
            async for message in read_batch(js, self.stream, after + 1, subject):
                after = message.seq or 0
                found[message.subject or ""] = self._read(message)
        for about in await self._subjects(js, subject) - found.keys():
            late = await self._newest(js, about)
            found[about] = None if late is None else self._read(late)
        return [info for info in found.values() if info is not None and not info.deleted]

    async def put_pieces(self, js: JetStreamContext, nuid: str, data: bytes) -> int:
        """Store bytes in pieces that the server takes; gives how many they are."""
        most = js._nc.max_payload - HEADERS_BYTES  # noqa: SLF001  (nats-py's own calls go through it)
        size = max(1, min(PIECE_BYTES, most))
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            await js.publish(
                self._pieces(nuid), piece, stream=self.stream, timeout=PUBLISH_TIMEOUT_S
            )
        return -(-len(data) // size)

    async def appear(self, js: JetStreamContext, info: ObjectInfo, *, after: int | None) -> bool:
        """Store the message about an object; False where its name is taken meanwhile.

        `after` is the sequence of the message about it that is there, 0: none; None: whichever.
        """
        headers = ROLLUP if after is None else ROLLUP | {FENCE: str(after)}
        data = msgspec.json.encode(info)
        subject = self._about(info.name)
        try:
            await js.publish(
                subject, data, stream=self.stream, headers=headers, timeout=PUBLISH_TIMEOUT_S
            )
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True

    async def pieces(
        self, js: JetStreamContext, nuid: str, sequence: int
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Some pieces from a sequence of the stream on, each with its own; none: no more."""
        async for message in read_batch(js, self.stream, sequence, self._pieces(nuid), BATCH):
            yield message.seq or 0, message.data or b""

    async def leftovers(self, js: JetStreamContext, older_than_s: float) -> list[str]:
        """The ids of pieces that no object names, and that no writer is at any more, by their age.

        Names are read behind pieces: an object that appears meanwhile is none of them.
        """
        pieces = await self._subjects(js, f"$O.{self.name}.C.*")
        nuids = {subject.rpartition(".")[2] for subject in pieces}
        named = {about.nuid for about in await self._infos(js)}
        return [nuid for nuid in nuids - named if await self._age_s(js, nuid) > older_than_s]

    async def _age_s(self, js: JetStreamContext, nuid: str) -> float:
        """The time since its first piece; 0 where there is none any more."""
        async for piece in read_batch(js, self.stream, 1, self._pieces(nuid), 1):
            if piece.time is not None:
                return (datetime.now(UTC) - piece.time).total_seconds()
        return 0.0

    async def forget(self, js: JetStreamContext, nuid: str, name: str = "") -> None:
        """Remove the pieces, and before them, with a name, the message about them."""
        if name:
            await js.purge_stream(self.stream, subject=self._about(name))
        await js.purge_stream(self.stream, subject=self._pieces(nuid))

    async def free_bytes(self, js: JetStreamContext) -> int | None:
        """Room that is left; None where there is no limit."""
        info = await js.stream_info(self.stream)
        most = info.config.max_bytes or -1
        return max(0, most - info.state.bytes) if most > 0 else None

    def _about(self, name: str) -> str:
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def _pieces(self, nuid: str) -> str:
        return f"$O.{self.name}.C.{nuid}"
