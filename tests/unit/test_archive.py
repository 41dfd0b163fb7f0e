"""The archive and the notary of the merkle stage: races, foreign files, lost heads."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from memory_store import MemoryStore

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobMissingError,
    ImmutableConflictError,
    IncidentError,
    KeyErasedError,
)
from recorder_worker.core.events import EpochKeys, Head, Totals
from recorder_worker.core.signing.note import note_keys, parse_note, verify_note
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.stages.merkle.archive import Archive
from recorder_worker.stages.merkle.notary import Notary

SESSION = "00000000-0000-4000-8000-000000000001"
SIZE = 3
SEAL_NOTE = b"the last note\n"


class RacyStore(MemoryStore):
    """Lets something happen just before the n-th read of a key that contains a text."""

    def __init__(self) -> None:
        super().__init__()
        self._part = ""
        self._left = 0
        self._act: Callable[[], None] = lambda: None

    def before(self, part: str, count: int, act: Callable[[], None]) -> None:
        self._part, self._left, self._act = part, count, act

    def get(self, key: str) -> bytes:
        if self._left and self._part in key:
            self._left -= 1
            if not self._left:
                self._act()
        return super().get(key)


def grown() -> tuple[RacyStore, Archive]:
    """A recording of three leaves that is not sealed yet."""
    store = RacyStore()
    for index in range(SIZE):
        store.put(keys.blob_key(SESSION, keys.leaf(index)), b"leaf %d" % index)
        store.put(keys.blob_key(SESSION, keys.note(index + 1)), b"note %d\n" % index)
    return store, Archive(store, SESSION)


def seal_by_another(store: MemoryStore, note: bytes = SEAL_NOTE) -> None:
    other = Archive(store, SESSION)
    other.seal(SIZE, note)
    other.clear_journal()


def test_a_foreign_seal_is_an_incident_and_nothing_is_removed() -> None:
    store, archive = grown()
    store.put(keys.blob_key(SESSION, keys.SEAL), b"of another session")
    before = store.keys("")
    with pytest.raises(IncidentError, match="nothing was removed"):
        archive.seal(SIZE, SEAL_NOTE)
    assert store.keys("") == before


def test_a_recording_may_be_sealed_again_with_the_same_note() -> None:
    store, archive = grown()
    seal_by_another(store)
    archive.seal(SIZE, SEAL_NOTE)
    assert archive.records(SIZE) == [b"leaf 0", b"leaf 1", b"leaf 2"]


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_records_are_found_while_another_worker_seals(reads: int) -> None:
    store, archive = grown()
    store.before(keys.LEAVES, reads, lambda: seal_by_another(store))
    assert archive.records(SIZE) == [b"leaf 0", b"leaf 1", b"leaf 2"]


def test_a_record_that_is_gone_is_still_missed() -> None:
    store, archive = grown()
    store.delete(keys.blob_key(SESSION, keys.leaf(1)))
    with pytest.raises(BlobMissingError):
        archive.records(SIZE)


@pytest.mark.parametrize("place", [keys.LEAVES, keys.NOTES])
@pytest.mark.parametrize("reads", [1, 2, 3])
def test_of_two_workers_that_seal_neither_sees_an_incident(place: str, reads: int) -> None:
    store, archive = grown()
    store.before(place, reads, lambda: seal_by_another(store))
    archive.seal(SIZE, SEAL_NOTE)
    archive.clear_journal()
    assert store.get(keys.blob_key(SESSION, keys.SEAL)) == SEAL_NOTE


def test_another_seal_under_our_hands_is_an_incident() -> None:
    store, archive = grown()
    store.before(keys.LEAVES, 2, lambda: seal_by_another(store, b"of somebody else"))
    with pytest.raises(IncidentError):
        archive.seal(SIZE, SEAL_NOTE)


def test_foreign_records_are_not_taken_for_a_race() -> None:
    store, archive = grown()
    store.put(keys.blob_key(SESSION, keys.CHECKPOINTS), b"of another session")
    with pytest.raises(ImmutableConflictError):
        archive.seal(SIZE, SEAL_NOTE)


class EpochKey:
    """The part of a signer that a notary uses: one epoch's key, until it is closed."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = PublicKey(KeyKind.ED25519, self._key.public_key().public_bytes_raw())
        self.closed = False

    def sign_epoch(self, _session_id: str, epoch: int, _kind: KeyKind, message: bytes) -> bytes:
        if self.closed:
            raise KeyErasedError(f"epoch {epoch} is closed")
        return self._key.sign(message)


HEAD = Head(
    session_id=SESSION,
    session_counter=1,
    tree_size=SIZE,
    root_hash="ab" * 32,
    frontier="",
    totals=Totals(),
    signing=EpochKeys(),
    epoch=EpochKeys(),
    signed_at_s=1_000_000,
    sealed=False,
    reason="",
)


class Bench:
    """A notary, an archive, and heads that its epoch signs."""

    def __init__(self) -> None:
        self.store, self.key = MemoryStore(), EpochKey()
        self.archive = Archive(self.store, SESSION)
        self.notary = Notary(self.key, "recorder.test")  # type: ignore[arg-type]

    def head(self, **changes: object) -> Head:
        epoch = EpochKeys(number=0, keys=(self.key.public,))
        return msgspec.structs.replace(HEAD, signing=epoch, epoch=epoch, **changes)

    def note(self, **changes: object) -> bytes:
        return self.notary.note(self.head(**changes), self.archive)


def test_a_new_checkpoint_is_signed_at_the_heads_time_and_stored() -> None:
    bench = Bench()
    note = bench.note()
    assert bench.store.get(keys.blob_key(SESSION, keys.note(SIZE))) == note
    (signer,) = note_keys("recorder.test", (bench.key.public,))
    assert verify_note(parse_note(note), signer) == HEAD.signed_at_s


def test_a_stored_checkpoint_of_another_time_is_adopted() -> None:
    bench = Bench()
    assert bench.note(signed_at_s=1_000_777) == bench.note()


def test_a_checkpoint_that_another_worker_stores_meanwhile_is_adopted() -> None:
    bench = Bench()
    theirs: list[bytes] = []
    put = bench.archive.put_note

    def quicker(size: int, note: bytes) -> None:
        bench.archive.put_note = put  # type: ignore[method-assign]
        theirs.append(bench.note(signed_at_s=1_000_777))
        put(size, note)

    bench.archive.put_note = quicker  # type: ignore[method-assign]
    assert [bench.note()] == theirs


def test_the_checkpoint_of_a_sealed_recording_is_adopted() -> None:
    bench = Bench()
    note = bench.note()
    for index in range(SIZE):
        bench.archive._put(keys.leaf(index), b"leaf")
    seal_by_another(bench.store, note)
    assert bench.note(signed_at_s=1_000_777) == note
    bench.archive.seal(SIZE, note)


def test_a_closed_epoch_adopts_its_checkpoint_and_signs_no_other() -> None:
    bench = Bench()
    note = bench.note()
    bench.key.closed = True
    assert bench.note(signed_at_s=1_000_777) == note
    with pytest.raises(IncidentError, match="epoch 0 is closed; found none"):
        bench.note(tree_size=SIZE + 1)


@pytest.mark.parametrize("changes", [{"root_hash": "cd" * 32}, {"session_id": SESSION[:-1] + "2"}])
def test_a_stored_checkpoint_of_another_tree_is_an_incident(changes: dict[str, str]) -> None:
    bench = Bench()
    bench.note()
    with pytest.raises(IncidentError, match="found another"):
        bench.note(**changes)


def test_a_stored_checkpoint_of_another_key_is_an_incident() -> None:
    bench, other = Bench(), Bench()
    other.archive = bench.archive
    other.note()
    with pytest.raises(IncidentError, match="found another"):
        bench.note()


def test_what_is_no_checkpoint_is_an_incident() -> None:
    bench = Bench()
    bench.archive.put_note(SIZE, b"nonsense")
    with pytest.raises(IncidentError, match="found another"):
        bench.note()
