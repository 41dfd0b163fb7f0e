"""Statements of retention as tests make them: signed one behind the other by the device's key."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recordings import RECORDER, SESSION, Recording, device_key

from recorder_worker.core import keys
from recorder_worker.core.retention.sayings import Deletion, Hold, Release, Rule, Saying
from recorder_worker.core.retention.statement import (
    FIRST,
    SignedStatement,
    Statement,
    parse_statement,
    sign_statement,
)

KEY = device_key()
PUBLIC = KEY.public_key().public_bytes_raw()
HOLD = Hold(name="court", by="kim", reason="asked", command_id="c", wall_ns=1)
RELEASE = Release(name="court", by="kim", reason="over", command_id="d", wall_ns=2)


def deletion(recording: Recording | None = None, **fields: Any) -> Deletion:  # noqa: ANN401  (its fields)
    totals = recording.state.totals if recording else None
    known: dict[str, Any] = {
        "by": "kim",
        "reason": "the visitor asked",
        "rule": Rule.COMMAND,
        "limit": 0,
        "command_id": "e",
        "begun_ns": 3,
        "tree_size": recording.state.size if recording else 9,
        "root_hash": recording.state.frontier.root().hex() if recording else "ab" * 32,
        "chunk_count": totals.chunk_count if totals else 2,
        "chunk_bytes": totals.stored_bytes if totals else 100,
        "key_removed": False,
    }
    return Deletion(**known | fields)


def signed(
    *sayings: Saying, key: Ed25519PrivateKey = KEY, session_id: str = SESSION
) -> list[SignedStatement]:
    found: list[SignedStatement] = []
    for number, says in enumerate(sayings, 1):
        statement = Statement(
            recorder=RECORDER,
            session_id=session_id,
            number=number,
            previous=found[-1].sha256.hex() if found else FIRST,
            says=says,
        )
        data = sign_statement(statement, key.public_key().public_bytes_raw(), key.sign)
        found.append(parse_statement(data))
    return found


def files_of(statements: list[SignedStatement]) -> dict[str, bytes]:
    return {keys.statement(number): one.raw for number, one in enumerate(statements, 1)}
