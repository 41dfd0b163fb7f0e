"""System calls that fail, and disks that lose what was not synced, below the adapters.

`Disk` stands in the place of the calls of `os` that change a file system. Each may fail, done or
not done; behind each the process may die, or the power go. What a power cut leaves is made from
what was synced: a file has the bytes of its last fsync, and a name is there if its folder was
synced behind it (`lost`) or, as a journal may write names early, whether it was or not (`kept`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from faults.injector import Killed

CALLS: tuple[str, ...] = (
    *("fchmod", "fsync", "link", "mkdir", "open", "pwrite", "rename", "replace", "rmdir"),
    *("unlink", "write"),
)
"""Those that change something; `open` only where it makes a file."""


class DiskKind(StrEnum):
    """What goes wrong with a system call. What is DELAYED on a disk is lost when the power goes."""

    NOT_APPLIED = "not_applied"
    REPORTED_FAILED = "applied_but_reported_failed"
    KILLED = "killed_right_after"
    POWER_LOST = "power_lost_names_not_synced_are_gone"
    POWER_KEPT = "power_lost_names_not_synced_are_there"


class CallFault(NamedTuple):
    """The n-th system call, counted from 1, and what goes wrong with it."""

    number: int
    kind: DiskKind


class Disk:
    """Of one directory: counts the calls on it, and knows what is synced."""

    def __init__(self, root: Path, fault: CallFault | None = None) -> None:
        self.root = root
        self.fault = fault
        self.calls: list[str] = []
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        for folder, _, files in os.walk(root):  # what is there is there for good
            self._sync(Path(folder))
            for name in files:
                self._sync(Path(folder, name))

    @contextmanager
    def installed(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """While all calls of `os` go through here."""
        with patch.context() as context:
            for name in CALLS:
                context.setattr(os, name, self._struck(name, getattr(os, name)))
            yield

    def _struck(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def struck(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (passed on)
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **kwargs)
            self.calls.append(name)
            fault = self.fault
            if fault is None or len(self.calls) != fault.number:
                return self._done(name, call, args, kwargs)
            if fault.kind is DiskKind.NOT_APPLIED:
                raise OSError(errno.EIO, "a fault of the table")
            result = self._done(name, call, args, kwargs)
            if fault.kind is DiskKind.REPORTED_FAILED:
                if name == "open":
                    os.close(result)
                raise OSError(errno.EIO, "a fault of the table")
            raise Killed(name)

        return struck

    def _done(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  (what the call gives)
        result = call(*args, **kwargs)
        if name == "fsync":
            self._sync(Path(f"/proc/self/fd/{args[0]}").readlink())
        return result

    def _sync(self, path: Path) -> None:
        """What is durable from now on: a file's bytes, or a folder's names."""
        if path.is_dir():
            self._names[path.stat().st_ino] = {
                each.name: each.lstat().st_ino for each in path.iterdir()
            }
        elif path.exists():
            self._bytes[path.stat().st_ino] = path.read_bytes()

    def cut(self, target: Path, *, kept: bool) -> None:
        """Make the directory as it is when the power is back."""
        target.mkdir()
        self._restore(self.root.stat().st_ino, self.root, target, kept=kept)

    def _restore(self, folder: int, now: Path | None, target: Path, *, kept: bool) -> None:
        names = self._names.get(folder, {})
        if kept and now is not None:
            names = {each.name: each.lstat().st_ino for each in now.iterdir()}
        for name, inode in names.items():
            there = now / name if now is not None and (now / name).exists() else None
            if inode in self._names or (there is not None and there.is_dir()):
                (target / name).mkdir()
                self._restore(inode, there, target / name, kept=kept)
            else:
                (target / name).write_bytes(self._bytes.get(inode, b""))
