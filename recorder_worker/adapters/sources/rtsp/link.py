"""The one connection that FFmpeg gets to an RTSP server.

FFmpeg looks hosts up by itself, goes wherever a server redirects it, checks no certificate unless
told to, and cannot be called off while it waits. So it connects to this machine, and a thread
carries the bytes to the address that was held against the rules: redirects are cut off, TLS is
spoken here, and to close the link ends whatever FFmpeg waits for.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final

from recorder_worker.core.errors import SourceError, SourceForbiddenError

_REDIRECT: Final = re.compile(rb"RTSP/1\.[0-9] 3[0-9][0-9]")
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
            wait_s: how long that may take.

        Raises:
            SourceError: it cannot be reached, or is not who it should be.
        """
        self._name = f"rtsp server {host}:{port}"
        self._remote = self._connected(host, address, port, tls=tls, wait_s=wait_s)
        self._local: socket.socket | None = None
        self._closed = False
        self._lock = threading.Lock()
        self.redirected = False
        self._playing = False
        self._up = self._down = b""
        self._door = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._door.settimeout(_LOOK_S)
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp link", daemon=True).start()

    def check(self) -> None:
        """Raises SourceForbiddenError where the server sent us to another place."""
        if self.redirected:
            raise SourceForbiddenError(
                "source.uri",
                f"{self._name}: expected it to serve the stream itself, found that it redirects; "
                "name the server that has the stream",
            )

    def close(self) -> None:
        """End the connection, and whoever waits for it."""
        with self._lock:
            self._closed = True
            for end in (self._remote, self._local):
                if end is not None:
                    _shut(end)

    def _connected(
        self, host: str, address: str, port: int, *, tls: bool, wait_s: float
    ) -> socket.socket:
        try:
            plain = socket.create_connection((address, port), timeout=wait_s)
        except OSError as error:
            raise SourceError(
                f"{self._name}: expected to reach it, found: {error.strerror or error}; check the "
                "address, the port, and the network between"
            ) from error
        try:
            remote = plain
            if tls:
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
        except (OSError, ValueError):
            pass  # one of the ends is gone: so is the link
        finally:
            self.close()
            self._door.close()
            self._remote.close()
            if self._local is not None:
                self._local.close()

    def _accepted(self) -> socket.socket | None:
        while not self._closed:
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
        while not self._closed:
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
                if not received or self._redirects(received):
                    return
                local.sendall(received)

    def _watch_up(self, data: bytes) -> None:
        if not self._playing:
            self._playing = bool(_PLAY.search(self._up + data))
            self._up = (self._up + data)[-_TAIL:]

    def _redirects(self, data: bytes) -> bool:
        """Whether a server sends FFmpeg elsewhere; once it plays, FFmpeg would not go any more."""
        if self._playing:
            return False
        self.redirected = bool(_REDIRECT.search(self._down + data))
        self._down = (self._down + data)[-_TAIL:]
        return self.redirected


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
