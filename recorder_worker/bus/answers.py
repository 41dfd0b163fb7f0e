"""How a client knows the answer to its own command among the facts."""

from __future__ import annotations

from typing import Any

import msgspec

from recorder_worker.core.commands import StartSession, start_digest
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import Event, SessionRejected


def digest_of(body: dict[str, Any]) -> str:
    """What `session.started` will say of this start; empty where it will be refused anyway."""
    try:
        command = msgspec.convert(body, StartSession)
    except msgspec.ValidationError:
        return ""
    return start_digest(command, body["session_id"])


def refused(event: Event) -> RefusedError:
    """The refusal that a rejected event tells of."""
    assert isinstance(event, SessionRejected)  # noqa: S101  (callers asked for this fact)
    return RefusedError(field=event.field, expected=event.expected, got=event.got, hint=event.hint)
