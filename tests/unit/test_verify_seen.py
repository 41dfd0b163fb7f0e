"""Checkpoints that were seen elsewhere tell of histories that a folder alone does not show."""

from __future__ import annotations

from recording_files import FilesReader
from recordings import OTHER_SESSION, Recording, device_key

from recorder_worker.core.signing.note import SignedNote, parse_note
from recorder_worker.core.verify import Report, Step, Verdict, verify


def longer(pause: bool = False) -> Recording:
    recording = Recording(checkpoint_every=1).open().chunk().epoch().chunk()
    return recording.gap().seal() if pause else recording.chunk().seal()


def cut(size: int) -> dict[str, bytes]:
    """A recording whose end was cut off, with everything that was signed about it."""
    recording = longer()
    recording.records = recording.records[:size]
    recording.notes = {n: note for n, note in recording.notes.items() if n <= size}
    return recording.journal()


def report(files: dict[str, bytes], *seen: SignedNote) -> Report:
    return verify(FilesReader(files), seen=seen)


def note(size: int, recording: Recording | None = None) -> SignedNote:
    return parse_note((recording or longer()).notes[size])


def test_a_checkpoint_of_this_tree_changes_nothing() -> None:
    found = report(longer().sealed(), note(2), note(6), note(2))
    assert found.verdict is Verdict.COMPLETE
    detail = next(s for s in found.steps if s.number == Step.CHECKPOINTS).detail
    assert "3 more that were seen elsewhere" in detail


def test_what_was_cut_off_was_signed() -> None:
    assert report(cut(4)).verdict is Verdict.TRUNCATED
    found = report(cut(4), note(5))
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.CHECKPOINTS)
    assert "1 signed records are missing" in str(found.steps)


def test_what_was_cut_off_with_the_epoch_that_signed_it_is_said() -> None:
    """The key of a later epoch is not known here, so its signature proves nothing."""
    found = report(cut(2), note(5))
    assert found.verdict is Verdict.TRUNCATED
    assert any("if it is genuine, then 3 signed records" in text for text in found.warnings)


def test_another_history_is_proved_by_both() -> None:
    found = report(longer().sealed(), note(6, longer(pause=True)))
    assert (found.verdict, found.failed_step) == (Verdict.EQUIVOCATION, Step.CHECKPOINTS)


def test_a_history_that_a_stranger_signed_proves_nothing() -> None:
    forged = parse_note(longer().note(5, bytes(32), key=device_key(2)))
    found = report(longer().sealed(), forged)
    assert found.verdict is Verdict.COMPLETE
    assert any("proves nothing" in text for text in found.warnings)


def test_a_history_that_a_key_of_another_epoch_signed_proves_nothing() -> None:
    recording = longer()
    forged = parse_note(recording.note(2, bytes(32), key=recording.keys.epoch_key(1)))
    assert report(recording.sealed(), forged).verdict is Verdict.COMPLETE


def test_a_checkpoint_of_another_session_is_not_compared() -> None:
    other = Recording(OTHER_SESSION, checkpoint_every=1).open().chunk()
    found = report(longer().sealed(), note(2, other), note(1, other))
    assert found.verdict is Verdict.COMPLETE
    assert sum("another tree" in text for text in found.warnings) == 2


def test_a_signed_tree_behind_the_seal() -> None:
    recording = longer()
    behind = parse_note(recording.note(9, bytes(32)))
    assert report(recording.sealed(), behind).verdict is Verdict.TAMPERED
