"""What authorisation needs of the world: keys that check tokens, and the list of revoked ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from recorder_worker.core.access.identity import Identity
from recorder_worker.core.access.revocation import Revocation


class TokenVerifier(Protocol):
    """Checks signatures of tokens."""

    async def claims(self, token: str) -> Mapping[str, object]:
        """What a token says, once its signature, issuer and audience hold; times are not looked at.

        Raises:
            RefusedError: it is no token of ours.
            TransientError: the keys cannot be read at this moment.
        """
        ...


class JwksSource(Protocol):
    """Where a JWK Set (RFC 7517) is kept; its text says where that is."""

    async def read(self) -> bytes:
        """The set as it is now. Raises TransientError."""
        ...


class Revocations(Protocol):
    """The list of tokens, and of subjects, that count no more."""

    async def find(self, identity: Identity) -> tuple[Revocation, ...]:
        """What is listed of a token and of its subject. Raises TransientError."""
        ...
