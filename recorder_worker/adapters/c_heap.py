"""The C library's heap, in a process with a thread for each session.

glibc gives threads arenas of their own, up to eight for each core, and each keeps the most that its
threads ever held at one moment: the more arenas, the more of it, and the longer it grows.
"""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8
"""mallopt(3)."""
_OPERATORS = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def share_arenas() -> None:
    """Let all threads that are begun from now on share arenas: two, or one for each core.

    More threads than there are cores are never in it at once. Nothing changes where the operator
    has set `MALLOC_ARENA_MAX` or `GLIBC_TUNABLES`, or where the C library has no arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in _OPERATORS):
        mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))
