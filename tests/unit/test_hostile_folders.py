"""Folders made to stop a check, to hide something from it, or to accuse a recorder falsely.

Found by running the threat table and the tamper run; each needs no more than what its name says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from judged_files import problems
from logged_sessions import Files, LoggedSessions, a_chunk, entry_of, log_note, session_id
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation
from ots_receipts import receipt
from recording_files import FilesReader, write
from recordings import Recording, device_key, whole

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.log_audit.report import Problem
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.verify import Report, Step, TrustPolicy, Verdict, verify


def report(files: Files, *seen: bytes, policy: TrustPolicy | None = None) -> Report:
    return verify(FilesReader(files), policy, seen=[parse_note(note) for note in seen])


# --- the verifier ---------------------------------------------------------------------------------


def test_a_sparse_file_costs_no_time(tmp_path: Path) -> None:
    """Four terabytes of manifest, and of a chunk whose record says so, and nothing on the disk."""
    insider = Recording().open()
    size = 1 << 42
    insider.chunk(change=lambda event: msgspec.structs.replace(event, stored_size=size)).seal()
    folder = write(tmp_path / "recording", insider.sealed())
    os.truncate(folder / "chunks/0000000001.zst", size)
    os.truncate(folder / "session.json", size)
    found = verify(FolderRecording(folder))
    assert found.verdict is Verdict.TAMPERED
    said = {step.number: step.detail for step in found.steps}
    assert "stored bytes, the record says" in said[Step.STORED]
    assert "session.json: expected at most" in said[Step.ATTACHED]


def test_a_checkpoint_that_comes_while_its_neighbours_were_not_there_accuses_nobody() -> None:
    """The verifier is held up behind an EPOCH, and the recorder goes on meanwhile."""
    recording = Recording(checkpoint_every=1).open().chunk().chunk().epoch()
    closing = recording.state.size
    listed = {n: data for n, data in recording.journal().items() if n != keys.note(closing)}
    later = recording.chunk().chunk().journal()

    class GoesOn(FilesReader):
        def stream(self, name: str) -> Iterator[bytes]:
            if name == keys.leaf(closing):
                self.files = dict(later)
            return super().stream(name)

    assert verify(GoesOn(listed)).verdict is Verdict.TRUNCATED
    assert verify(FilesReader(later)).verdict is Verdict.TRUNCATED


@pytest.mark.parametrize("depth", [9, 1200, 2500])
def test_folders_within_folders_do_not_stop_a_verification(depth: int, tmp_path: Path) -> None:
    """Deeper than Python calls, and deeper than a path may be long."""
    folder = write(tmp_path / "recording", whole().sealed())
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=here)
        inner = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        found = verify(FolderRecording(folder))
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert found.verdict is Verdict.COMPLETE
    assert any(text.startswith("not part of the record: a/a/") for text in found.warnings)


@pytest.mark.parametrize(
    "name",
    [
        "chunks/evil.sh",
        "chunks/0000000001.raw",  # record 1 is a chunk of the other codec
        "chunks/0000000003.zst",  # record 3 is a mark
        "chunks/00000000000000000099.zst",
        "chunks/99.zst",
        "marks/0000000001.json",
        "marks/x",
        "marks/0000000099.json/x",
    ],
)
def test_a_file_of_no_record_is_told_while_a_session_is_not_sealed(name: str) -> None:
    found = report({**whole().journal(), name: b"x"})
    assert f"not part of the record: {name}" in found.warnings


@pytest.mark.parametrize("name", ["chunks/0000000013.zst", "marks/0000000099.json"])
def test_a_file_of_which_the_record_is_still_to_come_is_no_stranger(name: str) -> None:
    assert len(whole().records) <= 13
    assert report({**whole().journal(), name: b"x"}).warnings == report(whole().journal()).warnings


def two_epochs(end: str = "chunk") -> Recording:
    recording = Recording(checkpoint_every=1).open().chunk().epoch().chunk()
    return recording.gap().seal() if end == "gap" else recording.chunk().seal()


def cut(size: int) -> Files:
    recording = two_epochs()
    recording.records = recording.records[:size]
    recording.notes = {n: note for n, note in recording.notes.items() if n <= size}
    return recording.journal()


def test_the_key_of_an_epoch_that_has_just_begun_is_known() -> None:
    """The EPOCH record is the last one here: it names the key that signed what is missing."""
    found = report(cut(3), two_epochs().notes[4])
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.CHECKPOINTS)


def test_a_note_behind_the_record_that_begins_its_epoch_is_of_that_epoch() -> None:
    """The missing record is what is wrong, and not whose key has signed it."""
    found = report(cut(3) | {keys.note(4): two_epochs().notes[4]})
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.ROOT)


def test_two_notes_that_were_seen_contradict_each_other_whatever_is_here() -> None:
    one, other = two_epochs().notes[5], two_epochs("gap").notes[5]
    assert report(cut(4), one).verdict is report(cut(4), other).verdict is Verdict.TAMPERED
    assert report(cut(4), one, other).verdict is Verdict.EQUIVOCATION
    stranger = two_epochs().note(5, bytes(32), key=device_key(9))
    assert report(cut(4), one, stranger).verdict is Verdict.TAMPERED


def test_a_receipt_is_not_hidden_among_others() -> None:
    """The one over this session's log proof counts, wherever the file system lists it."""
    data = LoggedSessions()
    recording = data.record()
    size, note = len(data.entries), data.notes[-1]
    proof, root = receipt(BitcoinBlockHeaderAttestation(7), message=note)
    policy = TrustPolicy(
        block_headers=(BlockHeader(height=7, merkle_root=root, time=1_700_000_000),)
    )
    others = {keys.receipt(n, "tsr"): b"x" for n in range(10, 200)}
    mine = {keys.receipt(size, "ots"): proof}
    files = data.folders[recording.session_id]
    for listed in ({**others, **mine}, {**mine, **others}):
        reader = Unsorted({**files, **listed})
        found = verify(reader, policy)
        assert found.window.not_after_ns is not None
        assert any("more receipts" in text for text in found.warnings)
        wrong = Unsorted({**files, **listed, keys.receipt(size, "ots"): b"nonsense"})
        assert verify(wrong, policy).verdict is Verdict.TAMPERED


class Unsorted(FilesReader):
    """Lists files in the order in which they were put there, as file systems do."""

    def names(self) -> list[str]:
        return list(self.files)


# --- the check of the log -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"device_keys": ()}, {"recorder": "Ü bad"}, {"recorder": ""}], ids=str
)
def test_an_open_that_nobody_signed_does_not_stop_the_check_of_the_log(
    changes: dict[str, object],
) -> None:
    """By who has no key at all: a log and a session of his own making."""
    data = LoggedSessions()
    recording = data.begin(beacon=False)
    opened = msgspec.structs.replace(decode_record(recording.records[0]), **changes)
    recording.records[0] = encode_record(opened)
    recording.notes = {1: recording.note(1, BLAKE3.leaf(recording.records[0]))}
    data.rewrite([entry_of(recording, EntryKind.OPEN)], device_key(9))
    data.folders = {recording.session_id: recording.journal()}
    found = data.audit()
    assert (found.exit_code, problems(found)) == (13, {Problem.LOG_SIGNATURE})


def test_a_log_that_nobody_signed_accuses_nobody() -> None:
    """Two views are proved by two signatures of the device; this one has one."""
    data = LoggedSessions()
    for _ in range(2):
        data.record()
    data.rewrite(list(reversed(data.entries)), device_key(9))
    found = data.audit()
    assert found.exit_code == 13
    assert Problem.EQUIVOCATION not in problems(found)
    assert {Problem.LOG_SIGNATURE, Problem.LOG_CHANGED} <= problems(found)


def test_two_notes_that_were_kept_are_two_views_of_a_log_whatever_is_here() -> None:
    one, other, here = LoggedSessions(), LoggedSessions(), LoggedSessions()
    for data, fill in ((one, a_chunk), (other, Recording.gap)):
        data.record()
        data.record(fill)
    here.record()
    assert here.audit(one.notes[3]).exit_code == 13  # cut back
    assert here.audit(one.notes[3], other.notes[3]).exit_code == 14
    stranger = log_note(4, bytes(32), device_key(9), here.origin)
    assert here.audit(one.notes[3], stranger).exit_code == 13


def test_a_session_replaced_by_one_of_another_device_is_told() -> None:
    """By who has no key: the newest session is taken away, and its number given to one of his own.

    The log is signed by a key that a session names: his. A policy does not know it; without one
    at least two keys are told.
    """
    data, thief = LoggedSessions(), device_key(9)
    data.record()
    data.record()
    recording = Recording(session_id(2), key=thief, checkpoint_every=1)
    recording.numbered = SessionNumbered(session_id=session_id(2), counter=2)
    recording.open().gap(1).seal()
    own = [entry_of(recording, kind) for kind in (EntryKind.OPEN, EntryKind.SEAL)]
    data.rewrite([*data.entries[:2], *own], thief)
    data.folders[session_id(2)] = recording.sealed()
    found = data.audit()
    assert any("2 device keys" in text for text in found.warnings) or found.problems


def test_a_folder_with_a_name_that_is_no_text_can_be_reported(tmp_path: Path) -> None:
    data = LoggedSessions()
    data.record()
    for name, files in data.folders.items():
        write(tmp_path / "sessions" / name, files)
    write(tmp_path / "log", data.log)
    odd = tmp_path / "sessions" / "\udcff\n"  # a byte that is not UTF-8, as Python has it
    odd.mkdir()
    program = [sys.executable, "-c", "from recorder_worker.cli.main import main; main()"]
    for code in (0, 13):
        done = subprocess.run(
            [*program, "log", "verify", str(tmp_path), "--json"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert "\\\\udcff\\\\n" in done.stdout
        write(odd, whole().sealed())  # and now it is a session in no log
