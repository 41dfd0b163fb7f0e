"""A file that appears whole or not at all, where a person asked for it.

It is made under a spare name beside its own, `.<name>-<random>`, synced, and given its name in one
step. What a crash leaves is the spare file, which nothing reads and anybody may remove. Under its
own name there is never a part, and never another one replaced unless that was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from recorder_worker.adapters.durable_file import sync_folder
from recorder_worker.core.errors import ImmutableConflictError, StoreError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class NewFile:
    """A file being made; a context manager, which removes what was not published.

    Args:
        path: its name.
        replace: another one of this name may be replaced.

    Attributes:
        spare: where to write it; it is not there yet.

    Raises:
        ImmutableConflictError: the name is taken.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        self.path = path
        self.spare = path.parent / f".{path.name}-{os.urandom(8).hex()}"
        self._replace = replace
        if path.is_dir() or (path.exists() and not replace):
            raise self._taken()

    def __enter__(self) -> Self:
        return self

    def publish(self) -> None:
        """Give the spare file its name.

        Raises:
            ImmutableConflictError: the name was taken meanwhile.
            StoreError: the system refuses.
        """
        try:
            with self.spare.open("rb") as file:
                os.fsync(file.fileno())
            if self._replace:
                self.spare.replace(self.path)
            else:
                self._name()
            sync_folder(self.path.parent)
        except FileExistsError as error:
            raise self._taken() from error
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be put in place: {error}") from error

    def _name(self) -> None:
        """Take the name if it is free; a file system without links leaves a moment in between."""
        try:
            os.link(self.spare, self.path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self.path.exists():
                raise self._taken() from error
            self.spare.rename(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self.spare.unlink(missing_ok=True)

    def _taken(self) -> ImmutableConflictError:
        return ImmutableConflictError(
            f"{self.path}: expected no file, found one in its place; name another one, or let "
            "--force replace it: nothing was written"
        )
