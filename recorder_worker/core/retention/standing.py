"""Where a session stands: what its statements, one behind the other, come to.

The rules are those of docs/format.md, "Statements of retention": a statement that breaks one is an
error, whoever signed it, so that writer and verifier go by the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import field

from recorder_worker.core.errors import FormatError
from recorder_worker.core.retention.sayings import (
    Deletion,
    Hold,
    Release,
    Removal,
    Tombstone,
    ends,
)
from recorder_worker.core.retention.statement import FIRST, MAX_STATEMENTS, SignedStatement


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What holds behind so many statements.

    Attributes:
        holds: those that are in force, by name.
        released: names of those that were, and are not.
        deletion: that its bytes go, or are gone.
        tombstone: that they are gone.
        count: how many statements there are; `last` is the newest, `digest` its SHA-256.
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    deletion: Deletion | None = None
    tombstone: Tombstone | None = None
    count: int = 0
    last: SignedStatement | None = None
    digest: str = FIRST

    @property
    def removal(self) -> Removal | None:
        """The tombstone, or the deletion that has none yet."""
        return self.tombstone or self.deletion

    def behind(self, signed: SignedStatement) -> Standing:
        """With one more statement.

        Raises:
            FormatError: it does not fit those before it.
        """
        statement = signed.statement
        place = (statement.number, statement.previous)
        if place != (self.count + 1, self.digest) or self.count >= MAX_STATEMENTS:
            raise FormatError(
                f"retention: expected statement {self.count + 1} behind the one of SHA-256 "
                f"{self.digest}, found number {statement.number} behind {statement.previous}"
            )
        return msgspec.structs.replace(
            self._told(signed),
            count=self.count + 1,
            last=signed,
            digest=signed.sha256.hex(),
        )

    def _told(self, signed: SignedStatement) -> Standing:
        says, number = signed.statement.says, signed.statement.number
        if self.tombstone is not None:
            raise _broken(number, "nothing behind a tombstone")
        if isinstance(says, Tombstone):
            if self.deletion is None or not ends(says, self.deletion):
                raise _broken(number, "the tombstone of the deletion before it")
            return msgspec.structs.replace(self, tombstone=says)
        if self.deletion is not None:
            raise _broken(number, "the tombstone of the deletion before it")
        if isinstance(says, Deletion):
            if self.holds:
                raise _broken(number, "no deletion of what is under hold")
            return msgspec.structs.replace(self, deletion=says)
        return self._held(says, number)

    def _held(self, says: Hold | Release, number: int) -> Standing:
        others = {name: hold for name, hold in self.holds.items() if name != says.name}
        before = says.name in self.holds
        if isinstance(says, Hold):
            if before:
                raise _broken(number, f"no second hold {says.name!r}")
            released = self.released - {says.name}
            return msgspec.structs.replace(
                self, holds={**others, says.name: says}, released=released
            )
        if not before:
            raise _broken(number, f"a hold {says.name!r} that is in force")
        return msgspec.structs.replace(self, holds=others, released=self.released | {says.name})


def standing_of(statements: Iterable[SignedStatement]) -> Standing:
    """What all statements of a session come to. Raises FormatError."""
    standing = Standing()
    for signed in statements:
        standing = standing.behind(signed)
    return standing


def _broken(number: int, expected: str) -> FormatError:
    return FormatError(f"retention: statement {number}: expected {expected}")
