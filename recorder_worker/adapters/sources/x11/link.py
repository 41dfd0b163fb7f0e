"""A connection to an X display on which no call waits for ever.

libxcb's own waits end with the connection, and a server that is stopped or behind a dead network
keeps its connection. So replies are polled for against a deadline here.
"""

from __future__ import annotations

import select
import time
from typing import Any, Final

import xcffib
import xcffib.xproto

from recorder_worker.adapters.sources.x11.connect import connect
from recorder_worker.core.errors import SourceError, SourceLostError

ERROR_EVENT: Final = 0
"""What an error of a request that nobody checked comes as, among the events."""
_SENT: Final = 0x80
"""Set in the type of an event that a client has sent, and not the server."""
REPLY_HEAD_SIZE: Final = 32
"""Every reply is 32 bytes and `length` words more (X protocol, "Reply Format")."""

_XCB: Final[Any] = xcffib  # it says that it is typed, and its functions are not


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
        self._connection: Any = connect(display, timeout_s)
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

    def first_event(self, key: Any) -> int | None:  # noqa: ANN401  (as above)
        """Where the event types of an extension begin; None where the server has it not.

        To ask an extension that is not there ends the connection. Raises as `reply`.
        """
        name = key.name
        reply = self.reply(
            self.core.QueryExtension(len(name), name), xcffib.xproto.QueryExtensionReply
        )
        return int(reply.first_event) if reply.present else None

    def agree(self, module: Any, oldest: tuple[int, int]) -> int | None:  # noqa: ANN401  (as above)
        """Agree on a version of an extension: as `first_event`, also None where it is older.

        A server refuses the requests of those who have not told which version they know. `module`
        is xcffib's. Raises as `reply`.
        """
        first_event = self.first_event(module.key)
        if first_event is None:
            return None
        question = self.extension(module.key).QueryVersion(*oldest)
        found = self.reply(question, module.QueryVersionReply)
        return first_event if (found.major_version, found.minor_version) >= oldest else None

    def extension(self, key: Any) -> Any:  # noqa: ANN401  (as above)
        """The requests of an extension that the server has."""
        return self._connected()(key)

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

    def reply_bytes(self, cookie: Any) -> memoryview:  # noqa: ANN401  (as above)
        """Wait for a reply, and give all of it: `REPLY_HEAD_SIZE` bytes, then plain data.

        xcffib would make a list of integers of the data, one a byte. Raises as `reply`.
        """
        data, size = self._wait(cookie)
        # The buffer keeps the reply's memory for as long as anybody looks at it.
        return memoryview(_XCB.ffi.buffer(data, size))

    def check(self, cookie: Any) -> None:  # noqa: ANN401  (as above)
        """Wait until a checked request without a reply has been carried out. Raises as `reply`."""
        # A later request's reply says that this one is done; then its error, if any, is here.
        self.reply(self.core.GetInputFocus(), xcffib.xproto.GetInputFocusReply)
        self._wait(cookie, expect_reply=False)

    def news(self) -> set[int]:
        """The types of the events that have come: an event comes before any later reply.

        They are kept for us until they are taken, so this is to be called again and again.
        """
        connection, types = self._connected(), set[int]()
        while True:
            event = _XCB.lib.xcb_poll_for_event(connection._conn)  # noqa: SLF001  (as below)
            if event == _XCB.ffi.NULL:
                return types
            types.add(int(event.response_type) & ~_SENT)
            _XCB.c_free(event)

    def close(self) -> None:
        """Disconnect; harmless when repeated."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _connected(self) -> Any:  # noqa: ANN401  (as above)
        if self._connection is None:
            raise SourceLostError(f"display {self.display}: expected it open, found it closed")
        self._connection.invalid()
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
        return owned, REPLY_HEAD_SIZE + 4 * length
