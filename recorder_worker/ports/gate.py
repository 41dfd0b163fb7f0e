"""Who may ask what of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from recorder_worker.core.access.identity import NOBODY, Identity


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as it matters to whom it is answered.

    Attributes:
        action: `list`, `get`, `proof`, `stats`, `retry` or `drop`.
        session_id: the session; empty: the request is about all, or none.
        owner: whose session it is; empty where nobody is named.
        detail: what of it: the chunk, the filter.
        headers: of the request, where a token would be.
    """

    action: str
    session_id: str = ""
    owner: str = ""
    detail: str = ""
    headers: Mapping[str, str]


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what he may be told: sessions of one owner only, or (None) all."""

    only_owner: str | None = None
    identity: Identity = NOBODY


class RequestGate(Protocol):
    """Asked before anything is told."""

    async def admit(self, asked: Asked) -> Admission:
        """Let a request in, and have it on record.

        Raises:
            RefusedError: it may not ask this; that is on record as well.
            BusUnavailableError: it cannot be put on record, so it is not let in.
        """
        ...
