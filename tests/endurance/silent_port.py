"""A port where connections are taken and never answered, as of a server that hangs: and counted."""

from __future__ import annotations

import selectors
import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class SilentPort:
    """`with` listens in the place of a server that is gone, and lets go of it again."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._address = (place.hostname or "", place.port or 0)
        self._end, self._told = socket.socketpair()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self.taken = 0
        self.most_at_once = 0

    def __enter__(self) -> Self:
        self._listening = socket.create_server(self._address)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()

    def _take(self) -> None:
        """Until the end: then all that is open breaks, as where the server is killed."""
        with selectors.DefaultSelector() as waiting, self._listening, self._told:
            waiting.register(self._listening, selectors.EVENT_READ)
            waiting.register(self._told, selectors.EVENT_READ)
            held: set[socket.socket] = set()
            while True:
                for key, _ in waiting.select():
                    if key.fileobj is self._told:
                        for one in held:
                            one.close()
                        return
                    if key.fileobj is self._listening:
                        connection, _address = self._listening.accept()
                        waiting.register(connection, selectors.EVENT_READ)
                        held.add(connection)
                        self.taken += 1
                        self.most_at_once = max(self.most_at_once, len(held))
                    elif isinstance(key.fileobj, socket.socket) and not _received(key.fileobj):
                        waiting.unregister(key.fileobj)
                        held.discard(key.fileobj)
                        key.fileobj.close()


def _received(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(65536))
    except OSError:
        return False
