"""What may be read of what another version of the recorder wrote: the same and older, never newer.

A newer one may mean something else by a field that this program knows, or by one that it would not
even see. So its number is looked at before anything else is believed.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.errors import NewerVersionError
from recorder_worker.core.model import SCHEMA_VERSION


class _Versioned(msgspec.Struct):
    """The one field that every version has."""

    v: int = SCHEMA_VERSION


_DECODER = msgspec.json.Decoder(_Versioned)


def check_version(version: int, what: str) -> None:
    """Raises NewerVersionError where this program does not know what is meant."""
    if version > SCHEMA_VERSION:
        raise NewerVersionError(
            f"{what}: expected version {SCHEMA_VERSION} or older, found {version}; a newer "
            "recorder wrote it: update this program"
        )


def check_stored_version(data: bytes, what: str) -> None:
    """As `check_version`, of JSON that could not be read; what is no JSON has no version."""
    try:
        version = _DECODER.decode(data).v
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    check_version(version, what)
