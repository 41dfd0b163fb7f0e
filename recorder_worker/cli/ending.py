"""The end of a process, where a library may still have a thread of ours."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading


class Ending:
    """Spares a process that has ended well the end of Python, where a daemon thread is left.

    OpenCV gives a thread back when the driver of a device lets it go, which may be ten seconds
    later. One that comes back while Python ends is taken down by it, and, being in C++, takes the
    process along (`std::terminate`): a clean stop that a supervisor sees as a crash.
    """

    def __init__(self) -> None:
        self._well = False
        # Behind what is registered later, and behind all threads that are no daemons.
        atexit.register(self._end)

    def well(self) -> None:
        """All is done that had to be done; what is left is Python's own end."""
        self._well = True

    def _end(self) -> None:
        if self._well and any(thread.daemon for thread in threading.enumerate()):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
