"""Chunks of an encrypted session: made of the spool, adopted, raced for, and given up."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from memory_store import MemoryStore

from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.cipher.names import CIPHER_NONE, CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    PermanentError,
    SessionKeyMissingError,
    StoreError,
    UnsupportedError,
)
from recorder_worker.core.events import (
    Checkpoint,
    ChunkPlanned,
    ChunkStored,
    Event,
    GapLeaf,
    SegmentRef,
    Totals,
)
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.model import Cursor, Span
from recorder_worker.core.subjects import Fact
from recorder_worker.ports import Frame, Logged
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages import payload
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.compress import CompressStage, stored_chunk
from recorder_worker.stages.compressors import Compressors
from recorder_worker.stages.payload import find_payload, store_payload, stored_segments

SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000a1"
CIPHER = SessionCipher(SESSION, bytes(range(32)))
SECOND = 10**9
NOISE = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
TEXT = (NOISE // 128 * 255)[:, :1].repeat(64, axis=1)


def writer_to(store: MemoryStore, cipher: SessionCipher | None) -> SegmentWriter:
    return SegmentWriter(
        store=store,
        session_id=SESSION,
        clock=SystemClock(),
        cursor=Cursor(),
        limits=SegmentLimits(duration_ns=SECOND, plain_size=1 << 20, level=1),
        keyframes=KeyframePolicy(min_interval_ns=SECOND, max_interval_ns=60 * SECOND),
        masks=(),
        cipher=cipher,
    )


def spooled(
    store: MemoryStore, *pictures: np.ndarray, cipher: SessionCipher | None = CIPHER
) -> ChunkPlanned:
    """A segment for each picture, and the plan of a chunk of them."""
    writer = writer_to(store, cipher)
    segments = []
    for nth, picture in enumerate(pictures):
        writer.add(Frame(picture, nth * SECOND), nth * SECOND)
        segment = writer.close((nth + 1) * SECOND)
        assert segment is not None
        segments.append(segment)
    return ChunkPlanned(
        session_id=SESSION,
        index=1,
        captured=len(segments),
        span=Span(
            first_unit=0,
            unit_count=len(segments),
            t0_ns=0,
            t1_ns=len(segments) * SECOND,
            wall0_ns=0,
            wall1_ns=0,
        ),
        keyframe=True,
        raw_size=sum(each.raw_size for each in segments),
        plain_size=sum(each.plain_size for each in segments),
        zstd_level=3,
        zstd_window_log=23,
        cipher=CIPHER_NONE if cipher is None else CIPHER_SEALED,
        segments=tuple(
            SegmentRef(
                name=each.name,
                plain_size=each.plain_size,
                plain_blake3=each.plain_blake3,
                stored_size=each.stored_size,
                stored_blake3=each.stored_blake3,
            )
            for each in segments
        ),
    )


def plain_of(store: MemoryStore, plan: ChunkPlanned, codec: str) -> bytes:
    return b"".join(stored_segments(store, plan, CIPHER, codec))


def blob(store: MemoryStore, name: str) -> bytes:
    return store.get(keys.blob_key(SESSION, name))


def clear_spool(store: MemoryStore) -> None:
    store.delete_below(keys.blob_key(SESSION, keys.SEGMENTS))


# --- what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize(("picture", "codec"), [(TEXT, "zstd"), (NOISE, "stored")])
def test_segments_and_chunk_are_sealed_and_hold_what_was_captured(
    picture: np.ndarray, codec: str
) -> None:
    store = MemoryStore()
    plan = spooled(store, picture)
    found = store_payload(store, plan, CIPHER)
    assert (found.codec, found.name.endswith(".enc")) == (codec, True)
    assert len(blob(store, found.name)) == found.stored_size
    plain = plain_of(store, plan, codec)
    assert picture[0].tobytes() in plain
    assert CIPHER.hasher().update(plain).hexdigest() == found.plain_blake3
    for key in store.keys(keys.session_prefix(SESSION)):
        data = store.get(key)
        assert data.startswith(b"SREE\x01"), key
        for row in picture:
            assert row.tobytes() not in data, key
        assert zstandard.FRAME_HEADER not in data, key


def test_without_a_key_nothing_changes_but_the_name() -> None:
    """The control of the test above: plain pictures and zstd frames are found where they are."""
    store = MemoryStore()
    plan = spooled(store, NOISE, cipher=None)
    found = store_payload(store, plan, None)
    assert (found.codec, found.name) == ("stored", "chunks/0000000001.raw")
    assert NOISE[0].tobytes() in blob(store, found.name)
    assert zstandard.FRAME_HEADER in blob(store, plan.segments[0].name)


def test_plain_bytes_are_given_to_no_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer's bytes are on the disk before `commit`, in a spare file."""
    written: list[bytes] = []
    store = MemoryStore()

    class Watching:
        def __init__(self, key: str) -> None:
            self._writer = MemoryStore.writer(store, key)

        def write(self, data: bytes) -> None:
            written.append(bytes(data))
            self._writer.write(data)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (commit and abort)
            return getattr(self._writer, name)

    monkeypatch.setattr(store, "writer", Watching)
    store_payload(store, spooled(store, NOISE), CIPHER)
    assert written
    data = b"".join(written)
    assert all(row.tobytes() not in data for row in NOISE)
    assert zstandard.FRAME_HEADER not in data


def test_a_segment_that_could_not_be_stored_is_sealed_to_the_same_bytes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store may have the first ones after all: other bytes would be a conflict."""
    store, tried = MemoryStore(), []
    put = store.put

    def failing(key: str, data: bytes) -> None:
        tried.append((key, data))
        put(key, data)
        if len(tried) == 1:
            raise StoreError("applied, but reported as failed")

    monkeypatch.setattr(store, "put", failing)
    writer = writer_to(store, CIPHER)
    writer.add(Frame(TEXT, 0), 0)
    with pytest.raises(StoreError):
        writer.close(SECOND)
    assert writer.close(SECOND) is not None
    assert tried[0] == tried[1]


# --- once more: redelivery, take-over, race -------------------------------------------------------


@pytest.mark.parametrize("picture", [TEXT, NOISE], ids=["zstd", "stored"])
def test_a_redelivery_adopts_what_is_stored_also_behind_the_spool(picture: np.ndarray) -> None:
    store = MemoryStore()
    plan = spooled(store, picture)
    first = store_payload(store, plan, CIPHER)
    clear_spool(store)
    assert store_payload(store, plan, CIPHER) == first
    assert find_payload(store, plan, CIPHER) == first
    assert store.puts[keys.blob_key(SESSION, first.name)] == 1


def test_a_payload_that_was_made_and_lost_is_made_to_the_same_bytes_again() -> None:
    store = MemoryStore()
    plan = spooled(store, TEXT, NOISE)
    first = store_payload(store, plan, CIPHER)
    data = blob(store, first.name)
    store.delete(keys.blob_key(SESSION, first.name))
    assert store_payload(store, plan, CIPHER) == first
    assert blob(store, first.name) == data


def test_workers_that_race_store_one_payload() -> None:
    store = MemoryStore()
    plan = spooled(store, *[TEXT, NOISE] * 4)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: store_payload(store, plan, CIPHER), range(8)))
    assert len(found) == 1
    chunks = store.keys(keys.blob_key(SESSION, keys.CHUNKS))
    assert chunks == [keys.blob_key(SESSION, found.pop().name)]


def test_another_version_of_zstd_shares_no_key_and_what_it_stored_is_adopted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other compressed bytes of the same pictures must not be sealed with the same key."""
    store, other = MemoryStore(), MemoryStore()
    plan = spooled(store, TEXT, TEXT[::-1].copy())
    for key in store.keys(keys.session_prefix(SESSION)):
        other.put(key, store.get(key))
    first = store_payload(store, plan, CIPHER)
    parameters = zstandard.ZstdCompressionParameters.from_level(19)
    others = Compressors(lambda: zstandard.ZstdCompressor(compression_params=parameters))
    monkeypatch.setattr(payload, "_compressors", lambda *_: others)
    second = store_payload(other, plan, CIPHER)
    one, two = blob(store, first.name), blob(other, second.name)
    assert one != two
    assert one[5:37] != two[5:37], "the seed, of which the key is made"
    assert second.plain_blake3 == first.plain_blake3
    assert store_payload(store, plan, CIPHER) == first, "what stands is adopted"
    # The same, where the other worker finds it only when it commits.
    monkeypatch.setattr(payload, "find_payload", _blind_once(find_payload))
    assert store_payload(store, plan, CIPHER) == first


def _blind_once(find: Any) -> Any:  # noqa: ANN401  (the function of the product)
    looked: list[bool] = []

    def found(*arguments: Any) -> Any:  # noqa: ANN401  (as above)
        looked.append(True)
        return None if len(looked) == 1 else find(*arguments)

    return found


# --- what is not as it was sealed ----------------------------------------------------------------


def test_a_segment_or_chunk_that_was_changed_is_damage() -> None:
    store = MemoryStore()
    plan = spooled(store, TEXT)
    name = plan.segments[0].name
    data = bytearray(blob(store, name))
    data[-1] ^= 1
    store.tamper(keys.blob_key(SESSION, name), bytes(data))
    with pytest.raises(BlobDamagedError, match="do not have the digest of its event"):
        store_payload(store, plan, CIPHER)
    store = MemoryStore()
    found = store_payload(store, plan := spooled(store, TEXT), CIPHER)
    store.tamper(keys.blob_key(SESSION, found.name), blob(store, found.name)[:-1])
    with pytest.raises(BlobDamagedError, match="cannot be opened"):
        find_payload(store, plan, CIPHER)


def test_a_segment_of_another_place_does_not_open_even_with_its_event() -> None:
    """Who may write events and files has no key, but could put one second in place of another."""
    store = MemoryStore()
    plan = spooled(store, TEXT, NOISE)
    one, two = plan.segments
    moved = keys.segment(0, two.plain_blake3)
    store.put(keys.blob_key(SESSION, moved), blob(store, two.name))
    false = msgspec.structs.replace(plan, segments=(msgspec.structs.replace(two, name=moved), one))
    with pytest.raises(BlobDamagedError, match="in another place"):
        store_payload(store, false, CIPHER)


# --- the stage -----------------------------------------------------------------------------------


NOTE = "the last note\n"


def checkpoint(note: str) -> Logged:
    """The last one that the stream has, which seals."""
    signed = Checkpoint(
        session_id=SESSION,
        tree_size=3,
        root_hash="ab" * 32,
        note=note,
        totals=Totals(),
        sealed=True,
    )
    return Logged(signed, 1, note)


class Heard:
    """What a stage publishes, and the last checkpoint that it finds."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.signed: Logged | None = None

    async def emit(self, fact: Fact, session_id: str, event: Event, *, key: str) -> None:
        assert (fact, session_id) == (Fact.COMPRESSED, SESSION), key
        self.events.append(event)

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        assert (fact, session_id) == (Fact.CHECKPOINT, SESSION)
        return self.signed


class Bench:
    def __init__(self, folder: Path) -> None:
        self.store, self.log = MemoryStore(), Heard()
        self.keys = CipherKeyFiles(folder)
        self.cipher = SessionCipher(SESSION, self.keys.make(SESSION))
        self.plan = spooled(self.store, TEXT, cipher=self.cipher)

    def handle(self, plan: ChunkPlanned | None = None) -> None:
        metrics = Metrics(version="0", node="tests")
        stage = CompressStage(self.log, self.store, metrics, self.keys)  # type: ignore[arg-type]
        asyncio.run(stage.handle(plan or self.plan))


def test_the_stage_stores_a_chunk_of_the_sessions_cipher(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.handle()
    bench.handle()
    one, again = bench.log.events
    assert isinstance(one, ChunkStored)
    assert (
        one
        == again
        == stored_chunk(bench.plan, store_payload(bench.store, bench.plan, bench.cipher))
    )
    assert (one.cipher, one.name) == (CIPHER_SEALED, "chunks/0000000001.zst.enc")


def test_a_key_that_is_lost_is_a_gap_that_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.keys.erase(SESSION)
    with pytest.raises(SessionKeyMissingError):
        bench.handle()
    (gap,) = bench.log.events
    assert isinstance(gap, GapLeaf)
    assert (gap.reason.value, gap.span) == ("dead_letter", bench.plan.span)
    assert "expected the key that session" in gap.detail


def test_what_comes_again_behind_the_seal_needs_no_key_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.handle()
    clear_spool(bench.store)
    bench.keys.erase(SESSION)
    bench.store.put(keys.blob_key(SESSION, keys.SEAL), NOTE.encode())
    bench.log.signed = checkpoint(NOTE)
    before = list(bench.log.events)
    bench.handle()
    assert bench.log.events == before


@pytest.mark.parametrize("signed", [None, "another note\n"])
def test_behind_a_seal_that_is_not_the_sessions_own_a_lost_key_is_a_gap_all_the_same(
    tmp_path: Path, signed: str | None
) -> None:
    bench = Bench(tmp_path)
    bench.keys.erase(SESSION)
    bench.store.put(keys.blob_key(SESSION, keys.SEAL), NOTE.encode())
    bench.log.signed = checkpoint(signed) if signed else None
    with pytest.raises(SessionKeyMissingError):
        bench.handle()
    assert [type(event) for event in bench.log.events] == [GapLeaf]


def test_a_key_of_another_session_opens_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(secrets.token_bytes(32))
    with pytest.raises(BlobDamagedError, match="sealed with another key"):
        bench.handle()
    assert [type(event) for event in bench.log.events] == [GapLeaf]


def test_a_cipher_that_the_worker_does_not_know_is_a_gap_and_never_plain(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(UnsupportedError, match="expected cipher none or chacha20-poly1305"):
        bench.handle(msgspec.structs.replace(bench.plan, cipher="rot13"))
    assert [type(event) for event in bench.log.events] == [GapLeaf]
    assert bench.store.keys(keys.blob_key(SESSION, keys.CHUNKS)) == []


def test_an_event_that_calls_an_encrypted_chunk_plain_gets_nothing_opened(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises((PermanentError, zstandard.ZstdError)):
        bench.handle(msgspec.structs.replace(bench.plan, cipher=CIPHER_NONE))
    assert bench.store.keys(keys.blob_key(SESSION, keys.CHUNKS)) == []


def test_a_spool_that_is_gone_is_missing_and_not_damaged() -> None:
    store = MemoryStore()
    plan = spooled(store, TEXT)
    clear_spool(store)
    with pytest.raises(BlobMissingError):
        store_payload(store, plan, CIPHER)
