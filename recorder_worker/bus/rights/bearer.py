"""The header that carries a command's token: `Authorization: Bearer …` (RFC 6750 section 2.1)."""

from __future__ import annotations

from collections.abc import Mapping

from recorder_worker.core.access.rules import refusal

AUTHORIZATION = "Authorization"
_SCHEME = "bearer"


def bearer_in(headers: Mapping[str, str] | None) -> str:
    """The token in a message's headers; empty where there is none, or another scheme.

    Names of headers and schemes are compared without case, as HTTP does.
    """
    for name, value in (headers or {}).items():
        if name.lower() == AUTHORIZATION.lower():
            scheme, _, token = value.strip().partition(" ")
            if scheme.lower() == _SCHEME:
                return token.strip()
    return ""


def bearer_header(token: str) -> dict[str, str]:
    """The header for a token; none where there is no token.

    Raises:
        RefusedError: what was given cannot stand in a header, and so is no token.
    """
    if not token.isascii() or not token.isprintable() or " " in token:
        raise refusal(
            expected="a token: one word of letters, digits, points, - and _",
            got="other characters",
            hint="check the file or variable that it was taken from",
        )
    return {AUTHORIZATION: f"Bearer {token}"} if token else {}
