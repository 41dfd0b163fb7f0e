"""Connecting to an X display: the one call that cannot be polled, and so can hang."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any, Final

import xcffib

from recorder_worker.core.errors import SourceError, SourceLostError

MOST_HANGING: Final = 3
"""Tries for one display that hang though nobody waits for them any more: each keeps a thread."""
_HANGING: Final[dict[str, list[threading.Thread]]] = {}
_SOCKETS: Final = Path("/tmp/.X11-unix")  # noqa: S108  (where X servers have their sockets)
_XCB: Final[Any] = xcffib  # it says that it is typed, and its functions are not


class Connection(_XCB.Connection):  # type: ignore[misc]
    """xcffib's, which looks before and after every request whether it still is one."""

    name = ""

    def invalid(self) -> None:
        """Raises SourceLostError where it has ended; while it is made, ConnectionException."""
        code = 0 if self._conn is None else self.has_error()
        if self._conn is not None and not code:
            return
        if not self.name:
            super().invalid()
        if self._conn is None:
            raise SourceLostError(f"display {self.name}: expected it open, found it closed")
        raise SourceLostError(
            f"display {self.name}: expected it to go on, found its connection closed "
            f"(XCB error {code}); the X server or its session has ended"
        )


def connect(display: str, timeout_s: float) -> Connection:
    """A connection, made in a thread that is left behind if it hangs.

    Raises:
        SourceError: there is no such display, it does not admit us, or it does not answer.
    """
    hanging = [thread for thread in _HANGING.get(display, ()) if thread.is_alive()]
    if len(hanging) >= MOST_HANGING:
        raise SourceError(
            f"display {display}: expected an X server that answers, found that {len(hanging)} "
            f"earlier tries still wait for it; see what has stopped it; {_displays_here()}"
        )
    outcome: Future[Connection] = Future()

    def work() -> None:
        try:
            connection = Connection(display)
            connection.name = display
        except Exception as error:  # noqa: BLE001  (handed to the thread that waits)
            if not outcome.cancelled():
                outcome.set_exception(error)
            return
        try:
            outcome.set_result(connection)
        except InvalidStateError:
            connection.disconnect()  # nobody waits any more

    thread = threading.Thread(target=work, name=f"connect {display}", daemon=True)
    thread.start()
    try:
        return outcome.result(timeout_s)
    except TimeoutError as error:
        if not outcome.cancel():
            return outcome.result()
        _HANGING[display] = [*hanging, thread]
        raise SourceError(
            f"display {display}: expected an X server that answers, found one that does not "
            f"within {timeout_s:g} s; {_displays_here()}"
        ) from error
    except xcffib.XcffibException as error:
        raise SourceError(
            f"display {display}: expected an X server that admits us, found none ({error}); "
            f"{_displays_here()}; where it is listed, XAUTHORITY must name its cookie file"
        ) from error


def _displays_here() -> str:
    try:
        numbers = [path.name[1:] for path in _SOCKETS.iterdir() if path.name[1:].isdecimal()]
    except OSError:
        numbers = []
    listed = " ".join(f":{number}" for number in sorted(numbers, key=int))
    return f"displays on this machine: {listed}" if listed else "no display is on this machine"
