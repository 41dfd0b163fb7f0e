"""A proxy in front of an S3 server that breaks off, stalls, changes bytes and refuses, as told."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from recorder_worker.adapters.s3.client import S3Place

HOP = {"connection", "transfer-encoding", "keep-alive", "expect"}
TIMEOUT_S = 30.0


class Fault(msgspec.Struct):
    """What becomes of one request.

    Attributes:
        refuse: status and code that it is answered with, and not passed on.
        change: makes other bytes of its body before it is passed on.
        lose_answer: passed on, and the connection closed in place of the answer.
        cut_at: so many bytes of the answer's body come, and then the connection is closed.
        change_answer: makes other bytes of the answer's body.
        stall: nothing happens until `S3Proxy.go_on`.
    """

    refuse: tuple[int, str] | None = None
    change: Callable[[bytes], bytes] | None = None
    lose_answer: bool = False
    cut_at: int = -1
    change_answer: Callable[[bytes], bytes] | None = None
    stall: bool = False


Choose = Callable[[str, str, dict[str, str]], Fault | None]
"""For method, path and headers of a request: its fault; None: it passes."""


class S3Proxy:
    """`with` starts it and ends it. It passes everything until `choose` is set."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self.choose: Choose = lambda _method, _path, _headers: None
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self._go_on = threading.Event()
        self.stalled = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:  # noqa: ANN401  (http.server's own)
                """Nothing."""

            def _any(self) -> None:
                proxy._handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any  # noqa: N815  (http.server's names)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._server.shutdown()
        self._server.server_close()

    def before(self, place: S3Place, timeout_s: float = 10.0) -> S3Place:
        """A place as it is reached through here."""
        return msgspec.structs.replace(place, url=self.url, timeout_s=timeout_s)

    def once(self, fault: Fault, method: str, *, header: str = "") -> None:
        """The next request of a method, with a header if one is named, has this fault."""
        left = [fault]

        def choose(found: str, _path: str, headers: dict[str, str]) -> Fault | None:
            if left and found == method and (not header or header in headers):
                return left.pop()
            return None

        self.choose = choose

    def always(self, fault: Fault, method: str, *, header: str = "") -> None:
        """Every request of a method has this fault."""

        def choose(found: str, _path: str, headers: dict[str, str]) -> Fault | None:
            return fault if found == method and (not header or header in headers) else None

        self.choose = choose

    def go_on(self) -> None:
        """What stalls goes on, and nothing has faults any more."""
        self.choose = lambda _method, _path, _headers: None
        self._go_on.set()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers.get("content-length", "0")))
        self.seen.append((request.command, request.path, headers))
        fault = self.choose(request.command, request.path, headers) or Fault()
        if fault.stall:
            self.stalled.set()
            self._go_on.wait(TIMEOUT_S)
        if fault.refuse is not None:
            _answer_refusal(request, *fault.refuse)
            return
        if fault.change is not None:
            body = fault.change(body)
        answer, data = self._pass_on(request, headers, body)
        if fault.lose_answer:
            request.close_connection = True
            return
        if fault.change_answer is not None and data:
            data = fault.change_answer(data)
        _answer(request, answer, data, fault.cut_at)

    def _pass_on(
        self, request: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The host stays as the client has signed it."""
        upstream = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=TIMEOUT_S
        )
        upstream.putrequest(
            request.command, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in headers.items():
            if name not in HOP:
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        return answer, data


def _answer(
    request: BaseHTTPRequestHandler, answer: http.client.HTTPResponse, data: bytes, cut_at: int
) -> None:
    request.send_response(answer.status)
    length = answer.headers.get("content-length", "0") if request.command == "HEAD" else len(data)
    for name, value in answer.headers.items():
        if name.lower() not in HOP | {"content-length", "date", "server"}:
            request.send_header(name, value)
    request.send_header("content-length", str(length))
    request.end_headers()
    if request.command == "HEAD":
        return
    if 0 <= cut_at < len(data):
        request.wfile.write(data[:cut_at])
        request.close_connection = True
        return
    request.wfile.write(data)


def _answer_refusal(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no.</Message></Error>"
    data = b"" if request.command == "HEAD" else text.encode()
    request.send_response(status)
    request.send_header("content-type", "application/xml")
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
