"""Where an error was raised, and a digest of its stack by which equal failures are found.

The digest is over the types of the error and of what caused it, and over the functions on the way.
Line numbers are left out, so that it outlives a change elsewhere in a file; texts and folders are
left out, so that nothing secret gets into it and every machine has the same.
"""

from __future__ import annotations

import traceback

from blake3 import blake3

PACKAGE = "recorder_worker/"
DIGEST_CHARACTERS = 16
CAUSES_MAX = 8
FRAMES_MAX = 64
"""Of each error the innermost so many: a recursion without end must give a digest, too."""


def where(error: BaseException) -> str:
    """The innermost frame of an error: file, line and function."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    frame = frames[-1]
    return f"{_file(frame.filename)}:{frame.lineno} {frame.name}"


def stack_digest(error: BaseException) -> str:
    """16 hexadecimal digits, the same for what failed alike."""
    lines: list[str] = []
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            break
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        frames = traceback.extract_tb(cause.__traceback__)[-FRAMES_MAX:]
        lines += [f"  {_file(frame.filename)} {frame.name}" for frame in frames]
        cause = cause.__cause__
    return blake3("\n".join(lines).encode()).hexdigest()[:DIGEST_CHARACTERS]


def _file(path: str) -> str:
    """A file by its place in this package; of any other its name alone."""
    _, found, inside = path.replace("\\", "/").rpartition(PACKAGE)
    return inside if found else path.rsplit("/", 1)[-1]
