"""From the claims of a token whose signature holds to who asks, at the time when he asked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from recorder_worker.core.access.identity import NOBODY, ROLES, Identity, Role
from recorder_worker.core.access.rules import refusal
from recorder_worker.core.errors import RefusedError

SECOND_NS = 1_000_000_000
NAME_CHARACTERS = 256
ASK = "ask its issuer for another token"


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about claims."""

    role_claim: str
    skew_ns: int


def identity_of(claims: Mapping[str, object], rules: ClaimRules) -> Identity:
    """Who the token names. Raises RefusedError where it does not say so."""
    return Identity(
        actor=_name(claims, "sub", required=True),
        role=_role(claims.get(rules.role_claim), rules.role_claim),
        token_id=_name(claims, "jti", required=False),
    )


def identity_or_nobody(claims: Mapping[str, object], rules: ClaimRules) -> Identity:
    """As `identity_of`; nobody where the token does not say so."""
    try:
        return identity_of(claims, rules)
    except RefusedError:
        return NOBODY


def check_times(claims: Mapping[str, object], rules: ClaimRules, received_ns: int) -> None:
    """Whether the token was valid when the command was stored, give or take the clock skew.

    Not when it is looked at: a start may wait for a worker for longer than its token lasts.

    Raises:
        RefusedError: it had run out, or was not valid yet, or does not say when it runs out.
    """
    ends_ns = _time_ns(claims, "exp")
    if ends_ns is None:
        raise refusal(expected="a token that runs out (exp)", got="one that never does", hint=ASK)
    if received_ns >= ends_ns + rules.skew_ns:
        raise refusal(
            expected="a token that was valid when the command was sent",
            got=f"one that had run out {_seconds(received_ns - ends_ns)} before",
            hint=f"{ASK}, or set the clocks",
        )
    for name in ("nbf", "iat"):
        begins_ns = _time_ns(claims, name)
        if begins_ns is not None and received_ns < begins_ns - rules.skew_ns:
            raise refusal(
                expected="a token that was valid when the command was sent",
                got=f"one whose {name} was {_seconds(begins_ns - received_ns)} ahead",
                hint="wait, or set the clocks",
            )


def _name(claims: Mapping[str, object], claim: str, *, required: bool) -> str:
    value = claims.get(claim)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value) or len(value) > NAME_CHARACTERS:
        raise refusal(
            expected=f"a token whose {claim} is text of at most {NAME_CHARACTERS} characters",
            got="none" if value in (None, "") else "something else",
            hint=ASK,
        )
    if not value.isprintable():
        raise refusal(
            expected=f"a token whose {claim} can be printed", got="control characters", hint=ASK
        )
    return value


def _role(value: object, claim: str) -> Role:
    """The most powerful of the roles that a claim names, as text or as a list of texts."""
    named = value if isinstance(value, list) else [value]
    known = [role for role in ROLES if role in named]
    if not known:
        raise refusal(
            expected=f"a token whose {claim} is one of {', '.join(ROLES)}",
            got="none of them",
            hint=f"{ASK}; the name of the claim is auth.role_claim",
        )
    return known[-1]


def _time_ns(claims: Mapping[str, object], claim: str) -> int | None:
    """A NumericDate (RFC 7519 section 2) in nanoseconds; None where there is none."""
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise refusal(expected=f"a token whose {claim} is a time", got="something else", hint=ASK)
    return int(value * SECOND_NS)


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:.0f} s"
