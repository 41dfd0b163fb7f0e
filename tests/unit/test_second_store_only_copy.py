"""What stands in the second store may be the only copy: one wrong answer of it removes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from faulty_store import FaultyStore
from memory_store import MemoryStore
from recordings import Recording
from telling import Telling

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.copy_marker import CopyMarker, Expected, encode_marker
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    CopyDamagedError,
    RecorderError,
)
from recorder_worker.core.events import SessionOffloaded
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.offload import Offload
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.integrations.storage import StorageReports
from recorder_worker.service.observing.metrics import Metrics

KEY = "sessions/one/chunks/0000000001.zst"
DATA = bytes(range(256)) * 10_000
GIVEN = Expected(len(DATA), hashlib.sha256(DATA).hexdigest())
SESSION = "00000000-0000-4000-8000-000000000001"
LATE = f"sessions/{SESSION}/chunks/0000000007.zst"


def copier_of(local: MemoryStore, second: FaultyStore) -> Copier:
    return Copier(local, lambda: second, Metrics(version="1", node="n").copies)


def fails(kind: type[RecorderError], times: int) -> Callable[[str, str], None]:
    """A store that does not find, so often, a blob that it is asked about."""
    left = [None] * times

    def fault(call: str, key: str) -> None:
        if call == "digest" and left:
            left.pop()
            raise kind(f"{key}: not found")

    return fault


@pytest.mark.parametrize("kind", [BlobMissingError, BlobDamagedError])
def test_a_copy_that_is_not_found_once_stays(kind: type[RecorderError]) -> None:
    local, second = MemoryStore(), FaultyStore()
    second.held.put(KEY, DATA)
    second.fault = fails(kind, 1)
    assert copier_of(local, second).copy(KEY, GIVEN).size == len(DATA)
    assert second.held.get(KEY) == DATA


@pytest.mark.parametrize("kind", [BlobMissingError, BlobDamagedError])
def test_a_copy_that_is_not_found_and_has_no_whole_file_here_stays(
    kind: type[RecorderError],
) -> None:
    local, second = MemoryStore(), FaultyStore()
    second.held.put(KEY, DATA)
    second.fault = fails(kind, 2)
    with pytest.raises(BlobMissingError, match="nothing is removed there"):
        copier_of(local, second).copy(KEY, GIVEN)
    local.put(KEY, b"\x01" + DATA[1:])
    second.fault = fails(kind, 2)
    with pytest.raises(BlobDamagedError, match="nothing is removed there"):
        copier_of(local, second).copy(KEY, GIVEN)
    assert second.held.get(KEY) == DATA
    assert {"delete", "replace"}.isdisjoint(call for call, _ in second.calls)


def test_a_part_that_nobody_can_read_is_written_over_by_the_whole_file_here() -> None:
    local, second = MemoryStore(), FaultyStore()
    local.put(KEY, DATA)
    second.held.put(KEY, DATA[:100])
    second.fault = fails(BlobDamagedError, 2)
    copier = copier_of(local, second)
    with pytest.raises(CopyDamagedError, match="looked at again"):
        copier.copy(KEY, GIVEN)
    assert second.held.get(KEY) == DATA
    assert copier.copy(KEY, GIVEN).size == len(DATA)
    assert "delete" not in [call for call, _ in second.calls]


def test_a_copy_that_is_found_damaged_is_known_as_whole_no_more() -> None:
    """Two of one process copy one blob: the one remembers it, the look of the other is spoilt."""
    local, second = MemoryStore(), FaultyStore()
    local.put(KEY, DATA)
    copier = copier_of(local, second)

    def between(call: str, _key: str) -> None:
        if call == "commit":
            second.back()
            copier.copy(KEY, GIVEN)
            second.spoilt[KEY] = 1

    second.fault = between
    with pytest.raises(CopyDamagedError):
        copier.copy(KEY, GIVEN)
    looks = second.calls.count(("digest", KEY))
    copier.copy(KEY, GIVEN)
    assert second.calls.count(("digest", KEY)) == looks + 1
    assert second.held.get(KEY) == DATA


async def test_a_chunk_that_is_in_no_record_has_no_copy_and_stays() -> None:
    """A worker that stood still wakes up: in the place of its chunk the record has a gap."""
    local, second = MemoryStore(), FaultyStore()
    recording = Recording(SESSION).open()
    recording.chunk(1)
    recording.chunk(1)
    for name, data in recording.seal().sealed().items():
        for store in (local, second.held):
            store.put(f"sessions/{SESSION}/{name}", data)
    marker = CopyMarker(
        location="there", seal_sha256="00" * 32, file_count=9, file_bytes=9, archived_wall_ns=1
    )
    local.put(f"copies/{SESSION}", encode_marker(marker))
    local.put(LATE, b"the only bytes that there are of that gap")
    clock, metrics, log = SystemClock(), Metrics(version="1", node="n"), Telling()
    patience = Patience(Troubles(clock, metrics.copies), (0.001,))
    offload = Offload(
        log,  # type: ignore[arg-type] # it only tells
        copier_of(local, second),
        patience,
        StorageReports(log, clock, node="n"),  # type: ignore[arg-type] # as above
        clock,
        metrics.copies,
        node="n",
        keep_ns=0,
    )
    # One wrong answer is believed by nobody here either.
    second.fault = fails(BlobMissingError, 1)
    await offload.take_away(SESSION)
    (told,) = log.told
    assert isinstance(told, SessionOffloaded)
    assert told.chunk_count == 2
    assert local.keys(f"sessions/{SESSION}/chunks") == [LATE]
