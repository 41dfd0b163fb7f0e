"""Which program records: its name, its version, and a digest of its text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from blake3 import blake3

import recorder_worker

SOFTWARE = f"session-recorder/{recorder_worker.__version__}"


@cache
def software_blake3() -> str:
    """BLAKE3 over the program's modules, in hexadecimal.

    Over each `.py` file of the package in the order of their paths: the path below the package as
    UTF-8 with its length as u16 in front, then the file's bytes with their length as u64 in
    front; integers are big-endian.
    """
    root = Path(recorder_worker.__file__).parent
    hasher = blake3()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix().encode()
        data = path.read_bytes()
        hasher.update(len(name).to_bytes(2, "big") + name + len(data).to_bytes(8, "big") + data)
    return hasher.hexdigest()
