"""The thread that a session's reader lives in, from its first step to its last."""

from __future__ import annotations

import threading
from collections.abc import Callable

from recorder_worker.core.errors import LeaseLostError
from recorder_worker.stages.capture.reading.coverage import Coverage, Finished
from recorder_worker.stages.capture.segments.spool import UnitWriter


class ReaderThread:
    """Does one step after the other until the session has ended here, or the reader has crashed.

    `let_go` is called at the end of it, however that came.
    """

    def __init__(self, coverage: Coverage[UnitWriter], let_go: Callable[[], None]) -> None:
        self._coverage = coverage
        self._let_go = let_go
        self._thread: threading.Thread | None = None

    def start(self, begin: Callable[[], None], step: Callable[[], None]) -> None:
        """Begin, then step again and again; either may raise Finished."""
        self._thread = threading.Thread(
            target=self._run, args=(begin, step), name="reader", daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, begin: Callable[[], None], step: Callable[[], None]) -> None:
        try:
            begin()
            while True:
                step()
        except (Finished, LeaseLostError):
            pass  # handed over to the end, or nobody takes it any more
        except Exception as error:  # noqa: BLE001  (a defect must end in the record, not beside it)
            self._coverage.crashed(error)
        finally:
            self._let_go()
