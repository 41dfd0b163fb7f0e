"""One entry of the list of revoked tokens: its key and its value."""

from __future__ import annotations

import string
from typing import Annotated

import msgspec
from msgspec import Meta

from recorder_worker.core.model import Nanoseconds, Wire

_PLAIN = frozenset(string.ascii_letters + string.digits + "-_")


class Revocation(Wire, frozen=True, kw_only=True):
    """Why a token, or every token of a subject, does not count, and for commands until when.

    Attributes:
        reason: for those who look; he who is refused is told it too.
        until_ns: commands that were stored from then on are allowed again; 0: never.
        revoked_ns: when it was entered.
    """

    reason: Annotated[str, Meta(max_length=1024)] = ""
    until_ns: Nanoseconds = 0
    revoked_ns: Nanoseconds = 0

    def counts_at(self, received_ns: int) -> bool:
        """Whether a command that was stored then is refused."""
        return self.until_ns == 0 or received_ns < self.until_ns


_DECODER = msgspec.json.Decoder(Revocation)

UNREADABLE = Revocation(reason="the entry of the revocation list cannot be read")
"""What cannot be read revokes: an entry was made, and to let it pass would open the gate."""


def key_of_token(token_id: str) -> str:
    """The key under which a token is listed: its `jti`."""
    return _spelt(token_id)


def key_of_subject(subject: str) -> str:
    """The key under which all tokens of a subject are listed."""
    return f"sub.{_spelt(subject)}"


def revocation_in(data: bytes) -> Revocation:
    """The entry of a stored value, whatever that is."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNREADABLE


def _spelt(text: str) -> str:
    """A text in the characters that keys may have, as quoted-printable does it: `@` is `=40`.

    A point is spelt out as well, so that no token id looks like the key of a subject.
    """
    return "".join(
        character if character in _PLAIN else "".join(f"={byte:02X}" for byte in character.encode())
        for character in text
    )
