"""Copies, where the second store fails in every way that it can."""

from __future__ import annotations

import asyncio
import hashlib
import threading

import pytest
import structlog
from blake3 import blake3
from faulty_store import FaultyStore
from memory_store import MemoryStore

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.copy_marker import CopyMarker, Expected, encode_marker, parse_marker
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    CopyDamagedError,
    FormatError,
    ImmutableConflictError,
    SecondStoreError,
    StoreError,
    StoreFullError,
)
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.second_store.repair import Repairs
from recorder_worker.service.observing.copies import CopyMeters
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.patrol.chunk_check import StoredChunk

KEY = "sessions/one/chunks/0000000001.zst"
DATA = bytes(range(256)) * 10_000


def expected(data: bytes = DATA) -> Expected:
    return Expected(len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1", node="n")


@pytest.fixture
def local() -> MemoryStore:
    store = MemoryStore()
    store.put(KEY, DATA)
    return store


@pytest.fixture
def second() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def copier(local: MemoryStore, second: FaultyStore, metrics: Metrics) -> Copier:
    return Copier(local, lambda: second, metrics.copies)


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_copy_is_checked_and_not_sent_again(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    copied = copier.copy(KEY, expected())
    assert (copied.size, copied.sha256, copied.checked) == (
        len(DATA),
        expected().sha256,
        "attested",
    )
    assert second.held.get(KEY) == DATA
    copier.forget("sessions/one")
    copier.copy(KEY, expected())
    copier.copy(KEY)
    assert second.held.puts == {KEY: 1}
    assert counted(metrics, "recorder_copied_bytes_total") == len(DATA)
    assert counted(metrics, "recorder_copies_total", checked="attested") == 2


def test_a_small_blob_that_is_there_is_found_by_sending_it(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.put("sessions/one/seal", b"seal")
    second.held.put("sessions/one/seal", b"seal")
    assert copier.copy("sessions/one/seal").size == 4
    assert ("size", "sessions/one/seal") not in second.calls
    local.put("sessions/one/records", b"records")
    second.held.put("sessions/one/records", b"others")
    with pytest.raises(ImmutableConflictError):
        copier.copy("sessions/one/records")


def test_where_no_store_is_believed_the_copy_is_read_back(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    copier = Copier(local, lambda: second, metrics.copies, read_back=True)
    assert copier.copy(KEY).checked == "read_back"


@pytest.mark.parametrize("call", ["size", "writer", "write", "commit", "digest"])
@pytest.mark.parametrize("kind", [StoreError, StoreFullError])
def test_whichever_call_fails_the_next_try_has_it(
    copier: Copier, second: FaultyStore, local: MemoryStore, call: str, kind: type[StoreError]
) -> None:
    failed: list[str] = []

    def fail(name: str, key: str) -> None:
        if name == call and not failed:
            failed.append(key)
            raise kind(f"cannot {name}")

    second.fault = fail
    with pytest.raises(SecondStoreError, match=f"cannot {call}"):
        copier.copy(KEY, expected())
    assert failed == [KEY]
    if call != "digest":
        assert second.held.size(KEY) is None, "nothing stands under the name of a broken copy"
    copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA
    assert local.get(KEY) == DATA


def test_a_copy_that_does_not_come_back_is_written_over_and_looked_at_again(
    copier: Copier, second: FaultyStore, metrics: Metrics, local: MemoryStore
) -> None:
    second.spoilt[KEY] = 1
    with pytest.raises(CopyDamagedError, match="looked at again"):
        copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA
    assert counted(metrics, "recorder_copies_damaged_total") == 1
    assert local.get(KEY) == DATA
    copier.copy(KEY, expected())
    assert second.held.get(KEY) == DATA


def test_other_bytes_that_were_there_before_are_not_replaced(
    copier: Copier, second: FaultyStore
) -> None:
    second.held.put(KEY, b"of somebody else")
    for _ in range(2):
        with pytest.raises(ImmutableConflictError, match="find out who wrote it"):
            copier.copy(KEY, expected())
    assert second.held.get(KEY) == b"of somebody else"


def test_what_is_damaged_here_never_becomes_a_copy(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.tamper(KEY, b"\x01" + DATA[1:])
    with pytest.raises(BlobDamagedError, match="nothing was copied"):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []


def test_what_is_nowhere_is_missing_and_what_is_there_is_enough(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    local.delete(KEY)
    with pytest.raises(BlobMissingError):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []
    second.held.put(KEY, DATA)
    assert copier.copy(KEY, expected()).sha256 == expected().sha256


def test_a_worker_that_stops_leaves_nothing_half_sent(copier: Copier, second: FaultyStore) -> None:
    def stop(name: str, _key: str) -> None:
        if name == "write":
            copier.stop()

    second.fault = stop
    with pytest.raises(SecondStoreError, match="stops"):
        copier.copy(KEY, expected())
    assert second.held.keys("") == []


def test_a_store_that_cannot_be_opened_is_opened_later(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    tries: list[int] = []

    def open_it() -> FaultyStore:
        tries.append(1)
        if len(tries) < 3:
            raise StoreError("the disk is not mounted")
        return second

    copier = Copier(local, open_it, metrics.copies)
    for _ in range(2):
        with pytest.raises(SecondStoreError, match="not mounted"):
            copier.copy(KEY)
    copier.copy(KEY)
    copier.copy(KEY)
    assert len(tries) == 3


def test_what_is_replaced_here_is_replaced_there(
    copier: Copier, second: FaultyStore, local: MemoryStore
) -> None:
    for note in (b"size 1", b"size 2, and longer"):
        local.replace("log/checkpoint", note)
        assert copier.mirror("log/checkpoint", replaced=True)
        assert not copier.mirror("log/checkpoint", replaced=True)
        assert second.held.get("log/checkpoint") == note


# --- waiting -------------------------------------------------------------------------------------


async def test_a_store_that_is_away_for_an_hour_is_waited_for(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    """An hour at the last wait of 30 s is 120 tries: here of a millisecond."""
    second.away()
    tries = 0

    def work() -> str:
        nonlocal tries
        tries += 1
        if tries == 120:
            second.back()
        return copier.copy(KEY, expected()).sha256

    troubles = Troubles(SystemClock(), metrics.copies)
    patience = Patience(troubles, (0.001,))
    with structlog.testing.capture_logs() as logs:
        waiting = asyncio.create_task(patience.until_done(KEY, work))
        while not troubles.text:
            await asyncio.sleep(0.001)
        assert "no answer" in troubles.text
        assert counted(metrics, "recorder_second_store_ok_state") == 0
        assert await waiting == expected().sha256
    events = [line["event"] for line in logs]
    assert events == ["SecondStoreFailed", "SecondStoreWorks"], "one line, not one for each try"
    assert troubles.text == ""
    assert counted(metrics, "recorder_second_store_ok_state") == 1
    assert counted(metrics, "recorder_copy_failures_total") == 119
    assert second.held.get(KEY) == DATA


async def test_a_worker_that_stops_waits_no_more(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    second.away()
    patience = Patience(Troubles(SystemClock(), metrics.copies), (3600.0,))
    waiting = asyncio.create_task(patience.until_done(KEY, lambda: copier.copy(KEY)))
    while not patience.troubles.text:
        await asyncio.sleep(0.001)
    patience.stop()
    with pytest.raises(SecondStoreError, match="no answer"):
        await waiting


async def test_a_request_that_hangs_holds_up_no_stop(
    copier: Copier, second: FaultyStore, metrics: Metrics
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(_call: str, _key: str) -> None:
        asked.set()
        answer.wait()

    second.fault = hang
    patience = Patience(Troubles(SystemClock(), metrics.copies), (3600.0,))
    waiting = asyncio.create_task(patience.until_done(KEY, lambda: copier.copy(KEY)))
    await asyncio.to_thread(asked.wait)
    patience.stop()
    with pytest.raises(SecondStoreError, match="this worker stops"):
        await waiting
    answer.set()


async def test_one_bad_blob_does_not_hide_behind_others_that_work(
    local: MemoryStore, second: FaultyStore, metrics: Metrics
) -> None:
    local.put("sessions/one/seal", b"seal")
    copier = Copier(local, lambda: second, metrics.copies)
    troubles = Troubles(SystemClock(), metrics.copies)
    patience = Patience(troubles, (0.001,))
    gate = threading.Event()
    second.spoilt[KEY] = 1

    def bad() -> None:
        if second.spoilt[KEY] == 0:
            gate.wait()
        copier.copy(KEY)

    waiting = asyncio.create_task(patience.until_done(KEY, bad))
    while not troubles.text:
        await asyncio.sleep(0.001)
    await patience.until_done("seal", lambda: copier.copy("sessions/one/seal"))
    assert "looked at again" in troubles.text
    gate.set()
    await waiting
    assert troubles.text == ""


# --- repair --------------------------------------------------------------------------------------

CHUNK = StoredChunk(key=KEY, index=1, size=len(DATA), digest=blake3(DATA).digest())


@pytest.mark.parametrize("damage", ["gone", "changed", "cut"])
def test_what_is_not_whole_here_is_put_back(
    local: MemoryStore, second: FaultyStore, damage: str
) -> None:
    second.held.put(KEY, DATA)
    if damage == "gone":
        local.delete(KEY)
    else:
        local.tamper(KEY, DATA[:-1] + (b"" if damage == "cut" else b"x"))
    repair = Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)
    assert repair is not None
    assert not repair.lost
    assert repair.name == "chunks/0000000001.zst"
    assert local.get(KEY) == DATA
    assert Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK) is None


@pytest.mark.parametrize("other", [None, b"others", DATA[:-1], DATA[:-1] + b"x"])
def test_bytes_that_are_not_those_of_the_record_are_put_nowhere(
    local: MemoryStore, second: FaultyStore, other: bytes | None
) -> None:
    if other is not None:
        second.held.put(KEY, other)
    local.tamper(KEY, b"damaged")
    repair = Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)
    assert repair is not None
    assert repair.lost
    assert local.get(KEY) == b"damaged"


def test_a_store_that_is_away_has_lost_nothing(local: MemoryStore, second: FaultyStore) -> None:
    second.held.put(KEY, DATA)
    second.away()
    local.delete(KEY)
    with pytest.raises(StoreError):
        Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK)


def test_a_whole_chunk_is_not_touched_and_the_second_store_not_asked(
    local: MemoryStore, second: FaultyStore
) -> None:
    second.away()
    assert Repairs(local, second, lambda _session_id: False).chunk("one", CHUNK) is None
    assert second.calls == []


# --- the marker ----------------------------------------------------------------------------------


def test_a_marker_is_read_strictly() -> None:
    marker = CopyMarker(
        location="s3://bucket/sessions/one",
        seal_sha256="ab" * 32,
        file_count=3,
        file_bytes=4,
        archived_wall_ns=5,
    )
    assert parse_marker(encode_marker(marker)) == marker
    assert not marker.leaving
    for bad in (
        b"",
        b"{}",
        b'{"v":2}',
        encode_marker(marker)[:-1],
        b"\xff",
        encode_marker(marker) + b"x",
    ):
        with pytest.raises(FormatError):
            parse_marker(bad)


def test_the_meters_begin_well(metrics: Metrics) -> None:
    assert isinstance(metrics.copies, CopyMeters)
    assert counted(metrics, "recorder_second_store_ok_state") == 1
