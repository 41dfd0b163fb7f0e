"""The archive and the notary of the merkle stage: races, foreign files, lost heads."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from memory_store import MemoryStore

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError, ImmutableConflictError, IncidentError
from recorder_worker.core.events import Head, Totals
from recorder_worker.core.note import NoteKey, parse_note, verify_note
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


class Key:
    """A device key in memory."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def session_secret(self, session_id: str) -> bytes:
        return session_id.encode()[:32]


HEAD = Head(
    session_id=SESSION,
    tree_size=SIZE,
    root_hash="ab" * 32,
    frontier="",
    totals=Totals(),
    signed_at_s=1_000_000,
    sealed=False,
    reason="",
)
LATER = msgspec.structs.replace(HEAD, signed_at_s=1_000_777)


def bench() -> tuple[MemoryStore, Archive, Key, Notary]:
    store, key = MemoryStore(), Key()
    return store, Archive(store, SESSION), key, Notary(key, "recorder.test")


def test_a_new_checkpoint_is_signed_at_the_heads_time_and_stored() -> None:
    store, archive, key, notary = bench()
    note = notary.note(HEAD, archive)
    assert store.get(keys.blob_key(SESSION, keys.note(SIZE))) == note
    signer = NoteKey(name="recorder.test", public_key=key.public_key)
    assert verify_note(parse_note(note), signer) == HEAD.signed_at_s


def test_a_stored_checkpoint_of_another_time_is_adopted() -> None:
    _, archive, _, notary = bench()
    assert notary.note(LATER, archive) == notary.note(HEAD, archive)


def test_the_checkpoint_of_a_sealed_recording_is_adopted() -> None:
    store, archive, _, notary = bench()
    note = notary.note(HEAD, archive)
    for index in range(SIZE):
        archive._put(keys.leaf(index), b"leaf")
    seal_by_another(store, note)
    assert notary.note(LATER, archive) == note
    archive.seal(SIZE, note)


@pytest.mark.parametrize(
    "head",
    [
        msgspec.structs.replace(HEAD, root_hash="cd" * 32),
        msgspec.structs.replace(HEAD, session_id=SESSION[:-1] + "2"),
    ],
)
def test_a_stored_checkpoint_of_another_tree_is_an_incident(head: Head) -> None:
    _, archive, _, notary = bench()
    notary.note(HEAD, archive)
    with pytest.raises(IncidentError, match="found another"):
        notary.note(head, archive)


def test_a_stored_checkpoint_of_another_key_is_an_incident() -> None:
    _, archive, _, notary = bench()
    Notary(Key(), "recorder.test").note(HEAD, archive)
    with pytest.raises(IncidentError, match="found another"):
        notary.note(HEAD, archive)


def test_what_is_no_checkpoint_is_an_incident() -> None:
    _, archive, _, notary = bench()
    archive.put_note(SIZE, b"nonsense")
    with pytest.raises(IncidentError, match="found another"):
        notary.note(HEAD, archive)
