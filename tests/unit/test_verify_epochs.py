"""Steps 3 and 4: whose keys sign what. The attackers have keys, but not those of every epoch."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from edited_recordings import edited, expect, report
from recording_files import FilesReader
from recordings import RECORDER, KeysOfTests, Recording, device_key

from recorder_worker.core import keys
from recorder_worker.core.records.codec import decode_record, encode_record, signed_open
from recorder_worker.core.records.leaves import EpochRecord, OpenRecord
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify import Report, Status, Step, Verdict, verify


def three_epochs() -> Recording:
    """OPEN 0, EPOCHs at 3 and 6, SEAL 8; a checkpoint behind every record."""
    recording = Recording(checkpoint_every=1).open().chunk().beat().epoch()
    return recording.chunk().beat().epoch().chunk().seal()


def detail(found: Report, step: Step) -> str:
    return next(s for s in found.steps if s.number == step).detail


def resigned(recording: Recording, size: int, epoch: int) -> Recording:
    """The true checkpoint of a size, signed by the key of some epoch."""
    root = parse_note(recording.notes[size]).head.root_hash
    recording.notes[size] = recording.note(size, root, key=recording.keys.epoch_key(epoch))
    return recording


def reopened(recording: Recording, **changes: object) -> Recording:
    """OPEN with other values, endorsed again by the device: an insider's work."""
    record = decode_record(recording.records[0])
    assert isinstance(record, OpenRecord)
    changed = msgspec.structs.replace(record, device_signatures=(), **changes)
    signatures = recording.keys.endorse(signed_open(changed))
    signed = msgspec.structs.replace(changed, device_signatures=signatures)
    recording.replace_record(0, encode_record(signed))
    return recording


def test_epochs_are_counted() -> None:
    found = report(three_epochs())
    assert (found.verdict, found.epochs) == (Verdict.COMPLETE, 3)


@pytest.mark.parametrize(
    ("size", "signer", "owner"),
    [(1, 1, 0), (2, 2, 0), (4, 1, 0), (5, 0, 1), (7, 2, 1), (8, 1, 2), (9, 0, 2)],
    ids=[
        "an old range signed by a newer key",
        "an old range signed by the newest key",
        "an epoch closed by the one that it opens",
        "a newer range signed by an old key",
        "an epoch closed by the next one's key",
        "the newest range signed by the key before",
        "the seal signed by the first key",
    ],
)
def test_a_key_signs_in_its_own_epoch_alone(size: int, signer: int, owner: int) -> None:
    found = expect(resigned(three_epochs(), size, signer), Step.EPOCHS)
    assert f"is of epoch {owner}, and signed by the key of epoch {signer}" in detail(
        found, Step.EPOCHS
    )


@pytest.mark.parametrize("size", [1, 5, 9])
def test_a_strangers_key_signs_nothing(size: int) -> None:
    recording = three_epochs()
    root = parse_note(recording.notes[size]).head.root_hash
    recording.notes[size] = recording.note(size, root, key=device_key(2))
    expect(recording, Step.SIGNATURES)


def test_the_devices_key_signs_no_checkpoint() -> None:
    recording = three_epochs()
    root = parse_note(recording.notes[9]).head.root_hash
    recording.notes[9] = recording.note(9, root, key=device_key())
    expect(recording, Step.SIGNATURES)


@pytest.mark.parametrize("size", [4, 7])
def test_an_epoch_has_to_be_closed(size: int) -> None:
    recording = three_epochs()
    del recording.notes[size]
    found = expect(recording, Step.EPOCHS)
    assert f"a checkpoint of size {size} that closes the one before" in detail(found, Step.EPOCHS)


def test_an_epoch_at_the_unsigned_end_need_not_be_closed_yet() -> None:
    recording = Recording(checkpoint_every=1).open().chunk().epoch()
    del recording.notes[3]
    found = verify(FilesReader(recording.journal()))
    assert (found.verdict, found.failed_step) == (Verdict.TRUNCATED, Step.WHOLE)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_epochs_have_no_hole_and_no_number_twice(number: int) -> None:
    found = expect(edited(three_epochs(), 6, number=number), Step.EPOCHS)
    assert "expected epoch 2 behind epoch 1" in detail(found, Step.EPOCHS)


def test_a_key_that_comes_back_is_no_new_key() -> None:
    """Keys are erased at the end of their epoch, so none can sign in two."""
    recording = three_epochs()
    again = KeysOfTests(recording.session_id, device_key()).epoch_keys(0)
    found = report(edited(recording, 6, keys=again))
    assert found.verdict is Verdict.TAMPERED
    assert "has signed for another epoch" in detail(found, Step.EPOCHS)


def test_a_forged_history_of_an_old_epoch_contradicts_what_was_signed_in_it() -> None:
    """Who has stolen the newest key rewrites the past, and signs all that he can."""
    honest = three_epochs()
    old = {size: note for size, note in honest.notes.items() if size <= 4}
    edited(honest, 2, wall_ns=5)
    honest.notes |= old
    found = report(honest)
    assert (found.verdict, found.failed_step) == (Verdict.EQUIVOCATION, Step.CHECKPOINTS)


def test_an_epoch_needs_keys_of_the_kinds_in_open() -> None:
    found = report(edited(three_epochs(), 3, keys=()))
    assert found.verdict is Verdict.TAMPERED
    assert "expected keys of the kinds in OPEN, found no keys" in detail(found, Step.EPOCHS)


# --- OPEN and the device -------------------------------------------------------------------------


def test_open_is_signed_by_the_device() -> None:
    expect(edited(three_epochs(), 0, node="another"), Step.SIGNATURES)
    assert report(reopened(three_epochs(), node="another")).verdict is Verdict.COMPLETE


@pytest.mark.parametrize("signatures", [(), (bytes(64),), (b"",)])
def test_open_without_a_true_signature(signatures: tuple[bytes, ...]) -> None:
    expect(edited(three_epochs(), 0, device_signatures=signatures), Step.SIGNATURES)


def test_open_with_one_signature_too_many() -> None:
    record = decode_record(three_epochs().records[0])
    assert isinstance(record, OpenRecord)
    twice = record.device_signatures * 2
    expect(edited(three_epochs(), 0, device_signatures=twice), Step.SIGNATURES)


@pytest.mark.parametrize("field", ["device_keys", "epoch_keys"])
def test_a_set_of_keys_begins_with_ed25519_and_has_one_of_each(field: str) -> None:
    recording = three_epochs()
    record = decode_record(recording.records[0])
    key = getattr(record, field)[0]
    for wrong in ((), (key, key), (PublicKey(KeyKind.ML_DSA_44, bytes(1312)),)):
        assert report(reopened(three_epochs(), **{field: wrong})).verdict is Verdict.TAMPERED


# --- ML-DSA-44 beside Ed25519 --------------------------------------------------------------------


class KeysOfBothKinds(KeysOfTests):
    """The same ML-DSA-44 key in every epoch: only here is that of no matter."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, device_key())
        self.second = MLDSA44PrivateKey.from_seed_bytes(bytes(32))

    def _second(self) -> PublicKey:
        return PublicKey(KeyKind.ML_DSA_44, self.second.public_key().public_bytes_raw())

    def device_keys(self) -> tuple[PublicKey, ...]:
        return (*super().device_keys(), self._second())

    def endorse(self, message: bytes) -> tuple[bytes, ...]:
        return (*super().endorse(message), self.second.sign(message))

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        return (*super().epoch_keys(number), self._second())


class RecordingOfBothKinds(Recording):
    """Every checkpoint has two lines."""

    def __init__(self) -> None:
        super().__init__(checkpoint_every=1)
        self.both = KeysOfBothKinds(self.session_id)
        self.keys = self.both
        self.context = msgspec.structs.replace(self.context, keys=self.both)

    def note(self, size: int, root: bytes, **_: object) -> bytes:
        head = parse_note(super().note(size, root)).head
        one = self.both.epoch_key(self.epoch_at(size))
        first = NoteKey(name=RECORDER, public_key=one.public_key().public_bytes_raw())
        second = NoteKey(
            name=RECORDER,
            public_key=self.both.second.public_key().public_bytes_raw(),
            type=SignatureType.COSIGNATURE_ML_DSA_44,
        )
        return sign_checkpoint(
            head,
            signers=[
                NoteSigner(key=first, sign=one.sign),
                NoteSigner(key=second, sign=self.both.second.sign),
            ],
            signed_at_s=1_760_000_000 + size,
        )


def of_both_kinds() -> Recording:
    return RecordingOfBothKinds().open().chunk().epoch().chunk().seal()


def test_both_keys_of_an_epoch_have_to_sign() -> None:
    found = report(of_both_kinds())
    assert (found.verdict, found.trust.ml_dsa_44) == (Verdict.COMPLETE, True)
    for line in (-1, -2):
        recording = of_both_kinds()
        lines = recording.notes[2].splitlines(keepends=True)
        del lines[line]
        recording.notes[2] = b"".join(lines)
        expect(recording, Step.SIGNATURES)


def test_a_flipped_bit_in_the_second_signature_is_seen() -> None:
    recording = of_both_kinds()
    note = recording.notes[2]
    at = note.rindex(b" ") + 4000
    letter = b"B" if note[at : at + 1] != b"B" else b"C"
    recording.notes[2] = note[:at] + letter + note[at + 1 :]
    expect(recording, Step.SIGNATURES)


def test_an_epoch_that_drops_the_second_key_is_refused() -> None:
    recording = of_both_kinds()
    record = decode_record(recording.records[2])
    assert isinstance(record, EpochRecord)
    found = report(edited(recording, 2, keys=record.keys[:1]))
    assert found.verdict is Verdict.TAMPERED
    assert next(s for s in found.steps if s.number == Step.EPOCHS).status is Status.FAILED


def test_signatures_of_witnesses_are_told_and_not_looked_at() -> None:
    recording = three_epochs()
    witness = recording.note(9, bytes(32), key=device_key(7)).splitlines(keepends=True)[-1]
    recording.notes[9] += witness.replace(RECORDER.encode(), b"witness.example")
    found = report(recording)
    assert found.verdict is Verdict.COMPLETE
    assert any("further signatures" in text for text in found.warnings)
    assert keys.SEAL in recording.sealed()
