"""A connection to an X display on which no call waits for ever.

libxcb's own waits end with the connection, and a server that is stopped or behind a dead network
keeps its connection. So replies are polled for against a deadline here, and the one call that
cannot be polled, connecting, runs in a thread that is left behind if it hangs.
"""

from __future__ import annotations

import select
import threading
import time
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any, Final

import xcffib
import xcffib.shm
import xcffib.xproto

from recorder_worker.core.errors import SourceError, SourceLostError

_SOCKETS: Final = Path("/tmp/.X11-unix")  # noqa: S108  (where X servers have their sockets)
_REPLY_HEAD_SIZE: Final = 32
"""Every reply is 32 bytes and `length` words more (X protocol, "Reply Format")."""


_XCB: Final[Any] = xcffib
"""xcffib says that it is typed, and its functions are not."""


class RequestError(Exception):
    """The X server refused one request; the connection is well."""


class X11Link:
    """An open connection to one screen. One thread uses it."""

    def __init__(self, display: str, *, timeout_s: float) -> None:
        """Connect, with what XAUTHORITY or ~/.Xauthority holds.

        Args:
            display: as in DISPLAY.
            timeout_s: how long connecting, and then each reply, may take.

        Raises:
            SourceError: there is no such display, or it does not admit us.
        """
        self.display = display
        self._timeout_s = timeout_s
        self._connection: Any = _connect(display, timeout_s)
        self.setup: Any = self._connection.setup
        screen = self._connection.pref_screen
        if not 0 <= screen < len(self.setup.roots):
            self.close()
            raise SourceError(
                f"display {display}: expected one of its {len(self.setup.roots)} screens, found "
                f"number {screen}; name another behind the dot"
            )
        self.screen: Any = self.setup.roots[screen]

    @property
    def core(self) -> Any:  # noqa: ANN401  (xcffib is generated and has no types)
        """The core requests."""
        return self._connected().core

    @property
    def has_shm(self) -> bool:
        """Whether the server speaks MIT-SHM at all."""
        name = "MIT-SHM"
        return bool(
            self.reply(
                self.core.QueryExtension(len(name), name), xcffib.xproto.QueryExtensionReply
            ).present
        )

    @property
    def shm(self) -> Any:  # noqa: ANN401  (as above)
        """The requests of MIT-SHM."""
        return self._connected()(xcffib.shm.key)

    def new_id(self) -> int:
        """An unused resource id."""
        return int(self._connected().generate_id())

    def reply(self, cookie: Any, kind: Any) -> Any:  # noqa: ANN401  (as above)
        """Wait for a reply and unpack it as `kind`.

        Raises:
            RequestError: the server refused the request.
            SourceLostError: no reply within the time.
        """
        return kind(_XCB.CffiUnpacker(*self._wait(cookie)))

    def reply_data(self, cookie: Any) -> bytes:  # noqa: ANN401  (as above)
        """Wait for a reply whose 32 bytes are followed by plain data: that data.

        xcffib would make a list of integers of it, one a byte. Raises as `reply`.
        """
        data, size = self._wait(cookie)
        return bytes(_XCB.ffi.buffer(data, size)[_REPLY_HEAD_SIZE:])

    def check(self, cookie: Any) -> None:  # noqa: ANN401  (as above)
        """Wait until a checked request without a reply has been carried out. Raises as `reply`."""
        # A later request's reply says that this one is done; then its error, if any, is here.
        self.reply(self.core.GetInputFocus(), xcffib.xproto.GetInputFocusReply)
        self._wait(cookie, expect_reply=False)

    def discard_events(self) -> None:
        """Forget what the server told unasked, such as a new keyboard mapping: it is kept else."""
        connection = self._connected()
        while True:
            event = _XCB.lib.xcb_poll_for_event(connection._conn)  # noqa: SLF001  (as below)
            if event == _XCB.ffi.NULL:
                return
            _XCB.c_free(event)

    def close(self) -> None:
        """Disconnect; harmless when repeated."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _connected(self) -> Any:  # noqa: ANN401  (as above)
        if self._connection is None:
            raise SourceLostError(f"display {self.display}: expected it open, found it closed")
        code = self._connection.has_error()
        if code:
            raise SourceLostError(
                f"display {self.display}: expected it to go on, found its connection closed "
                f"(XCB error {code}); the X server or its session has ended"
            )
        return self._connection

    def _wait(self, cookie: Any, *, expect_reply: bool = True) -> tuple[Any, int]:  # noqa: ANN401  (as above)
        """The reply's memory and its size."""
        connection = self._connected()
        connection.flush()
        data, error = _XCB.ffi.new("void **"), _XCB.ffi.new("xcb_generic_error_t **")
        deadline = time.monotonic() + self._timeout_s
        poller = select.poll()
        poller.register(connection.get_file_descriptor(), select.POLLIN)
        while not _XCB.lib.xcb_poll_for_reply(
            self._connected()._conn,  # noqa: SLF001  (xcffib wraps only the wait without an end)
            cookie.sequence,
            data,
            error,
        ):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise SourceLostError(
                    f"display {self.display}: expected a reply within {self._timeout_s:g} s, found "
                    "none; the X server is stopped, overloaded or cut off"
                )
            poller.poll(left_s * 1e3)
        if error[0] != _XCB.ffi.NULL:
            failed = _XCB.ffi.gc(error[0], _XCB.c_free)
            raise RequestError(f"X error {failed.error_code} for request {failed.major_code}")
        if data[0] == _XCB.ffi.NULL:
            self._connected()
            if expect_reply:
                raise SourceLostError(f"display {self.display}: expected a reply, found none")
            return None, 0
        owned = _XCB.ffi.gc(data[0], _XCB.c_free)
        length = _XCB.ffi.cast("xcb_generic_reply_t *", owned).length
        return owned, _REPLY_HEAD_SIZE + 4 * length


def _connect(display: str, timeout_s: float) -> Any:  # noqa: ANN401  (as above)
    outcome: Future[Any] = Future()

    def work() -> None:
        try:
            connection = _XCB.connect(display)
        except Exception as error:  # noqa: BLE001  (handed to the thread that waits)
            if not outcome.cancelled():
                outcome.set_exception(error)
            return
        try:
            outcome.set_result(connection)
        except InvalidStateError:
            connection.disconnect()  # nobody waits any more

    threading.Thread(target=work, name=f"connect {display}", daemon=True).start()
    try:
        return outcome.result(timeout_s)
    except TimeoutError as error:
        if not outcome.cancel():
            return outcome.result()
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
