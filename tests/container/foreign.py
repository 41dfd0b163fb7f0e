"""Programs for arm64 on another machine: qemu-user, known to the kernel while it is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from container.debian import Packages, native_architecture, run
from container.lab import SUITE, Lab

ARCHITECTURE = "arm64"
_REGISTRY = Path("/proc/sys/fs/binfmt_misc")
_NAME = "session-recorder-lab-aarch64"
# The head of an ELF file of 64 bits, little-endian, executable or shared, for AArch64.
_MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@contextmanager
def emulated(lab: Lab) -> Iterator[None]:
    """Let this machine and its containers run programs for arm64. Raises LabError."""
    if native_architecture() == ARCHITECTURE or _is_registered():
        yield
        return
    unpacked = lab.state / "qemu"
    Packages(lab.state, SUITE, native_architecture()).unpack(["qemu-user"], unpacked)
    with ExitStack() as clean_up:
        if not (_REGISTRY / "register").exists():
            run(["mount", "-t", "binfmt_misc", "none", _REGISTRY])
            clean_up.callback(run, ["umount", _REGISTRY])
        # F: it is opened now, so that containers, which do not have the file, can use it.
        program = bytes(unpacked / "usr/bin/qemu-aarch64")
        entry = b":".join((b"", _NAME.encode(), b"M", b"", _MAGIC, _MASK, program, b"F"))
        (_REGISTRY / "register").write_bytes(entry)
        clean_up.callback((_REGISTRY / _NAME).write_text, "-1")
        yield


def _is_registered() -> bool:
    """Whether somebody else has seen to it already."""
    entries = [path for path in _REGISTRY.glob("*") if path.name not in {"register", "status"}]
    magic = re.compile(r"^magic 7f454c46.*b700$", re.MULTILINE)
    return any(magic.search(path.read_text(encoding="utf-8")) for path in entries)
