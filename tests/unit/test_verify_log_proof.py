"""Steps 14 to 16 on a whole recording: the log of sessions, receipts, and the window."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recording_files import FilesReader, write
from recordings import RECORDER, SESSION, Recording, device_key
from rotations import rotated
from time_stamp_authority import Tsa

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.merkle.proofs import inclusion_proof
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.session_log.entries import (
    EntryKind,
    LogEntry,
    encode_entry,
    entry_hash,
)
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    TreeHead,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.signing.rotation import parse_rotation
from recorder_worker.core.verify import (
    Report,
    Status,
    Step,
    TrustedKey,
    TrustPolicy,
    Verdict,
    verify,
)
from recorder_worker.core.verify.policy import Rules

OPEN, SEAL = "proofs/open", "proofs/seal"
ORIGIN = f"{RECORDER}/log"
KEY = TrustedKey(name="lab 7", public_key=device_key().public_key().public_bytes_raw())


class Log:
    """The log of one recorder, with three entries of others in front."""

    def __init__(self, key: Ed25519PrivateKey | None = None, origin: str = ORIGIN) -> None:
        self.tree = Tree([SHA256.leaf(b"another entry %d" % n) for n in range(3)], hasher=SHA256)
        self.key = key or device_key()
        self.origin = origin

    def note(self, size: int | None = None, root: bytes | None = None) -> bytes:
        size = self.tree.size if size is None else size
        name = NoteKey(
            name=self.origin,
            public_key=self.key.public_key().public_bytes_raw(),
            type=SignatureType.ED25519,
        )
        head = TreeHead(origin=self.origin, tree_size=size, root_hash=root or self.tree.root(size))
        signers = [NoteSigner(key=name, sign=self.key.sign)]
        return sign_checkpoint(head, signers=signers, signed_at_s=0)

    def add(
        self, kind: EntryKind, note: bytes, *, counter: int = 4, session: str = SESSION
    ) -> bytes:
        """One more entry; gives the proof of it."""
        digest = hashlib.sha256(note).digest()
        entry = LogEntry(kind=kind, session_id=session, counter=counter, note_sha256=digest)
        index = self.tree.size
        self.tree.append(entry_hash(encode_entry(entry)))
        return self.proof(index)

    def proof(self, index: int, note: bytes | None = None) -> bytes:
        hashes = tuple(inclusion_proof(self.tree, index, self.tree.size))
        checkpoint = parse_note(note or self.note())
        return LogProof(index=index, hashes=hashes, checkpoint=checkpoint).text()


def recorded(log: Log, timestamped: bytes = b"", timestamp: bytes = b"") -> Recording:
    recording = Recording(checkpoint_every=1)
    recording.numbered = SessionNumbered(
        session_id=SESSION,
        counter=4,
        beacon=log.note().decode(),
        timestamped=timestamped.decode(),
        timestamp=timestamp,
    )
    return recording.open().chunk().seal()


def logged(recording: Recording, log: Log) -> dict[str, bytes]:
    """The files with both proofs; another session is logged in between."""
    opened = log.add(EntryKind.OPEN, recording.notes[1])
    log.add(EntryKind.OPEN, b"of another session", counter=5)
    sealed = log.add(EntryKind.SEAL, recording.notes[max(recording.notes)])
    return {**recording.sealed(), OPEN: opened, SEAL: sealed}


def good() -> dict[str, bytes]:
    log = Log()
    return logged(recorded(log), log)


def report(files: dict[str, bytes], policy: TrustPolicy | None = None) -> Report:
    return verify(FilesReader(files), policy)


def failed(files: dict[str, bytes], step: Step = Step.LOG) -> Report:
    found = report(files)
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, step), found.steps
    return found


def test_a_session_in_the_log() -> None:
    found = report(good(), TrustPolicy(keys=(KEY,), rules=Rules(require_log_proof=True)))
    step = found.steps[Step.LOG - 1]
    assert (found.verdict, found.exit_code, step.status) == (Verdict.COMPLETE, 0, Status.OK)
    assert step.detail == "OPEN is entry 3 of 4; SEAL is entry 5 of 6"
    assert (found.session_counter, found.warnings) == (4, ())
    assert [rule.held for rule in found.rules] == [True]
    assert any("recorder log verify" in text for text in found.not_proved)


@pytest.mark.parametrize("name", [OPEN, SEAL])
def test_a_proof_that_is_not_there_lowers_no_verdict(name: str) -> None:
    files = good()
    del files[name]
    policy = TrustPolicy(keys=(KEY,), rules=Rules(require_log_proof=True))
    found = report(files, policy)
    assert (found.verdict, found.exit_code) == (Verdict.COMPLETE, 20)
    assert found.steps[Step.LOG - 1].status is Status.OK
    assert report(files).exit_code == 0


@pytest.mark.parametrize("name", [OPEN, SEAL])
def test_every_byte_of_a_proof_counts(name: str) -> None:
    files = good()
    data = files[name]
    missed = []
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
        if report({**files, name: changed}).verdict is not Verdict.TAMPERED:
            missed.append(at)
    assert missed == []


def test_a_proof_of_another_entry() -> None:
    files = good()
    failed({**files, OPEN: files[SEAL]})
    failed({**files, SEAL: files[OPEN]})
    log = Log()
    recording = recorded(log)
    for wrong in (
        log.add(EntryKind.SEAL, recording.notes[1]),
        log.add(EntryKind.OPEN, recording.notes[2]),
        log.add(EntryKind.OPEN, recording.notes[1], counter=5),
        log.add(EntryKind.OPEN, recording.notes[1], session=SESSION.replace("0192", "0193")),
    ):
        failed({**recording.sealed(), OPEN: wrong})


def test_a_log_that_is_not_the_recorder_s() -> None:
    log = Log()
    recording = recorded(log)
    for other in (Log(key=device_key(2)), Log(origin="another-recorder/log")):
        failed({**recording.sealed(), OPEN: other.add(EntryKind.OPEN, recording.notes[1])})


def test_an_entry_that_is_older_than_the_beacon() -> None:
    recording = recorded(Log())
    log = Log()
    log.tree = Tree(hasher=SHA256)
    log.add(EntryKind.OPEN, recording.notes[1])
    log.add(EntryKind.OPEN, b"others", counter=5)
    found = failed({**recording.sealed(), OPEN: log.proof(0)})
    assert "is older than OPEN" in str(found.steps)


def test_a_seal_that_was_logged_before_its_open() -> None:
    log = Log()
    recording = recorded(log)
    seal = log.add(EntryKind.SEAL, recording.notes[3])
    opened = log.add(EntryKind.OPEN, recording.notes[1])
    failed({**recording.sealed(), OPEN: opened, SEAL: seal})


def test_two_views_of_one_log() -> None:
    """The device shows one log to whom it shows OPEN, and another to whom it shows the SEAL."""
    recording = recorded(Log())
    one, other = Log(), Log()
    opened = one.add(EntryKind.OPEN, recording.notes[1])
    one.add(EntryKind.OPEN, b"hidden from the other", counter=5)
    opened = one.proof(3)
    other.add(EntryKind.OPEN, recording.notes[1])
    seal = other.add(EntryKind.SEAL, recording.notes[3])
    found = report({**recording.sealed(), OPEN: opened, SEAL: seal})
    assert (found.verdict, found.failed_step) == (Verdict.EQUIVOCATION, Step.LOG)


def test_a_beacon_of_an_older_key_is_told_and_no_failure() -> None:
    recording = recorded(Log(key=device_key(2)))
    log = Log()
    found = report(logged(recording, log))
    assert found.verdict is Verdict.COMPLETE
    assert any("not signed by the device's key" in text for text in found.warnings)


@pytest.mark.parametrize("beacon", ["nonsense", Log(origin="another/log").note().decode()])
def test_a_beacon_that_is_none(beacon: str) -> None:
    recording = Recording(checkpoint_every=1)
    recording.numbered = SessionNumbered(session_id=SESSION, counter=4, beacon=beacon)
    failed(recording.open().chunk().seal().sealed())


def test_a_proof_of_a_seal_that_was_cut_off() -> None:
    """The end is gone, and everything signed about it; the proof that it was there is not."""
    log = Log()
    recording = recorded(log)
    proofs = logged(recording, log)
    recording.records.pop()
    del recording.notes[3]
    files = recording.journal()
    assert report(files | {OPEN: proofs[OPEN]}).verdict is Verdict.TRUNCATED
    failed(files | {OPEN: proofs[OPEN], SEAL: proofs[SEAL]})


# --- receipts and the window ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def stamped(tsa: Tsa) -> dict[str, bytes]:
    """The log before OPEN is stamped, and the log behind the SEAL."""
    log = Log()
    before = log.note()
    recording = recorded(log, timestamped=before, timestamp=tsa.stamp(before))
    files = logged(recording, log)
    size = log.tree.size
    return {**files, f"{keys.RECEIPTS}/{size:020d}.tsr": tsa.stamp(log.note())}


def test_the_window_is_proved(tsa: Tsa) -> None:
    policy = TrustPolicy(
        keys=(KEY,),
        authorities=(tsa.trusted(),),
        rules=Rules(require_receipt=True, max_window_s=3600.0),
    )
    found = report(stamped(tsa), policy)
    assert (found.verdict, found.exit_code) == (Verdict.COMPLETE, 0), found.rules
    assert [s.status for s in found.steps[13:16]] == [Status.OK] * 3
    window = found.window
    assert window.not_before_ns is not None
    assert window.not_after_ns is not None
    assert 0 < window.not_after_ns - window.not_before_ns < 3600 * 10**9
    # The wall clock of the tests is of last year: the stamps are of now.
    assert any("THE RECORDER'S CLOCK WAS WRONG" in text for text in found.warnings)
    assert not any("time unproven" in text for text in found.not_proved)


def test_without_a_policy_no_authority_is_believed(tsa: Tsa) -> None:
    found = report(stamped(tsa))
    assert (found.verdict, found.window.not_after_ns) == (Verdict.COMPLETE, None)
    assert any("time unproven" in text for text in found.not_proved)


def test_a_receipt_over_something_else_is_tampering(tsa: Tsa) -> None:
    files = stamped(tsa)
    name = next(n for n in files if n.startswith(keys.RECEIPTS))
    failed({**files, name: tsa.stamp(b"another file")}, Step.RECEIPTS)
    failed({**files, name: b"nonsense"}, Step.RECEIPTS)


def test_a_receipt_that_is_a_folder_or_a_link_stops_nothing(tsa: Tsa, tmp_path: Path) -> None:
    files = stamped(tsa)
    name = next(n for n in files if n.startswith(keys.RECEIPTS))
    folder = write(tmp_path / "recording", files)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    found = verify(FolderRecording(folder))
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.RECEIPTS)
    assert "symbolic link" in found.steps[Step.RECEIPTS - 1].detail


def test_a_rule_about_time_without_any_time() -> None:
    policy = TrustPolicy(keys=(KEY,), rules=Rules(require_receipt=True, max_window_s=1.0))
    found = report(good(), policy)
    assert (found.verdict, found.exit_code) == (Verdict.COMPLETE, 20)
    assert {rule.rule for rule in found.rules if not rule.held} == {
        "require_receipt",
        "max_window_s",
    }
    assert msgspec.json.encode(found)


def test_the_log_of_a_later_device_key_counts_where_the_policy_has_the_statement() -> None:
    log = Log(device_key(2))
    files = logged(recorded(log), log)
    failed(files)
    tied = TrustPolicy(keys=(KEY,), rotations=(parse_rotation(rotated(1, 2)).rotation,))
    assert report(files, tied).verdict is Verdict.COMPLETE
    other = TrustPolicy(keys=(KEY,), rotations=(parse_rotation(rotated(1, 3)).rotation,))
    assert report(files, other).verdict is Verdict.TAMPERED
