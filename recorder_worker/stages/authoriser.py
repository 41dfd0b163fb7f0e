"""Who may do what, asked at the door: by a token, or of nobody at all."""

from __future__ import annotations

from typing import Protocol

from recorder_worker.core.access.identity import NOBODY, Identity
from recorder_worker.core.access.rules import AccessRules, refusal
from recorder_worker.core.access.token_claims import (
    ClaimRules,
    check_times,
    identity_of,
    identity_or_nobody,
)
from recorder_worker.core.errors import RefusedError
from recorder_worker.ports import Revocations, TokenVerifier


class Authoriser(Protocol):
    """Answers who asks and whether he may, for commands and for requests alike."""

    async def check(self, token: str, action: str, received_ns: int) -> Identity:
        """Who asks for an action (`core.access.Action`) with this token, if he may.

        Args:
            token: the JWT; empty where none was sent.
            action: what he asks for; whose session it is comes later, in `check_owner`.
            received_ns: when he asked: for a command, when JetStream stored it.

        Raises:
            RefusedError: he may not, with the field `authorization`.
            TransientError: keys or revocation list are away; nothing is known.
        """
        ...

    async def signer_of(self, token: str) -> Identity:
        """Whom a token names whose signature holds, valid or not; nobody where it does not.

        For saying who was refused. Raises TransientError.
        """
        ...

    def check_owner(self, identity: Identity, action: str, owner: str) -> None:
        """Raises RefusedError where he may do that with his own sessions only."""
        ...

    def confined_to(self, identity: Identity) -> str | None:
        """The owner whose sessions alone he may see; None: all."""
        ...

    def owner_of_start(self, identity: Identity, asked: str) -> str:
        """Whom a new session belongs to. Raises RefusedError where he may not say so."""
        ...

    def person(self, identity: Identity, said: str) -> str:
        """Who asked, for the record. Raises RefusedError where the command says another."""
        ...


class OpenAuthoriser:
    """Asks nobody: whoever reaches NATS may do everything, and is who he says he is."""

    async def check(self, token: str, action: str, received_ns: int) -> Identity:
        """Nobody. A token that comes all the same is not looked at."""
        del token, action, received_ns
        return NOBODY

    async def signer_of(self, token: str) -> Identity:
        """Nobody."""
        del token
        return NOBODY

    def check_owner(self, identity: Identity, action: str, owner: str) -> None:
        """Everybody may."""

    def confined_to(self, identity: Identity) -> str | None:
        """Nobody is confined."""
        del identity
        return None

    def owner_of_start(self, identity: Identity, asked: str) -> str:
        """Who the command says."""
        del identity
        return asked

    def person(self, identity: Identity, said: str) -> str:
        """Who the command says."""
        del identity
        return said


class TokenAuthoriser:
    """Asks for a signed token, and holds it against the rules and the revocation list."""

    def __init__(
        self,
        verifier: TokenVerifier,
        revocations: Revocations | None,
        access: AccessRules,
        claims: ClaimRules,
    ) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._access = access
        self._claims = claims

    async def check(self, token: str, action: str, received_ns: int) -> Identity:
        """Who asks, if he may (see `Authoriser`)."""
        claims = await self._verifier.claims(token)
        identity = identity_of(claims, self._claims)
        check_times(claims, self._claims, received_ns)
        self._access.check_action(identity, action)
        if self._revocations is not None:
            for revoked in await self._revocations.find(identity):
                if revoked.counts_at(received_ns):
                    raise refusal(
                        expected="a token that is not revoked",
                        got=f"one that is: {revoked.reason or 'no reason was given'}",
                        hint="ask whoever runs the recorder",
                    )
        return identity

    async def signer_of(self, token: str) -> Identity:
        """Whom a token names whose signature holds (see `Authoriser`)."""
        try:
            claims = await self._verifier.claims(token)
        except RefusedError:
            return NOBODY
        return identity_or_nobody(claims, self._claims)

    def check_owner(self, identity: Identity, action: str, owner: str) -> None:
        """Raises RefusedError where he may do that with his own sessions only."""
        self._access.check_owner(identity, action, owner)

    def confined_to(self, identity: Identity) -> str | None:
        """The owner whose sessions alone he may see; None: all."""
        return self._access.confined_to(identity)

    def owner_of_start(self, identity: Identity, asked: str) -> str:
        """Whom a new session belongs to. Raises RefusedError where he may not say so."""
        return self._access.owner_of_start(identity, asked)

    def person(self, identity: Identity, said: str) -> str:
        """The subject of his token. Raises RefusedError where the command says another."""
        return self._access.person(identity, said)
