"""RTSP servers that are wrong in some way: each is refused in its own words, and none hangs."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from camera import Camera, Line
from nats.js.errors import NotFoundError
from running_recorder import DEADLINE_S, RunningRecorder, settings_in

from recorder_worker.service.settings.tree import SourceSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct-horse%2Fbattery"
PLAIN = "correct-horse/battery"


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logins")
    (folder / "cam").write_text(f"rtsp://viewer:{PASSWORD}@localhost\n")
    (folder / "elsewhere").write_text(f"rtsp://viewer:{PASSWORD}@camera.example\n")
    (folder / "bare").write_text("rtsp://localhost\n")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(
    tmp_path_factory: pytest.TempPathFactory, logins: Path
) -> AsyncIterator[RunningRecorder]:
    settings = msgspec.structs.replace(
        settings_in(tmp_path_factory.mktemp("bad")),
        sources=SourceSettings(credentials_dir=str(logins)),
    )
    async with RunningRecorder(settings) as running:
        yield running


def source(uri: str, **fields: object) -> dict[str, Any]:
    """Of a camera that answers; so long as it may take where the machine stands still."""
    return {"kind": "rtsp", "uri": uri, "open_s": 20.0, "stall_s": 1.0, **fields}


async def refusal(recorder: RunningRecorder, uri: str, **fields: object) -> str:
    """Within DEADLINE_S: none hangs."""
    return str(await recorder.refusal(source(uri, **fields), profile="copy"))


async def test_a_server_that_is_not_there(recorder: RunningRecorder) -> None:
    assert "expected to reach it" in await refusal(recorder, "rtsp://localhost:1/cam")


async def test_a_host_that_is_not_allowed(recorder: RunningRecorder) -> None:
    assert "sources.hosts" in await refusal(recorder, "rtsp://169.254.169.254/cam")
    assert "sources.hosts" in await refusal(recorder, "rtsp://127.0.0.1/cam")


async def test_a_port_that_is_none(recorder: RunningRecorder) -> None:
    assert "host:port" in await refusal(recorder, "rtsp://localhost:99999/cam")


async def test_a_path_that_is_not_there(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        text = await refusal(recorder, camera.uri().replace("/cam", "/door"))
    assert "check the path" in text


async def test_a_codec_that_cannot_be_copied(recorder: RunningRecorder) -> None:
    with Camera(video="vp8") as camera:
        text = await refusal(recorder, camera.uri())
    assert "h264, hevc, mjpeg" in text
    assert "found vp8" in text


@pytest.mark.parametrize(
    ("keyframes", "said"),
    [(0, "expected the parameter sets of its h264 video"), (1, "expected a keyframe within 6 s")],
)
async def test_a_stream_without_keyframes(
    recorder: RunningRecorder, keyframes: int, said: str
) -> None:
    """One keyframe is what the server itself needs, to know what it sends."""
    with Camera(keyframes=keyframes) as camera:
        assert said in await refusal(recorder, camera.uri(), open_s=6.0)
        error = await recorder.refusal(source(camera.uri(), open_s=4.0), profile="screen")
        assert "expected a picture within 4 s, found none; have the camera" in str(error)


async def test_a_server_that_says_nothing(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        camera.stall()
        text = await refusal(recorder, camera.uri(), open_s=2.0)
        camera.go_on()
    assert "expected an answer in time" in text


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"\0" * 4096,
        b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"RTSP/1.0 500 No\r\nCSeq: 1\r\n\r\n",
    ],
    ids=["http", "zeros", "endless", "error"],
)
async def test_a_server_that_speaks_nonsense(recorder: RunningRecorder, answer: bytes) -> None:
    line = Line(1)
    line.answer = answer
    uri = f"rtsp://localhost:{line.port}/cam"
    assert "rtsp rtsp://localhost" in await refusal(recorder, uri, open_s=2.0)
    line.close()


async def test_a_server_that_redirects_is_not_followed(recorder: RunningRecorder) -> None:
    with Camera() as camera:
        line, elsewhere = Line(camera.port), Line(camera.port)
        place = f"rtsp://localhost:{elsewhere.port}/cam"
        line.answer = f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: {place}\r\n\r\n".encode()
        text = await refusal(recorder, f"rtsp://localhost:{line.port}/cam")
        assert "redirects" in text
        assert elsewhere.asked == 0
        line.close()
        elsewhere.close()


async def test_a_certificate_that_nobody_vouches_for(
    recorder: RunningRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here; see scripts/setup-system.sh")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    out = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *out], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Camera() as camera:
        line = Line(camera.port, tls)
        uri = f"rtsps://localhost:{line.port}/cam"
        assert "expected TLS with a certificate" in await refusal(recorder, uri)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        started = await recorder.client.start(source(uri), profile="copy", timeout_s=DEADLINE_S)
        await recorder.captured(started.session_id)
        await recorder.client.stop(started.session_id)
        await recorder.sealed(started.session_id)
        line.close()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"masks": [{"x": 0, "y": 0, "width": 8, "height": 8}]}, "masks"),
        ({"fps": 5}, "fps"),
        ({"source": {"kind": "pattern"}}, "profile"),
        ({"source": source("rtsp://a:b@localhost/cam", credentials="cam")}, "credentials"),
    ],
)
async def test_what_does_not_go_with_copied_packets(
    recorder: RunningRecorder, fields: dict[str, Any], what: str
) -> None:
    given = {"source": source("rtsp://localhost/cam"), **fields}
    error = await recorder.refusal(given.pop("source"), profile="copy", **given)
    assert what in error.refusal.field


async def test_a_login_that_is_wrong_missing_or_for_another_host(
    recorder: RunningRecorder,
) -> None:
    with Camera(user="viewer", password=PLAIN) as camera:
        assert "another login" in await refusal(recorder, camera.uri())
        assert "another login" in await refusal(recorder, camera.uri(login="viewer:wrong@"))
        for name in ("elsewhere", "bare", "nobody"):
            text = await refusal(recorder, camera.uri(), credentials=name)
            assert f"credentials {name}" in text


@pytest.mark.parametrize("kept", [True, False], ids=["kept by the worker", "in the URL"])
async def test_a_password_is_nowhere_but_in_its_command(
    recorder: RunningRecorder, capfd: pytest.CaptureFixture[str], *, kept: bool
) -> None:
    with Camera(user="viewer", password=PLAIN) as camera:
        given = source(camera.uri(), credentials="cam")
        if not kept:
            given = source(camera.uri(login=f"viewer:{PASSWORD}@"))
        started = await recorder.client.start(given, profile="copy")
        await recorder.captured(started.session_id)
        camera.stop()  # it is lost, and looked for
        await recorder.sealed(started.session_id)
        if not kept:
            await recorder.refusal({**given, "stall_s": -1}, profile="copy")
            await recorder.refusal({**given, "kind": "file"}, profile="copy")
            await recorder.refusal({**given, "kind": "x11"})
            await recorder.refusal({**given, "uri": f"rtsp://viewer:{PLAIN}@localhost/"})
            await recorder.refusal({**given, "uri": f"ftp://viewer:{PLAIN}@localhost/"})
            await recorder.refusal(given, profile="copy", fps=3)
    await recorder.nothing_is_left()  # keys go behind the seal
    places = {*await found(recorder, PASSWORD), *await found(recorder, PLAIN)}
    assert places == (set() if kept else {"COMMANDS session.start"})
    logged = capfd.readouterr()
    assert PASSWORD not in logged.out + logged.err
    assert PLAIN not in logged.out + logged.err


async def found(recorder: RunningRecorder, text: str) -> list[str]:
    """Where a text is, among all that the recorder keeps and says."""
    places = [
        str(path)
        for path in recorder.settings.data_path.rglob("*")
        if path.is_file() and "nats" not in path.parts and text.encode() in path.read_bytes()
    ]
    jetstream = recorder.jetstream
    for stream in await jetstream.streams_info():
        name, state = stream.config.name or "", stream.state
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            try:
                message = await jetstream.get_msg(name, sequence)
            except NotFoundError:
                continue  # a key-value bucket keeps the newest alone
            whole = f"{message.subject} {message.headers} ".encode() + (message.data or b"")
            if text.encode() in whole:
                places.append(f"{name} {message.subject}")
    return places
