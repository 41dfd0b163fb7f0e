"""Every attack on the files of a recording is seen, and named by the step that must see it.

These attackers do not have the key: they change, move and remove files.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from judged_files import framed
from recording_files import FilesReader
from recordings import OTHER_SESSION, Recording, device_key, whole, with_gap

from recorder_worker.core import keys
from recorder_worker.core.errors import StoreError
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.verify import Report, Status, Step, Verdict, verify

Files = dict[str, bytes]
Attack = Callable[[Files], object]
CHUNK_1, CHUNK_2, CHUNK_5 = (keys.chunk(n, compressed=True) for n in (1, 2, 10))
STORED = keys.chunk(7, compressed=False)
MARK = keys.mark(3)


def report(files: Files) -> Report:
    return verify(FilesReader(files))


def flip(name: str, at: int = 0) -> Attack:
    def attack(files: Files) -> None:
        data = bytearray(files[name])
        data[at] ^= 0x10
        files[name] = bytes(data)

    return attack


def flip_in_last_record(at: int) -> Attack:
    def attack(files: Files) -> None:
        flip(keys.RECORDS, at - len(whole().records[-1]))(files)

    return attack


def put(name: str, change: Callable[[bytes], bytes]) -> Attack:
    return lambda files: files.__setitem__(name, change(files[name]))


def remove(name: str) -> Attack:
    return lambda files: files.pop(name)


def swap(one: str, other: str) -> Attack:
    return lambda files: files.update({one: files[other], other: files[one]})


def transplant(name: str) -> Attack:
    return lambda files: files.update({name: whole(OTHER_SESSION).sealed()[name]})


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def with_records(change: Callable[[list[bytes]], list[bytes]]) -> Attack:
    return lambda files: files.update({keys.RECORDS: framed(change(list(whole().records)))})


def cut_off(files: Files) -> None:
    """The last records, and everything signed about them."""
    recording = whole()
    size = 6
    note = recording.notes[size]
    files[keys.RECORDS] = framed(recording.records[:size])
    files[keys.CHECKPOINTS] = b"".join(recording.notes[n] for n in (2, 4, 6))
    files[keys.SEAL] = note


def as_journal(size: int) -> Callable[[Files], None]:
    """The end cut off in the only form in which a recorder leaves no end."""

    def attack(files: Files) -> None:
        recording = whole()
        recording.records = recording.records[:size]
        recording.notes = {n: note for n, note in recording.notes.items() if n <= size}
        files.clear()
        files.update(recording.journal())

    return attack


def by_another_key(files: Files) -> None:
    """The checkpoints signed again by somebody else; the records still name the old key."""
    recording = whole()
    recording.notes = {
        size: recording.note(size, parse_note(note).head.root_hash, key=device_key(2))
        for size, note in recording.notes.items()
    }
    files.update(recording.sealed())


ATTACKS: dict[str, tuple[Attack, Step, Verdict]] = {
    "flip a byte of a chunk": (flip(CHUNK_1, 20), Step.STORED, Verdict.TAMPERED),
    "flip the last byte of a chunk": (flip(CHUNK_2, -1), Step.STORED, Verdict.TAMPERED),
    "flip a byte of a stored chunk": (flip(STORED, 40), Step.STORED, Verdict.TAMPERED),
    "flip a byte of the manifest": (flip(keys.MANIFEST), Step.ATTACHED, Verdict.TAMPERED),
    "flip a byte of a mark": (flip(MARK, 5), Step.ATTACHED, Verdict.TAMPERED),
    "flip a byte of the seal": (flip(keys.SEAL, -10), Step.PARSE, Verdict.TAMPERED),
    "a byte in the checkpoints that base64 has not": (
        put(keys.CHECKPOINTS, lambda notes: notes[:200] + b"*" + notes[201:]),
        Step.PARSE,
        Verdict.TAMPERED,
    ),
    "flip the salt of OPEN": (flip(keys.RECORDS, 4 + 35), Step.SIGNATURES, Verdict.TAMPERED),
    "flip the version of a record": (flip(keys.RECORDS, 4 + 4), Step.ROOT, Verdict.TAMPERED),
    "flip the type of a record": (flip(keys.RECORDS, 4 + 5), Step.ROOT, Verdict.TAMPERED),
    "flip a length in the records": (flip(keys.RECORDS, 3), Step.PARSE, Verdict.TAMPERED),
    "swap two chunks": (swap(CHUNK_1, CHUNK_2), Step.STORED, Verdict.TAMPERED),
    "delete a chunk": (remove(CHUNK_2), Step.STORED, Verdict.TAMPERED),
    "truncate a chunk": (put(CHUNK_1, lambda d: d[:-1]), Step.STORED, Verdict.TAMPERED),
    "append to a chunk": (put(CHUNK_1, lambda d: d + b"\0"), Step.STORED, Verdict.TAMPERED),
    "empty a chunk": (put(CHUNK_1, lambda _: b""), Step.STORED, Verdict.TAMPERED),
    "transplant a chunk": (
        put(CHUNK_1, lambda _: whole().sealed()[CHUNK_5]),
        Step.STORED,
        Verdict.TAMPERED,
    ),
    "flip the salt of SEAL": (flip_in_last_record(35), Step.ROOT, Verdict.TAMPERED),
    "transplant the records": (transplant(keys.RECORDS), Step.SIGNATURES, Verdict.TAMPERED),
    "transplant the seal": (transplant(keys.SEAL), Step.PARSE, Verdict.TAMPERED),
    "transplant the manifest": (transplant(keys.MANIFEST), Step.ATTACHED, Verdict.TAMPERED),
    "delete the manifest": (remove(keys.MANIFEST), Step.ATTACHED, Verdict.TAMPERED),
    "delete a mark": (remove(MARK), Step.ATTACHED, Verdict.TAMPERED),
    "delete the records": (remove(keys.RECORDS), Step.PARSE, Verdict.TAMPERED),
    "delete the checkpoints": (remove(keys.CHECKPOINTS), Step.PARSE, Verdict.TAMPERED),
    "delete the seal": (remove(keys.SEAL), Step.PARSE, Verdict.TAMPERED),
    "duplicate a record": (
        with_records(lambda r: [*r[:3], r[2], *r[3:]]),
        Step.EPOCHS,
        Verdict.TAMPERED,
    ),
    "swap two records": (
        with_records(lambda r: [r[0], r[2], r[1], *r[3:]]),
        Step.ROOT,
        Verdict.TAMPERED,
    ),
    "drop a record": (with_records(lambda r: r[:2] + r[3:]), Step.EPOCHS, Verdict.TAMPERED),
    "drop the SEAL record": (with_records(lambda r: r[:-1]), Step.ROOT, Verdict.TAMPERED),
    "append a record": (with_records(lambda r: [*r, r[-1]]), Step.PLACE, Verdict.TAMPERED),
    "truncate the records within one": (
        put(keys.RECORDS, lambda d: d[:-5]),
        Step.PARSE,
        Verdict.TAMPERED,
    ),
    "append to the records": (put(keys.RECORDS, lambda d: d + b"x"), Step.PARSE, Verdict.TAMPERED),
    "repeat the checkpoints": (
        put(keys.CHECKPOINTS, lambda d: d + d),
        Step.CHECKPOINTS,
        Verdict.TAMPERED,
    ),
    "drop the last checkpoint": (
        lambda f: f.update({keys.CHECKPOINTS: b"".join(whole().notes[n] for n in (2, 4))}),
        Step.PARSE,
        Verdict.TAMPERED,
    ),
    "cut off the end and its signatures": (cut_off, Step.WHOLE, Verdict.TRUNCATED),
    "cut off the end as a journal": (as_journal(6), Step.WHOLE, Verdict.TRUNCATED),
    "sign again with another key": (by_another_key, Step.SIGNATURES, Verdict.TAMPERED),
    "replace the key's bytes": (
        lambda f: f.update(
            {keys.RECORDS: f[keys.RECORDS].replace(public(device_key()), public(device_key(2)))}
        ),
        Step.SIGNATURES,
        Verdict.TAMPERED,
    ),
    "replace the bytes of an epoch's key": (
        lambda f: f.update(
            {
                keys.RECORDS: f[keys.RECORDS].replace(
                    public(whole().keys.epoch_key(1)), public(device_key(2))
                )
            }
        ),
        Step.SIGNATURES,
        Verdict.TAMPERED,
    ),
    "no file at all": (lambda f: f.clear(), Step.SIGNATURES, Verdict.TRUNCATED),
}


@pytest.mark.parametrize(("attack", "step", "verdict"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attack(attack: Attack, step: Step, verdict: Verdict) -> None:
    files = whole().sealed()
    attack(files)
    found = report(files)
    assert (found.verdict, found.failed_step) == (verdict, step)
    assert found.exit_code >= 10
    assert next(s for s in found.steps if s.number == step).status is Status.FAILED


def test_every_damaged_chunk_is_listed() -> None:
    files = whole().sealed()
    flip(CHUNK_1, 9)(files)
    files.pop(CHUNK_5)
    found = report(files)
    assert found.chunk_map == "X...?."
    assert found.damaged == (CHUNK_1, CHUNK_5)
    plain = next(s for s in found.steps if s.number == Step.PLAIN)
    assert plain.status is Status.NOT_REACHED
    assert "2 of 6" in plain.detail


def test_a_missing_chunk_of_two_with_the_same_bytes_is_seen() -> None:
    """Equal bytes may be swapped unseen, since nothing is changed by it; not dropped."""
    recording = Recording().open().chunk(1, codec="stored").seal()
    files = recording.sealed()
    assert report(files).verdict is Verdict.COMPLETE
    files[keys.chunk(9, compressed=False)] = files.pop(keys.chunk(1, compressed=False))
    found = report(files)
    assert (found.verdict, found.chunk_map) == (Verdict.TAMPERED, "?")
    assert found.warnings == ("not part of the record: chunks/0000000009.raw",)


def test_a_file_that_no_record_speaks_of_is_reported_and_changes_nothing() -> None:
    files = whole().sealed()
    files |= {"notes.txt": b"", "chunks/0000000099.zst": b"", "journal/odd\x1b[2J": b"x"}
    found = report(files)
    assert found.verdict is Verdict.COMPLETE
    assert "not part of the record: notes.txt" in found.warnings
    assert "not part of the record: chunks/0000000099.zst" in found.warnings
    assert "not part of the record: journal/odd\\x1b[2J" in found.warnings


def test_chunks_ahead_of_the_records_are_normal_while_recording() -> None:
    recording = Recording().open().chunk()
    files = recording.journal() | {"chunks/0000000009.zst": b"", "segments/x.seg": b""}
    found = report(files)
    assert found.verdict is Verdict.TRUNCATED
    assert found.warnings == ()


# --- two forms -----------------------------------------------------------------------------------


def test_a_recorder_stopped_at_any_point_of_sealing_leaves_a_whole_recording() -> None:
    recording = with_gap()
    journal, sealed = recording.journal(), recording.sealed()
    files = dict(journal)
    states = [dict(files)]
    for name in (keys.RECORDS, keys.CHECKPOINTS, keys.SEAL):
        files[name] = sealed[name]
        states.append(dict(files))
    for name in [name for name in journal if name.startswith("journal/")]:
        del files[name]
        states.append(dict(files))
    assert [report(state).verdict for state in states] == (
        [Verdict.COMPLETE_WITH_GAPS] * len(states)
    )
    assert files == sealed


@pytest.mark.parametrize("name", [keys.leaf(1), keys.note(2)])
def test_a_journal_that_differs_from_its_compact_form_is_tampering(name: str) -> None:
    recording = with_gap()
    files = recording.journal() | recording.sealed()
    other = whole(OTHER_SESSION).journal()
    files[name] = other[name]
    found = report(files)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PARSE)


@pytest.mark.parametrize("name", [keys.leaf(9), keys.note(9)])
def test_a_journal_with_more_than_its_compact_form_is_tampering(name: str) -> None:
    recording = with_gap()
    files = recording.journal() | recording.sealed()
    files[name] = whole().journal()[keys.leaf(8) if "leaves" in name else keys.note(9)]
    assert report(files).verdict is Verdict.TAMPERED


def test_a_hole_in_the_journal_is_tampering() -> None:
    files = whole().journal()
    del files[keys.leaf(3)]
    found = report(files)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PARSE)


def test_a_note_under_the_name_of_another_size_is_tampering() -> None:
    files = whole().journal()
    files[keys.note(3)] = files.pop(keys.note(4))
    found = report(files)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PARSE)


def test_records_behind_the_last_signature_are_said_to_be_unsigned() -> None:
    recording = Recording(checkpoint_every=2).open().chunk().chunk()
    found = report(recording.journal())
    assert (found.tree_size, found.signed_size) == (3, 2)
    assert found.verdict is Verdict.TRUNCATED
    assert any("nothing is signed" in warning for warning in found.warnings)


def test_a_seal_that_is_not_signed_yet_does_not_count() -> None:
    recording = with_gap()
    del recording.notes[5]
    found = report(recording.journal())
    assert (found.verdict, found.failed_step) == (Verdict.TRUNCATED, Step.WHOLE)


def test_records_without_any_signature_prove_nothing() -> None:
    recording = whole()
    recording.notes.clear()
    found = report(recording.journal())
    assert (found.verdict, found.failed_step) == (Verdict.TRUNCATED, Step.SIGNATURES)
    assert found.signed_size == 0


def test_what_the_store_cannot_read_is_a_finding_and_no_crash() -> None:
    class Broken(FilesReader):
        def read(self, name: str) -> bytes:
            raise StoreError(f"{name}: input/output error")

    class Odd(FilesReader):
        def read(self, name: str) -> bytes:
            raise ZeroDivisionError(name)

    for reader in (Broken(whole().sealed()), Odd(whole().sealed())):
        assert verify(reader).verdict is Verdict.TAMPERED
