"""A replica of a bucket that has not heard yet of what was stored a moment ago.

Of the servers of a cluster any may answer a direct get; whether one is behind is not for a test to
order. So it stands in front of a real server, and keeps the newest message about some objects back:
from direct gets, of one message or of many, and from nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from recorder_worker.bus.objects.store import ObjectStore
from recorder_worker.bus.sessions.batched_get import read_batch

T = TypeVar("T")


class LateReplica:
    """In front of a store's server; `gets` and `batches` are how often it does not know."""

    def __init__(self, store: ObjectStore, patch: pytest.MonkeyPatch) -> None:
        self.gets = self.batches = 0
        self.asked = 0
        self._call = store._thread.call
        patch.setattr(store._thread, "call", self._through)
        patch.setattr("recorder_worker.bus.objects.bucket.read_batch", self._some)

    def _through(self, work: Callable[[JetStreamContext], Coroutine[Any, Any, T]], doing: str) -> T:
        def asked(js: JetStreamContext) -> Coroutine[Any, Any, T]:
            js.get_last_msg = self._newest_of(js.get_last_msg)  # type: ignore[method-assign]
            return work(js)

        return self._call(asked, doing)

    def _newest_of(self, get: Callable[..., Coroutine[Any, Any, RawStreamMsg]]) -> Any:  # noqa: ANN401  (the method's place)
        async def get_last_msg(
            stream: str, subject: str, *, direct: bool | None = False
        ) -> RawStreamMsg:
            self.asked += 1
            if direct and self.gets:
                self.gets -= 1
                raise NotFoundError
            return await get(stream, subject, direct=direct)

        return get_last_msg

    async def _some(
        self, js: JetStreamContext, stream: str, sequence: int, subject: str, *batch: int
    ) -> AsyncIterator[RawStreamMsg]:
        if self.batches and ".M." in subject:
            self.batches -= 1
            return
        async for message in read_batch(js, stream, sequence, subject, *batch):
            yield message
