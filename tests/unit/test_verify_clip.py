"""A clip is verified by the same steps: what is shown is proved, and nothing else is claimed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from recording_files import FilesReader
from recordings import OTHER_SESSION, Recording, device_key

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.events import Totals
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_file import decode_clip, encode_clip
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.merkle.partial_tree import hidden_subtrees, ranges_of
from recorder_worker.core.merkle.tree import BLAKE3
from recorder_worker.core.records.codec import decode_record, encode_record, frame_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.signing.note import parse_note
from recorder_worker.core.signing.note_text import parse_notes
from recorder_worker.core.verify import (
    Report,
    Status,
    Step,
    TrustedKey,
    TrustPolicy,
    TrustStatus,
    Verdict,
    verify,
)
from recorder_worker.core.verify.policy import Rules

MS = 1_000_000
MIDDLE = Window(begin_ns=650 * MS, end_ns=850 * MS)
Files = dict[str, bytes]
KEY = TrustedKey(name="lab 7", public_key=device_key().public_key().public_bytes_raw())


def session() -> Recording:
    """1 key, 2 delta, 3 mark, 4 EPOCH, 5 key -.8, 6 mark, 7 key -.9, 8 beat, 9 EPOCH, …"""
    recording = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False).mark().epoch()
    recording.chunk(2).mark().chunk(1, codec="stored").beat().epoch().chunk(2)
    return recording.chunk(keyframe=False)


def clip_of(recording: Recording, window: Window = MIDDLE) -> Files:
    reader = FilesReader(recording.sealed() if recording.state.sealed else recording.journal())
    return {
        name: b"".join(data) for name, data in clip_files(reader, plan_of(reader, window), None)
    }


@pytest.fixture
def files() -> Files:
    return clip_of(session().seal())


def report(files: Files, policy: TrustPolicy | None = None) -> Report:
    return verify(FilesReader(files), policy)


def failed(files: Files, step: Step) -> Report:
    found = report(files)
    assert found.verdict is Verdict.TAMPERED, found.steps
    assert found.exit_code == 13
    status = next(s for s in found.steps if s.number == step).status
    assert status is Status.FAILED, found.steps
    return found


def test_a_clip_is_a_clip(files: Files) -> None:
    found = report(files, TrustPolicy(keys=(KEY,)))
    assert (found.verdict, found.exit_code, found.failed_step) == (Verdict.CLIP, 11, None)
    assert found.trust.status is TrustStatus.TRUSTED
    assert found.warnings == ()
    assert (found.chunk_map, found.totals.chunk_count, found.totals.mark_count) == ("..", 2, 1)
    assert found.root_hash == session().seal().state.frontier.root().hex()
    assert (found.tree_size, found.signed_size, found.epochs) == (13, 13, 3)
    clip = found.clip
    assert clip is not None
    assert (clip.first_index, clip.last_index, clip.shown, clip.tree_size) == (5, 7, 7, 13)
    assert (clip.t0_ns, clip.t1_ns) == (600 * MS, 900 * MS)
    assert clip.wall1_ns - clip.wall0_ns == 300 * MS
    assert any("6 of 13 records are hidden" in text for text in found.not_proved)
    assert {s.number for s in found.steps if s.status is not Status.OK} == {14, 15, 16, 17}


def test_a_clip_of_a_session_that_goes_on_says_so() -> None:
    found = report(clip_of(session()))
    assert found.verdict is Verdict.CLIP
    assert any("it was not sealed when the clip was made" in text for text in found.not_proved)


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 1), (0, 1400), (1350, 1400), (350, 700), (890, 1390)]
)
def test_every_window_gives_a_clip_that_verifies(begin: int, end: int) -> None:
    window = Window(begin_ns=begin * MS, end_ns=end * MS)
    assert report(clip_of(session().seal(), window)).verdict is Verdict.CLIP


def test_rules_about_what_a_clip_does_not_show_are_not_held(files: Files) -> None:
    policy = TrustPolicy(keys=(KEY,), rules=Rules(max_checkpoint_interval_s=100.0, max_gap_s=9.0))
    found = report(files, policy)
    assert found.exit_code == 11
    assert {rule.rule: rule.held for rule in found.rules} == {
        "max_gap_s": True,
        "max_checkpoint_interval_s": False,
    }


# --- attacks -------------------------------------------------------------------------------------


def records(files: Files, change: Callable[[list[bytes]], list[bytes]]) -> Files:
    changed = change(list(unframed([files[keys.RECORDS]])))
    return {**files, keys.RECORDS: b"".join(map(frame_record, changed))}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("place", range(7))
def test_a_record_that_was_changed(files: Files, place: int) -> None:
    failed(
        records(files, lambda r: [*r[:place], flipped(r[place], 40), *r[place + 1 :]]), Step.ROOT
    )


def test_a_record_too_few_or_too_many_or_swapped(files: Files) -> None:
    for change in (
        lambda r: r[:-1],
        lambda r: r[1:],
        lambda r: [*r, r[-1]],
        lambda r: [r[0], r[1], r[3], r[2], *r[4:]],
        lambda _: [],
    ):
        failed(records(files, change), Step.ROOT)


def test_every_byte_of_the_file_clip_counts(files: Files) -> None:
    for at in range(len(files[keys.CLIP])):
        found = report({**files, keys.CLIP: flipped(files[keys.CLIP], at)})
        assert found.verdict in {Verdict.TAMPERED, Verdict.UNSUPPORTED}, at


def test_no_bytes_whatever_in_the_place_of_clip(files: Files) -> None:
    for data in (b"", b"SRCC", b"\0" * 100, files[keys.CLIP] + b"\0", files[keys.CLIP][:-1]):
        failed({**files, keys.CLIP: data}, Step.PARSE)


@pytest.mark.parametrize("name", ["chunks/0000000005.zst", "chunks/0000000007.raw"])
def test_a_chunk_that_is_changed_or_missing(files: Files, name: str) -> None:
    failed({**files, name: flipped(files[name], 20)}, Step.STORED)
    missing = {n: data for n, data in files.items() if n != name}
    assert "?" in failed(missing, Step.STORED).chunk_map


@pytest.mark.parametrize("name", [keys.MANIFEST, "marks/0000000006.json"])
def test_an_attached_file_that_is_changed_or_missing(files: Files, name: str) -> None:
    failed({**files, name: flipped(files[name], 3)}, Step.ATTACHED)
    failed({n: data for n, data in files.items() if n != name}, Step.ATTACHED)


@pytest.mark.parametrize("name", [keys.RECORDS, keys.CHECKPOINTS])
def test_a_clip_without_its_records_or_checkpoints(files: Files, name: str) -> None:
    failed({n: data for n, data in files.items() if n != name}, Step.PARSE)


def test_a_checkpoint_too_few(files: Files) -> None:
    notes = parse_notes(files[keys.CHECKPOINTS])
    for place in (1, 2):  # those that close epochs
        left = b"".join(n.raw for nth, n in enumerate(notes) if nth != place)
        failed({**files, keys.CHECKPOINTS: left}, Step.EPOCHS)


def test_a_checkpoint_of_which_the_last_record_is_hidden(files: Files) -> None:
    notes = {parse_note(raw).head.tree_size: raw for raw in session().seal().notes.values()}
    wanted = b"".join(notes[size] for size in (1, 3, 5, 10, 13))
    found = failed({**files, keys.CHECKPOINTS: wanted}, Step.CHECKPOINTS)
    assert found.signed_size == 13


def test_an_epoch_that_is_hidden_breaks_the_chain() -> None:
    """Whoever makes a clip by hand cannot leave out the EPOCH whose key he has not."""
    recording = session().seal()
    full = clip_of(recording)
    clip = decode_clip(full[keys.CLIP])
    shown = [n for found in clip.ranges for n in range(found.begin, found.end) if n != 9]
    failed(by_hand(recording, shown, (1, 5, 13)), Step.SIGNATURES)


def by_hand(recording: Recording, shown: list[int], sizes: tuple[int, ...]) -> Files:
    """A clip of whatever leaves somebody chooses to show."""
    whole = recording.sealed()
    ranges = ranges_of(shown)
    size = len(recording.records)
    hashes = hidden_subtrees(size, ranges, map(BLAKE3.leaf, recording.records))
    clip = msgspec.structs.replace(
        decode_clip(clip_of(recording)[keys.CLIP]), ranges=ranges, hashes=tuple(hashes)
    )
    return {
        **whole,
        keys.CLIP: encode_clip(clip),
        keys.RECORDS: b"".join(frame_record(recording.records[n]) for n in shown),
        keys.CHECKPOINTS: b"".join(recording.notes[n] for n in sizes),
    }


def test_a_clip_with_a_hole_shows_two_ranges() -> None:
    recording = session().seal()
    files = by_hand(recording, [0, 4, 5, 7, 9, 12], (1, 5, 10, 13))
    assert "one range of records" in str(failed(files, Step.PLACE).steps)


def test_a_clip_that_begins_with_a_delta_cannot_be_played() -> None:
    recording = session().seal()
    failed(by_hand(recording, [0, 2, 3, 4, 5, 9, 12], (1, 5, 10, 13)), Step.COVERAGE)


def test_a_clip_without_the_last_record() -> None:
    recording = session().seal()
    failed(by_hand(recording, [0, 4, 5, 6, 7, 9], (1, 5, 10)), Step.PLACE)


def test_a_clip_of_another_session_under_this_one_s_tree(files: Files) -> None:
    other = Recording(OTHER_SESSION, checkpoint_every=1).open().chunk().seal()
    failed({**files, keys.RECORDS: other.sealed()[keys.RECORDS]}, Step.ROOT)
    failed({**files, keys.CHECKPOINTS: other.sealed()[keys.CHECKPOINTS]}, Step.PARSE)


def test_a_journal_has_no_place_in_a_clip(files: Files) -> None:
    failed({**files, keys.leaf(0): b"x"}, Step.PARSE)


def test_files_of_hidden_records_are_strangers(files: Files) -> None:
    whole = session().seal().sealed()
    found = report({**files, "chunks/0000000001.zst": whole["chunks/0000000001.zst"]})
    assert found.verdict is Verdict.CLIP
    assert found.warnings == ("not part of the record: chunks/0000000001.zst",)


def test_a_thumbnail_in_a_clip_is_a_stranger(files: Files) -> None:
    found = report({**files, keys.thumbnail(0): b"of what the clip may hide"})
    assert found.verdict is Verdict.CLIP
    assert found.warnings == ("not part of the record: thumbnails/000000000000.jpg",)


def test_a_policy_in_the_clip_is_not_used_unasked(files: Files) -> None:
    found = report({**files, keys.TRUST: b"keys: []\n"})
    assert (found.verdict, found.warnings) == (Verdict.CLIP, ())
    assert found.trust.status is TrustStatus.NO_POLICY


def test_checkpoints_that_were_seen_elsewhere(files: Files) -> None:
    notes = session().seal().notes
    shown = verify(FilesReader(files), seen=[parse_note(notes[size]) for size in (1, 6, 8, 13)])
    assert (shown.verdict, shown.warnings) == (Verdict.CLIP, ())
    hidden = verify(FilesReader(files), seen=[parse_note(notes[3])])
    assert hidden.verdict is Verdict.CLIP
    assert any("cannot be compared" in text for text in hidden.warnings)
    forked = parse_note(session().seal().note(8, bytes(32)))
    assert verify(FilesReader(files), seen=[forked]).verdict is Verdict.EQUIVOCATION


def test_a_clip_that_changes_while_it_is_read(files: Files) -> None:
    """It is read twice: for its tree, and for what its records say."""

    class Turning(FilesReader):
        read_before = False

        def read(self, name: str) -> bytes:
            data = super().read(name)
            if name == keys.RECORDS:
                if self.read_before:
                    return records({name: data}, lambda r: [*r[:-1], flipped(r[-1], 70)])[name]
                self.read_before = True
            if not data:
                raise BlobMissingError(f"{name}: is empty")
            return data

    found = verify(Turning(files))
    assert found.verdict is Verdict.TAMPERED
    assert "it changed while it was verified" in str(found.steps)


def test_a_seal_that_counts_less_than_the_clip_alone_shows() -> None:
    recording = session().seal()
    seal = decode_record(recording.records[12])
    recording.replace_record(12, encode_record(msgspec.structs.replace(seal, totals=Totals())))
    failed(by_hand(recording, [0, 4, 5, 6, 7, 9, 12], (1, 5, 10, 13)), Step.WHOLE)
