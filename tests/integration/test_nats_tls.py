"""TLS on the server of `recorder nats-conf`: who is let in, and what the others are told."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme
from nats_process import NatsProcess
from secured_nats import SecuredNats
from worker_process import WorkerProcess, run_recorder

from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.connection.broker import Login, connect, make_broker
from recorder_worker.bus.connection.tls import TlsFiles
from recorder_worker.core.errors import BusUnavailableError, SettingsError

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of certificates, each with its key in the same file, by what they are."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = trustme.CA(), trustme.CA()
    certificates = {
        "server": ours.issue_cert("127.0.0.1", "localhost"),
        "expired-server": ours.issue_cert("127.0.0.1", not_after=PAST),
        "client": ours.issue_cert("worker@recorder.test"),
        "expired-client": ours.issue_cert("worker@recorder.test", not_after=PAST),
        "other-client": other.issue_cert("worker@recorder.test"),
    }
    for name, certificate in certificates.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    ours.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other-ca.pem")
    (folder / "no.pem").write_text("this is no certificate\n")
    return {path.stem: str(path) for path in folder.glob("*.pem")} | {"gone": str(folder / "gone")}


def secured_by(folder: Path, pem: dict[str, str], server: str) -> SecuredNats:
    certificate = ("--tls-cert", pem[server], "--tls-key", pem[server], "--tls-ca", pem["ca"])
    return SecuredNats(folder, *certificate)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, pem: dict[str, str]) -> Iterator[SecuredNats]:
    with secured_by(tmp_path_factory.mktemp("secured"), pem, "server") as nats:
        yield nats


async def as_client(login: Login) -> None:
    async with RecorderClient.connect(login) as client:
        await client.sessions()


async def as_worker(login: Login) -> None:
    broker = make_broker(login)
    await connect(broker, login)
    await broker.stop()


CONNECT = pytest.mark.parametrize("enter", [as_client, as_worker])
Enter = Callable[[Login], Awaitable[None]]


def test_a_worker_and_commands_work_over_tls(
    tmp_path: Path, secured: SecuredNats, pem: dict[str, str]
) -> None:
    own = {"RECORDER_NATS__TLS_CERT": pem["client"]}
    applied = run_recorder(
        "streams", "apply", folder=tmp_path, env=secured.variables("deploy") | own
    )
    assert applied.returncode == 0, applied.stderr
    with WorkerProcess(tmp_path, "chunk", env=secured.variables("chunk") | own) as worker:
        assert worker.nats_url == f"tls://127.0.0.1:{secured.port}"
        listed = run_recorder("ls", folder=tmp_path, env=secured.variables("observer") | own)
        assert listed.returncode == 0, listed.stderr


@CONNECT
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca": "ca"}, "CERTIFICATE_REQUIRED.*set nats.tls_cert and nats.tls_key"),
        ({"ca": "ca", "cert": "other-client"}, "UNKNOWN_CA.*nats.tls_cert"),
        ({"ca": "ca", "cert": "expired-client"}, "TLS fails.*EXPIRED"),
        ({"ca": "other-ca", "cert": "client"}, "certificate does not hold.*nats.tls_ca"),
        ({}, "certificate does not hold.*nats.tls_ca"),
    ],
    ids=["no-certificate", "a-stranger's", "an-expired-one", "another-authority", "no-settings"],
)
async def test_whoever_is_not_let_in_is_told_why(
    secured: SecuredNats, pem: dict[str, str], enter: Enter, files: dict[str, str], words: str
) -> None:
    tls = TlsFiles(**{name: pem[file] for name, file in files.items()})
    login = msgspec.structs.replace(secured.login("observer"), tls=tls, connect_timeout_s=30.0)
    with pytest.raises(BusUnavailableError, match=words) as caught:
        await enter(login)
    assert login.password not in str(caught.value)


@CONNECT
async def test_an_expired_certificate_of_the_server_is_named(
    tmp_path: Path, pem: dict[str, str], enter: Enter
) -> None:
    with secured_by(tmp_path, pem, "expired-server") as expired:
        tls = TlsFiles(ca=pem["ca"], cert=pem["client"])
        login = msgspec.structs.replace(expired.login("observer"), tls=tls)
        with pytest.raises(BusUnavailableError, match="certificate has expired"):
            await enter(login)


@CONNECT
async def test_a_name_that_the_certificate_does_not_have_is_refused(
    secured: SecuredNats, pem: dict[str, str], enter: Enter
) -> None:
    tls = TlsFiles(ca=pem["ca"], cert=pem["client"])
    async with await relay_on("127.0.0.2", secured.port):
        server = f"tls://127.0.0.2:{secured.port}"
        login = msgspec.structs.replace(secured.login("observer"), tls=tls, servers=(server,))
        with pytest.raises(BusUnavailableError, match=r"address mismatch.*name in nats\.url"):
            await enter(login)


async def relay_on(host: str, port: int) -> asyncio.Server:
    """The same server under another name, as whoever takes over its name has it."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            pump(reader, their_writer), pump(their_reader, writer), return_exceptions=True
        )

    return await asyncio.start_server(join, host, port)


@CONNECT
async def test_a_server_without_tls_is_left_before_it_hears_the_password(
    pem: dict[str, str], enter: Enter
) -> None:
    """Whoever sits between us and the server can say that there is no TLS."""
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": "2.15.1", "max_payload": 1048576, "headers": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while data := await reader.read(4096):
            heard.extend(data)
        writer.close()

    async with await asyncio.start_server(pretend, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        login = Login(
            servers=(f"nats://127.0.0.1:{port}",),
            user="observer",
            password="hunter2",
            tls=TlsFiles(ca=pem["ca"], cert=pem["client"]),
        )
        with pytest.raises(BusUnavailableError, match="it offers no TLS"):
            await enter(login)
    assert bytes(heard) == b""


async def test_without_certificates_a_plain_server_is_a_plain_server(tmp_path: Path) -> None:
    with NatsProcess(tmp_path) as server:
        await as_worker(Login(servers=(server.url,)))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca": "gone"}, "nats.tls_ca.*No such file"),
        ({"ca": "no"}, "nats.tls_ca.*expected certificates in PEM"),
        ({"cert": "no"}, "nats.tls_cert.*expected certificates in PEM"),
        ({"cert": "client", "key": "other-client"}, "nats.tls_cert.*the key that belongs"),
        ({"cert": "client", "key": "gone"}, "nats.tls_cert.*No such file"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    pem: dict[str, str], files: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        TlsFiles(**{name: pem[file] for name, file in files.items()}).context()


def test_a_wrong_path_stops_a_command_with_the_exit_code_of_settings(tmp_path: Path) -> None:
    env = {"RECORDER_NATS__URL": "tls://127.0.0.1:1", "RECORDER_NATS__TLS_CA": "/nowhere.pem"}
    for command in (("ls",), ("run", "chunk")):
        ended = run_recorder(*command, folder=tmp_path, env=env | {"RECORDER_SIDECAR__PORT": "-1"})
        assert ended.returncode == 78
        assert "/nowhere.pem" in ended.stderr
