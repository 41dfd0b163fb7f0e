"""Who may do what: roles, actions and owners as pure rules over one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from recorder_worker.core.access.identity import Identity, Role
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.subjects import Command

Action = Literal[
    "start",
    "stop",
    "pause",
    "resume",
    "mark",
    "mask",
    "hold",
    "release",
    "delete",
    "view",
    "export",
    "retry",
    "drop",
]
"""What a role can be allowed: each command by its last word, and what the recorder is asked for."""

ACTIONS: tuple[str, ...] = get_args(Action)

FIELD = "authorization"
"""The field of every refusal here; also the header that carries the token."""


def action_of(command: Command) -> str:
    """The action that a command asks for."""
    return command.value.removeprefix("session.")


class AccessRules(msgspec.Struct, frozen=True, kw_only=True):
    """What each role may do, and which of them only with sessions of their own."""

    may: Mapping[Role, frozenset[str]]
    own_only: frozenset[Role]

    def check_action(self, identity: Identity, action: str) -> None:
        """Raises RefusedError where the role is not allowed the action."""
        if action in self.may.get(identity.role, frozenset()):
            return
        allowed = [role for role, actions in self.may.items() if action in actions]
        raise refusal(
            expected=f"a role that may {action}: {', '.join(allowed) or 'none has it'}",
            got=identity.role or "no role",
            hint="ask for a token with such a role; what a role may do is set in auth.*_may",
        )

    def check_owner(self, identity: Identity, action: str, owner: str) -> None:
        """Raises RefusedError where the role is confined to its own sessions and this is none."""
        if identity.role not in self.own_only or (owner and owner == identity.actor):
            return
        raise refusal(
            expected=f"a session of {identity.actor}'s own to {action}",
            got="one that is not",
            hint=f"{identity.role} is confined to its own sessions (auth.own_only)",
        )

    def confined_to(self, identity: Identity) -> str | None:
        """The owner whose sessions alone the role may see; None: all."""
        return identity.actor if identity.role in self.own_only else None

    def owner_of_start(self, identity: Identity, asked: str) -> str:
        """Whom a new session belongs to: who asks, unless he may start it for another.

        Raises:
            RefusedError: he may not.
        """
        if not asked or asked == identity.actor:
            return identity.actor
        if identity.role in self.own_only:
            raise refusal(
                expected=f"owner {identity.actor}, or none",
                got=asked,
                hint=f"{identity.role} starts sessions of its own only (auth.own_only)",
            )
        return asked

    def person(self, identity: Identity, said: str) -> str:
        """Who stands in the record as having asked: the subject of the token, and nobody else.

        Raises:
            RefusedError: the command says somebody else. It is not put right in silence, because
                the body of a mark is kept as it came.
        """
        if said not in ("", identity.actor):
            raise refusal(
                expected=f"by: {identity.actor}, or none",
                got=said,
                hint="with authorisation on, the subject of the token stands in the record",
            )
        return identity.actor


def refusal(*, expected: str, got: str, hint: str) -> RefusedError:
    """The refusal of a command for want of authorisation."""
    return RefusedError(field=FIELD, expected=expected, got=got, hint=hint)
