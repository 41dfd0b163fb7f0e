"""A real S3 server behind a line that breaks off, stalls, changes bytes and refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from running_recorder import until
from s3_proxy import Fault, S3Proxy
from s3_server import BUCKET, OWNER, S3Server
from worker_process import WorkerProcess

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.s3.store import S3Store
from recorder_worker.bus.client import RecorderClient
from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    ImmutableConflictError,
    StoreError,
    StoreFullError,
)
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

KEY = "sessions/one/chunks/1"
DATA = bytes(range(256)) * 20_000
LARGE = bytes(range(256)) * 4 * 17_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(server.url) as running:
        yield running


@pytest.fixture
def store(server: S3Server, proxy: S3Proxy, request: pytest.FixtureRequest) -> S3Store:
    return S3Store(proxy.before(server.place(f"{abs(hash(request.node.name))}/")))


def changed(data: bytes) -> bytes:
    return b"\xff" + data[1:]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(store: S3Store, proxy: S3Proxy) -> None:
    store.put(KEY, DATA)
    cuts = [3_000_000, 1_000_000]

    def choose(method: str, _path: str, _headers: dict[str, str]) -> Fault | None:
        return Fault(cut_at=cuts.pop()) if cuts and method == "GET" else None

    proxy.choose = choose
    assert store.get(KEY) == DATA
    asked = [headers.get("range") for method, _, headers in proxy.seen if method == "GET"]
    assert asked[0] is None
    assert len(asked) == 3
    begins = [int((found or "").removeprefix("bytes=").rstrip("-")) for found in asked[1:]]
    assert begins == sorted(begins)
    assert begins[0] > 0


def test_a_transfer_that_never_gets_on_is_given_up(store: S3Store, proxy: S3Proxy) -> None:
    store.put(KEY, DATA)
    proxy.always(Fault(cut_at=0), "GET")
    with pytest.raises(StoreError, match="cannot read"):
        store.get(KEY)


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    store: S3Store, proxy: S3Proxy
) -> None:
    store.put(KEY, DATA)
    proxy.once(Fault(cut_at=1_000_000), "GET")
    pieces = store.stream(KEY)
    next(pieces)
    store.replace(KEY, DATA[::-1])
    with pytest.raises(StoreError, match="replaced while it was read"):
        list(pieces)


def test_an_answer_that_is_lost_is_found_on_the_next_try(store: S3Store, proxy: S3Proxy) -> None:
    proxy.once(Fault(lose_answer=True), "PUT")
    store.put(KEY, DATA)
    assert store.get(KEY) == DATA
    proxy.once(Fault(lose_answer=True), "POST", header="if-none-match")
    store.put("sessions/one/large", LARGE)
    assert store.digest("sessions/one/large").sha256 == sha256(LARGE).hexdigest()


def test_bytes_that_change_on_their_way_are_refused_by_the_server(
    store: S3Store, proxy: S3Proxy
) -> None:
    proxy.always(Fault(change=changed), "PUT")
    with pytest.raises(StoreError, match="cannot store"):
        store.put(KEY, DATA)
    proxy.go_on()
    assert store.size(KEY) is None


def test_bytes_that_change_on_their_way_back_are_seen_by_who_reads_them(
    store: S3Store, proxy: S3Proxy
) -> None:
    store.put(KEY, DATA)
    proxy.always(Fault(change_answer=changed), "GET")
    assert store.digest(KEY).sha256 == sha256(DATA).hexdigest()
    assert store.digest(KEY, read_back=True).sha256 != sha256(DATA).hexdigest()


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_set(
    server: S3Server, proxy: S3Proxy
) -> None:
    store = S3Store(proxy.before(server.place("stalled/"), timeout_s=0.5))
    proxy.always(Fault(stall=True), "PUT")
    began_s = time.monotonic()
    with pytest.raises(StoreError, match=r"expected an answer, found: .*[Tt]imeout"):
        store.put(KEY, b"bytes")
    assert time.monotonic() - began_s < 30
    proxy.go_on()


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (400, "ExpiredToken", StoreError, "give new credentials"),
        (403, "RequestTimeTooSkewed", StoreError, "set this machine's clock"),
        (503, "SlowDown", StoreError, "asks us to slow down"),
        (500, "InternalError", StoreError, "see the store's own log"),
        (507, "InsufficientStorage", StoreFullError, "make room"),
        (403, "QuotaExceeded", StoreFullError, "make room"),
        (301, "PermanentRedirect", StoreError, "correct storage.region"),
    ],
)
def test_what_the_server_says_is_said_with_what_to_do(
    store: S3Store, proxy: S3Proxy, status: int, code: str, kind: type[StoreError], said: str
) -> None:
    proxy.always(Fault(refuse=(status, code)), "PUT")
    with pytest.raises(kind, match=said) as caught:
        store.put(KEY, b"bytes")
    assert code in str(caught.value)
    proxy.go_on()
    assert store.size(KEY) is None


def test_where_the_server_knows_no_conditions_it_is_looked_first(
    store: S3Store, proxy: S3Proxy
) -> None:
    def choose(_method: str, _path: str, headers: dict[str, str]) -> Fault | None:
        return Fault(refuse=(501, "NotImplemented")) if "if-none-match" in headers else None

    proxy.choose = choose
    store.put(KEY, DATA)
    store.put(KEY, DATA)
    with pytest.raises(ImmutableConflictError):
        store.put(KEY, b"other")
    store.put("sessions/one/large", LARGE)
    with pytest.raises(ImmutableConflictError):
        store.put("sessions/one/large", LARGE[:-1])
    assert store.get(KEY) == DATA


def test_what_was_never_finished_goes_with_the_rest(store: S3Store) -> None:
    writer = store.writer(KEY)
    writer.write(LARGE)
    store.delete_below("sessions/one")
    with pytest.raises((StoreError, BlobMissingError)):
        writer.commit()
    assert store.keys("") == []


# --- a worker that is killed ---------------------------------------------------------------------


async def test_a_worker_that_is_killed_while_it_copies_leaves_nothing_to_be_missed(
    server: S3Server, proxy: S3Proxy, tmp_path: Path
) -> None:
    env = {
        "RECORDER_STORAGE__KIND": "s3",
        "RECORDER_STORAGE__ENDPOINT": proxy.url,
        "RECORDER_STORAGE__BUCKET": BUCKET,
        "RECORDER_STORAGE__PREFIX": "killed-worker/",
        "RECORDER_STORAGE__ACCESS_KEY_ID": OWNER[0],
        "RECORDER_STORAGE__SECRET_ACCESS_KEY": OWNER[1],
        "RECORDER_STORAGE__SWEEP_S": "0.5",
        "RECORDER_DISK__FLOOR_BYTES": "1",
        "RECORDER_CHUNK__DURATION_S": "0.5",
        "RECORDER_CAPTURE__SEGMENT_S": "0.25",
    }

    def chunks(method: str, path: str, _headers: dict[str, str]) -> Fault | None:
        return Fault(stall=True) if method == "PUT" and "/chunks/" in path else None

    proxy.choose = chunks
    with WorkerProcess(tmp_path, env=env) as worker:
        async with RecorderClient.connect(worker.nats_url) as client:
            source = {"kind": "pattern", "width": 64, "height": 48, "frames": 30, "pace": "fast"}
            started = await client.start(source)
            await asyncio.to_thread(proxy.stalled.wait, 60)
            await client.wait_sealed(started.session_id, 60)
        await asyncio.to_thread(worker.kill)
        store = S3Store(server.place("killed-worker/"))
        prefix = keys.blob_key(started.session_id, keys.CHUNKS)
        assert store.keys(prefix) == []
        proxy.go_on()
        await asyncio.to_thread(worker.restart)
        folder = worker.data_dir / "sessions" / started.session_id
        marker = worker.data_dir / "copies" / started.session_id
        await until(marker.exists)
        assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
        names = sorted(path.name for path in (folder / "chunks").iterdir())
        assert [key.rpartition("/")[2] for key in store.keys(prefix)] == names
        for name in names:
            assert store.get(f"{prefix}/{name}") == (folder / "chunks" / name).read_bytes()
