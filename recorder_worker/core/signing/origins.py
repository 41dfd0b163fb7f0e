"""Who a checkpoint speaks for: the id of a recorder and the origin of a session's tree."""

from __future__ import annotations

import re

from blake3 import blake3

from recorder_worker.core.errors import FormatError

_RECORDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


def default_recorder(public_key: bytes) -> str:
    """The id of a recorder that was given none: made of the BLAKE3 digest of its public key."""
    return f"recorder-{blake3(public_key).hexdigest()[:16]}"


def check_recorder(recorder: str) -> str:
    """Give back a recorder id that may stand in an origin and as a key name (C2SP signed-note).

    Raises:
        FormatError: it has other characters, or too many.
    """
    if not _RECORDER.fullmatch(recorder):
        raise FormatError(
            f"recorder id: expected 1 to 128 of A-Z a-z 0-9 . _ / - beginning with a letter or a "
            f"digit, got {recorder!r}; set another `merkle.recorder`"
        )
    return recorder


def session_origin(recorder: str, session_id: str) -> str:
    """The origin line of a session's checkpoints. Raises FormatError."""
    return f"{check_recorder(recorder)}/s/{session_id}/blake3"


def log_origin(recorder: str) -> str:
    """The origin line, and name of the key, of a recorder's log of sessions. Raises FormatError."""
    return f"{check_recorder(recorder)}/log"
