"""Servers that want more than to be recorded: each attack is named by its test."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from camera import Camera

from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.rtsp import packets
from recorder_worker.adapters.sources.rtsp.packets import RtspPackets
from recorder_worker.adapters.sources.rtsp.pictures import RtspPictures
from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.core.sources.rules import SourceRules

OPEN_S = 2.0
MARGIN_S = 20.0
"""What a busy machine, and the looks of the link, may take beside. A drip would last 100 s."""
PATIENT_S = 30.0
"""For what ends by itself, and has to come so far."""
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)
Answer = Callable[[bytes], Iterator[bytes]]


class Hostile:
    """A server that answers each request by a function: in pieces, as slowly as that gives them."""

    def __init__(self, answer: Answer, wrapped: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._wrapped = wrapped
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.requests: list[bytes] = []
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._door.close()
        for end in self._ends:
            end.close()

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self._door.accept()
            except OSError:
                return
            self._ends.append(end)
            threading.Thread(target=self._talk, args=(end,), daemon=True).start()

    def _talk(self, end: socket.socket) -> None:
        try:
            while data := end.recv(65536):
                self.requests.append(data)
                for piece in self._answer(data):
                    end.sendall(piece)
        except OSError:
            end.close()


@contextmanager
def hostile(answer: Answer) -> Iterator[Hostile]:
    server = Hostile(answer)
    try:
        yield server
    finally:
        server.close()


def opened(
    port: int,
    *,
    scheme: str = "rtsp",
    pictures: bool = False,
    open_s: float = OPEN_S,
    **fields: object,
) -> None:
    """Try to open it, both in the time that it may take and in no more threads than before."""
    source = RtspSource(
        uri=f"{scheme}://localhost:{port}/cam",
        open_s=open_s,
        stall_s=1.0,
        **fields,  # type: ignore[arg-type]
    )
    guard = SourceGuard(SourceRules())
    began = time.monotonic()
    try:
        if pictures:
            RtspPictures(source, guard, fps=10.0).close()
        else:
            RtspPackets(source, guard).close()
    finally:
        took = time.monotonic() - began
        assert took < open_s + MARGIN_S


def head(request: bytes, first: bytes = b"RTSP/1.0 200 OK", *lines: bytes) -> bytes:
    number = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq:"))
    return b"\r\n".join([first, number, *lines, b"", b""])


def as_a_camera(request: bytes) -> bytes:
    """Answers as a camera has them, up to PLAY."""
    match request.split(b" ", 1)[0]:
        case b"OPTIONS":
            return head(request, b"RTSP/1.0 200 OK", b"Public: OPTIONS, DESCRIBE, SETUP, PLAY")
        case b"DESCRIBE":
            about = [b"Content-Type: application/sdp", b"Content-Length: %d" % len(SDP)]
            return head(request, b"RTSP/1.0 200 OK", *about) + SDP
        case b"SETUP":
            way = b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
            if b"TCP" not in request:
                way = b"Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001"
            return head(request, b"RTSP/1.0 200 OK", way, b"Session: 1")
        case _:
            return head(request, b"RTSP/1.0 200 OK", b"Session: 1")


# --- elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY"])
@pytest.mark.parametrize(
    "first",
    [
        b"RTSP/1.0 302 Found",
        b"RTSP/2.0 302 Found",
        b"RTSP/1.0  302 Found",
        b"RTSP/1.0\t0302 Found",
        b"RTSP/1.0 3\r02 Found",
    ],
)
def test_a_redirect_is_followed_nowhere_however_it_is_spelled(first: bytes, method: bytes) -> None:
    def quiet(request: bytes) -> Iterator[bytes]:
        yield as_a_camera(request)

    with hostile(quiet) as inside:

        def elsewhere(request: bytes) -> Iterator[bytes]:
            if request.startswith(method):
                place = b"Location: rtsp://127.0.0.1:%d/inside" % inside.port
                yield head(request, first, place)
            else:
                yield as_a_camera(request)

        with hostile(elsewhere) as server, pytest.raises(SourceError) as refused:
            opened(server.port, open_s=PATIENT_S)
        assert inside.requests == []
        if first == b"RTSP/1.0 302 Found" and method != b"PLAY":
            assert isinstance(refused.value, SourceForbiddenError)


def test_a_control_address_of_another_host_is_not_connected_to() -> None:
    def quiet(request: bytes) -> Iterator[bytes]:
        yield as_a_camera(request)

    with hostile(quiet) as inside:
        other = b"rtsp://127.0.0.1:%d/inside" % inside.port

        def elsewhere(request: bytes) -> Iterator[bytes]:
            if request.startswith(b"DESCRIBE"):
                body = SDP.replace(b"track1", other)
                about = [b"Content-Base: " + other + b"/", b"Content-Length: %d" % len(body)]
                yield head(request, b"RTSP/1.0 200 OK", *about) + body
            else:
                yield as_a_camera(request)

        with hostile(elsewhere) as server, pytest.raises(SourceError):
            opened(server.port)
        assert inside.requests == []


def test_no_datagram_goes_to_an_address_that_the_server_names() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
        inside.bind(("127.0.0.9", 0))
        inside.setblocking(False)
        place = b";source=127.0.0.9;server_port=%d-%d" % (
            inside.getsockname()[1],
            inside.getsockname()[1] + 1,
        )

        def elsewhere(request: bytes) -> Iterator[bytes]:
            answer = as_a_camera(request)
            yield answer.replace(b";server_port=6000-6001", place)
            if request.startswith(b"PLAY"):
                threading.Event().wait(OPEN_S)
                raise ConnectionAbortedError  # however long it took to come here

        with hostile(elsewhere) as server, pytest.raises(SourceError):
            opened(server.port, open_s=PATIENT_S, transport="udp")
        assert any(request.startswith(b"PLAY") for request in server.requests)
        with pytest.raises(BlockingIOError):
            inside.recv(2048)


# --- for ever ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("method", [b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY", b"nothing"])
def test_a_server_that_falls_silent_at_any_step_is_given_up(
    method: bytes, *, pictures: bool
) -> None:
    def silent(request: bytes) -> Iterator[bytes]:
        if not request.startswith(method):
            yield as_a_camera(request)

    with hostile(silent) as server, pytest.raises(SourceError):
        opened(server.port, pictures=pictures)


@pytest.mark.parametrize("method", [b"OPTIONS", b"DESCRIBE", b"SETUP"])
def test_a_server_that_drips_its_answer_is_given_up(method: bytes) -> None:
    def dripping(request: bytes) -> Iterator[bytes]:
        if not request.startswith(method):
            yield as_a_camera(request)
            return
        yield b"RTSP/1.0 200 OK\r\n"
        for number in range(1000):
            yield b"X-%d: y\r\n" % number
            threading.Event().wait(0.1)  # faster than any timeout of a single read

    with hostile(dripping) as server, pytest.raises(SourceError):
        opened(server.port)


def test_a_server_that_drips_its_handshake_is_given_up() -> None:
    def dripping(_hello: bytes) -> Iterator[bytes]:
        yield b"\x16\x03\x03\x3f\xff"
        for _ in range(1000):
            yield b"\x02"
            threading.Event().wait(0.1)

    with hostile(dripping) as server, pytest.raises(SourceError, match="expected TLS"):
        opened(server.port, scheme="rtsps")


def test_a_server_that_takes_the_connection_and_no_handshake_is_given_up() -> None:
    def silent(_hello: bytes) -> Iterator[bytes]:
        yield from ()

    with hostile(silent) as server, pytest.raises(SourceError, match="timed out"):
        opened(server.port, scheme="rtsps")


def test_nothing_is_left_behind_by_servers_that_hang() -> None:
    def silent(request: bytes) -> Iterator[bytes]:
        if not request.startswith(b"SETUP"):
            yield as_a_camera(request)

    with hostile(silent) as server:
        for _ in range(3):
            with pytest.raises(SourceError):
                opened(server.port)
        deadline = time.monotonic() + 30
        while names := [one.name for one in threading.enumerate() if one.name.startswith("rtsp")]:
            assert time.monotonic() < deadline, names
            threading.Event().wait(0.05)


# --- too much ------------------------------------------------------------------------------------


def test_a_picture_larger_than_allowed_is_not_decoded() -> None:
    guard = SourceGuard(SourceRules(max_pixels=160 * 120 - 1))
    with Camera() as camera, pytest.raises(SourceError, match="max_pixels"):
        RtspPictures(RtspSource(uri=camera.uri(), open_s=PATIENT_S), guard, fps=10.0)


def test_a_picture_whose_slices_do_not_end_is_not_collected_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packets, "MAX_PICTURE", 10)
    monkeypatch.setattr(packets, "goes_on", lambda _codec, _data: True)
    with Camera() as camera, pytest.raises(SourceError, match="one that does not end"):
        RtspPackets(RtspSource(uri=camera.uri(), open_s=PATIENT_S), SourceGuard(SourceRules()))


# --- logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://user:geheim@h℀st/cam",  # urllib names all that stands before the path
        "rtsp://user:geheim@[::1/cam",
        "rtsp://user:geheim@localhost:port/cam",
        "rtsp://user:ge/heim@localhost/cam",
    ],
)
def test_an_address_that_is_none_does_not_tell_its_password(uri: str) -> None:
    with pytest.raises(SourceError) as refused:
        RtspPackets(RtspSource(uri=uri), SourceGuard(SourceRules()))
    error: BaseException | None = refused.value
    while error is not None:
        assert "heim" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
