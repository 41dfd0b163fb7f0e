"""The one connection that FFmpeg gets to an RTSP server.

FFmpeg looks hosts up by itself, goes wherever a server redirects it, checks no certificate unless
told to, and cannot be called off while it waits. So it connects to this machine, and a thread
carries the bytes to the address that was held against the rules: redirects are cut off, TLS is
spoken here, and to close the link, or to be late, ends whatever FFmpeg waits for.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final

from recorder_worker.adapters.sources.rtsp.answers import Answers
from recorder_worker.core.errors import FormatError, SourceError, SourceForbiddenError

_PLAY: Final = re.compile(rb"(?:^|\n)PLAY rtsp")
_TAIL: Final = 16
_PIECE: Final = 65_536
_LOOK_S: Final = 0.5


class RtspLink:
    """Carries bytes between FFmpeg, which connects to `port` of the loopback, and the server."""

    def __init__(self, host: str, address: str, port: int, *, tls: bool, wait_s: float) -> None:
        """Connect to the server.

        Args:
            host: its name, which its certificate has to be for.
            address: where it is.
            port: of the server.
            tls: whether to speak TLS with it.
            wait_s: how long it may take in all until `opened` is called; then the link ends.

        Raises:
            SourceError: it cannot be reached, or is not who it should be.
        """
        self._name = f"rtsp server {host}:{port}"
        self._late = time.monotonic() + wait_s
        self._remote = self._connected(host, address, port, tls=tls)
        self._local: socket.socket | None = None
        self._closed = self._opened = False
        self._lock = threading.Lock()
        self._answers = Answers(self._name, address)
        self._forbidden: SourceForbiddenError | None = None
        self._playing = False
        self._up = b""
        self._door = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._door.settimeout(_LOOK_S)
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp link", daemon=True).start()

    @property
    def left_s(self) -> float:
        """How much of `wait_s` is left: less than nothing where it is over."""
        return self._late - time.monotonic()

    def opened(self) -> None:
        """The stream is there: from now on it may take as long as it likes."""
        self._opened = True

    def check(self) -> None:
        """Raises SourceForbiddenError where the server sent us to another place."""
        if self._forbidden is not None:
            raise self._forbidden

    def close(self) -> None:
        """End the connection, and whoever waits for it."""
        with self._lock:
            self._closed = True
            for end in (self._remote, self._local):
                if end is not None:
                    _shut(end)

    def _connected(self, host: str, address: str, port: int, *, tls: bool) -> socket.socket:
        try:
            plain = socket.create_connection((address, port), timeout=self.left_s)
        except OSError as error:
            raise SourceError(
                f"{self._name}: expected to reach it, found: {error.strerror or error}; check the "
                "address, the port, and the network between"
            ) from error
        try:
            remote = plain
            if tls:
                plain.settimeout(max(0.001, self.left_s))
                remote = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except (OSError, ValueError) as error:
            plain.close()
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
            raise SourceError(
                f"{self._name}: expected TLS with a certificate for {host} that this machine "
                f"trusts, found: {reason}; SSL_CERT_FILE names other authorities"
            ) from error
        remote.settimeout(None)
        remote.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return remote

    def _run(self) -> None:
        try:
            local = self._accepted()
            if local is not None:
                self._carry(local)
        except SourceForbiddenError as error:
            self._forbidden = error
        except (OSError, ValueError, FormatError):
            pass  # one of the ends is gone, or is none of RTSP: so is the link
        finally:
            self.close()
            self._door.close()
            self._remote.close()
            if self._local is not None:
                self._local.close()

    def _accepted(self) -> socket.socket | None:
        while self._lasts():
            try:
                local, _ = self._door.accept()
            except TimeoutError:
                continue
            local.settimeout(None)
            with self._lock:
                self._local = local
            return local
        return None

    def _carry(self, local: socket.socket) -> None:
        remote = self._remote
        while self._lasts():
            ready, _, _ = select.select([local, remote], [], [], _LOOK_S)
            if local in ready:
                data = local.recv(_PIECE)
                if not data:
                    return
                self._watch_up(data)
                remote.sendall(data)
            if remote in ready:
                received = _received(remote)
                if received is None:
                    continue
                if not received:
                    return
                if self._playing:  # FFmpeg would go nowhere any more
                    received = self._answers.rest() + received
                else:
                    received = self._answers.feed(received)
                local.sendall(received)

    def _lasts(self) -> bool:
        return not self._closed and (self._opened or self.left_s > 0)

    def _watch_up(self, data: bytes) -> None:
        if not self._playing:
            self._playing = bool(_PLAY.search(self._up + data))
            self._up = (self._up + data)[-_TAIL:]


def _received(remote: socket.socket) -> bytes | None:
    """What has come, all that TLS holds back included; nothing at the end, None: not for us.

    What makes a socket of TLS readable may be TLS's own, such as a ticket: behind it `recv` would
    wait for the server's next word, and FFmpeg's would wait here.
    """
    if not isinstance(remote, ssl.SSLSocket):
        return remote.recv(_PIECE)
    remote.setblocking(False)
    try:
        data = remote.recv(_PIECE)
        while remote.pending():
            data += remote.recv(remote.pending())
    except ssl.SSLWantReadError:
        return None
    finally:
        remote.setblocking(True)
    return data


def _shut(end: socket.socket) -> None:
    with suppress(OSError):  # it is not connected any more
        end.shutdown(socket.SHUT_RDWR)
