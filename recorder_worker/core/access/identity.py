"""Who asks for something: what a token that was checked says of its bearer."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta

from recorder_worker.core.model import Wire

Role = Literal["", "USER", "NODE_OPERATOR", "ADMIN", "SUPER_ADMIN"]
"""Empty: nobody was asked who he is, or he could not show it."""

ROLES: tuple[Role, ...] = tuple(role for role in get_args(Role) if role)
"""From the least to the most powerful, as they are meant; what each may do is a setting."""

Actor = Annotated[str, Meta(max_length=256)]
TokenId = Annotated[str, Meta(max_length=256)]


class Identity(Wire, frozen=True, kw_only=True):
    """Who asks.

    Attributes:
        actor: the subject of his token; empty where none was shown or asked for.
        role: the role of that token.
        token_id: its `jti`; empty where it has none.
    """

    actor: Actor = ""
    role: Role = ""
    token_id: TokenId = ""


NOBODY = Identity()
"""He who was not asked, or whose token shows nothing."""
