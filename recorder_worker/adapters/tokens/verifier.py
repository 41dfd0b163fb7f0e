"""Checks the signature of a token, and for whom and by whom it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt import exceptions

from recorder_worker.adapters.tokens.keyring import BadKeysError, VerificationKey, keys_in
from recorder_worker.core.access.rules import refusal
from recorder_worker.core.errors import KeysUnreadableError
from recorder_worker.ports import JwksSource

MAX_TOKEN_BYTES = 8192

_OPTIONS: Any = {
    # Times are held against the time at which the command was stored (core/access/token_claims.py).
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "require": ["exp", "sub"],
    "enforce_minimum_key_length": True,
}

_WORDS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        exceptions.InvalidSignatureError,
        "a signature by a key that this recorder trusts",
        "another signature",
    ),
    (exceptions.InvalidAlgorithmError, "the algorithm of the key", "another one"),
    (exceptions.InvalidAudienceError, "a token for this recorder (aud)", "one for another"),
    (exceptions.InvalidIssuerError, "a token of the issuer that is trusted (iss)", "another's"),
    (exceptions.MissingRequiredClaimError, "a token with exp and sub, and aud and iss", "a lack"),
    (Exception, "a JSON Web Token", "something else"),
)
"""First match wins. Nothing of the token stands in a refusal, which everybody may read."""

HINT = "take a new token from whoever issues them; recorder token inspect says what is wrong"


class JwtVerifier:
    """`TokenVerifier` with keys that are fixed, and keys that are looked up at every token.

    Args:
        fixed: keys from the settings.
        sources: where JWK Sets are; a key that is taken out there counts no more.
        audience: who must be among those that a token is for; empty: it must name nobody.
        issuer: who must have made a token; empty: anybody with the key.
    """

    def __init__(
        self,
        fixed: Sequence[VerificationKey],
        sources: Sequence[JwksSource],
        *,
        audience: str = "",
        issuer: str = "",
    ) -> None:
        self._fixed = tuple(fixed)
        self._sources = tuple(sources)
        self._audience = audience or None
        self._issuer = issuer or None
        self._parsed: dict[JwksSource, tuple[bytes, tuple[VerificationKey, ...]]] = {}

    async def claims(self, token: str) -> Mapping[str, object]:
        """What a token says, once signature, issuer and audience hold.

        Raises:
            RefusedError: there is none, or it is no token of ours.
            TransientError: the keys cannot be read at this moment.
        """
        if not token:
            raise refusal(
                expected="a token, in the header Authorization: Bearer …",
                got="none",
                hint="send one with the command; for recorder, set auth.bearer or --token-file",
            )
        if len(token) > MAX_TOKEN_BYTES:
            raise refusal(
                expected=f"a token of at most {MAX_TOKEN_BYTES} bytes",
                got=f"{len(token)} bytes",
                hint=HINT,
            )
        keys = await self.keys()
        try:
            key = _key_for(jwt.get_unverified_header(token), keys)
            claims: dict[str, object] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=_OPTIONS,
            )
        except (exceptions.PyJWTError, ValueError, TypeError) as error:
            _, expected, got = next(words for words in _WORDS if isinstance(error, words[0]))
            raise refusal(expected=expected, got=got, hint=HINT) from error
        return claims

    async def keys(self) -> tuple[VerificationKey, ...]:
        """All keys as they are now. Raises TransientError where they cannot be read."""
        found = list(self._fixed)
        for source in self._sources:
            data = await source.read()
            known = self._parsed.get(source)
            if known is None or known[0] != data:
                try:
                    known = self._parsed[source] = (data, keys_in(data))
                except BadKeysError as error:
                    raise KeysUnreadableError(f"{source}: {error}; correct it there") from error
            found += known[1]
        return tuple(found)


def _key_for(header: Mapping[str, object], keys: Sequence[VerificationKey]) -> VerificationKey:
    """The one key that a token is to be checked with; its algorithm is the key's, not the token's.

    A token without `kid` is for the only key of its algorithm.
    """
    kid, algorithm = header.get("kid", ""), header.get("alg")
    named = [key for key in keys if key.kid == kid] if kid else list(keys)
    if kid and not named:
        raise refusal(
            expected="a key that this recorder trusts (kid)", got="the id of another", hint=HINT
        )
    fitting = [key for key in named if key.algorithm == algorithm]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise refusal(expected="a token that names its key (kid)", got="none", hint=HINT)
    raise refusal(
        expected=f"the algorithm of a key: {', '.join(sorted({key.algorithm for key in named}))}",
        got="another one",
        hint=HINT,
    )
