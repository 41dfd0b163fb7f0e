"""What a sealed session's files must be before they stand for what was copied while it ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faulty_store import FaultyStore
from memory_store import MemoryStore
from recordings import Recording, device_key, whole
from telling import Telling

from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys
from recorder_worker.core.errors import BlobDamagedError, BlobMissingError
from recorder_worker.core.merkle.tree import Frontier
from recorder_worker.core.signing.note import parse_note, parse_notes
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.integrations.second_store.archiver import Archiver
from recorder_worker.integrations.second_store.copier import Copier
from recorder_worker.integrations.second_store.patience import Patience, Troubles
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.stages.stored_recording import StoredRecording

SESSION = "0192f0c1-2b3c-7d4e-8f50-000000000001"
PREFIX = f"sessions/{SESSION}"


class Archived:
    """A sealed session here, and what was copied of it while it was recorded."""

    def __init__(self) -> None:
        self.local, self.second, self.log = MemoryStore(), FaultyStore(), Telling()
        self.recording = whole(SESSION)
        self.files = self.recording.sealed()
        for name, data in self.files.items():
            self.local.put(f"{PREFIX}/{name}", data)
        for name, data in self.recording.journal().items():
            self.second.held.put(f"{PREFIX}/{name}", data)
        self.before = self.copy()

    def copy(self) -> dict[str, bytes]:
        """All that the second store has."""
        return {key: self.second.held.get(key) for key in self.second.held.keys("")}

    async def archive(self) -> None:
        """As the fact of the seal has it done."""
        metrics, clock = Metrics(version="1", node="n").copies, SystemClock()
        copier = Copier(self.local, lambda: self.second, metrics)
        patience = Patience(Troubles(clock, metrics), (0.001,))
        archiver = Archiver(self.log, copier, patience, clock, node="n", keep_local=True)  # type: ignore[arg-type] # it only tells
        root = parse_note(self.files[keys.SEAL]).head.root_hash.hex()
        await archiver.archive(SESSION, root)


@pytest.fixture
def archived() -> Archived:
    return Archived()


def notes_of(recording: Recording, change: Callable[[dict[int, bytes]], object]) -> bytes:
    """The file `checkpoints`, with something changed in it."""
    notes = dict(recording.notes)
    change(notes)
    return b"".join(notes[size] for size in sorted(notes))


def a_bit(recording: Recording) -> bytes:
    """Of a signature, in the midst of the file."""
    data = bytearray(recording.sealed()[keys.CHECKPOINTS])
    at = data.index("— ".encode(), len(data) // 2) + 60
    data[at] = ord("A") if data[at] != ord("A") else ord("B")
    assert parse_notes(bytes(data)), "it reads well, and no key has signed it"
    return bytes(data)


def a_bit_of_a_line(recording: Recording) -> bytes:
    data = recording.sealed()[keys.CHECKPOINTS]
    return data[:10] + bytes([data[10] ^ 0x80]) + data[11:]


def cut(recording: Recording) -> bytes:
    return recording.sealed()[keys.CHECKPOINTS][:-200]


def without_one(recording: Recording) -> bytes:
    return notes_of(recording, lambda notes: notes.pop(sorted(notes)[2]))


def without_the_last(recording: Recording) -> bytes:
    return notes_of(recording, lambda notes: notes.pop(max(notes)))


def by_another_key(recording: Recording) -> bytes:
    def change(notes: dict[int, bytes]) -> None:
        root = parse_note(notes[2]).head.root_hash
        notes[2] = recording.note(2, root, key=device_key(9))

    return notes_of(recording, change)


def of_another_tree(recording: Recording) -> bytes:
    """Signed by the right key: what an insider, or a defect, may have left."""

    def change(notes: dict[int, bytes]) -> None:
        notes[2] = recording.note(2, Frontier().append(b"x" * 32).root())

    return notes_of(recording, change)


def out_of_order(recording: Recording) -> bytes:
    first, second, *rest = (recording.notes[size] for size in sorted(recording.notes))
    return b"".join((second, first, *rest))


@pytest.mark.parametrize(
    "damage",
    [
        a_bit,
        a_bit_of_a_line,
        cut,
        without_one,
        without_the_last,
        by_another_key,
        of_another_tree,
        out_of_order,
        lambda _recording: b"",
    ],
)
async def test_checkpoints_that_are_not_what_was_signed_take_no_good_copy_with_them(
    archived: Archived, damage: Callable[[Recording], bytes]
) -> None:
    """What goes from the copy with them may be the only good ones."""
    archived.local.tamper(f"{PREFIX}/{keys.CHECKPOINTS}", damage(archived.recording))
    with pytest.raises(BlobDamagedError, match="nothing is copied or removed by it"):
        await archived.archive()
    assert archived.copy() == archived.before
    assert archived.log.told == []
    assert archived.local.size(keys.copies(SESSION)) is None
    report = verify(StoredRecording(archived.second.held, SESSION))
    assert report.verdict is Verdict.COMPLETE, "as it was before"


async def test_where_there_are_no_checkpoints_those_of_the_copy_stay(archived: Archived) -> None:
    archived.local.delete(f"{PREFIX}/{keys.CHECKPOINTS}")
    with pytest.raises(BlobMissingError):
        await archived.archive()
    assert archived.copy() == archived.before


@pytest.mark.parametrize("name", [keys.MANIFEST, "marks/"])
async def test_what_a_record_names_by_its_digest_is_copied_by_it(
    archived: Archived, name: str
) -> None:
    key = next(key for key in archived.local.keys(PREFIX) if key.startswith(f"{PREFIX}/{name}"))
    archived.second.held.delete(key)
    archived.local.tamper(key, archived.local.get(key)[:-1] + b"x")
    with pytest.raises(BlobDamagedError, match="nothing is copied or removed by it"):
        await archived.archive()
    assert archived.second.held.size(key) is None
    assert archived.second.held.keys(f"{PREFIX}/{keys.JOURNAL}")


async def test_what_is_damaged_here_behind_the_look_does_not_become_a_copy(
    archived: Archived,
) -> None:
    """Looked at, and then read anew to be sent: it is sent as what it was when it was looked at."""
    damaged = f"{PREFIX}/{keys.CHECKPOINTS}"

    def damage(call: str, key: str) -> None:
        if (call, key) == ("writer", damaged):
            archived.local.tamper(damaged, a_bit(archived.recording))

    archived.second.fault = damage
    with pytest.raises(BlobDamagedError, match="nothing was copied"):
        await archived.archive()
    assert archived.second.held.size(damaged) is None
    assert archived.second.held.keys(f"{PREFIX}/{keys.JOURNAL}")


async def test_a_whole_session_of_several_epochs_is_archived_as_it_was_sealed(
    archived: Archived,
) -> None:
    assert b"".join(archived.recording.notes.values()) == archived.files[keys.CHECKPOINTS]
    await archived.archive()
    assert archived.copy() == {f"{PREFIX}/{name}": data for name, data in archived.files.items()}
    assert len(archived.log.told) == 1
    report = verify(StoredRecording(archived.second.held, SESSION))
    assert report.verdict is Verdict.COMPLETE
