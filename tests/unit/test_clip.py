"""A clip holds what proves its leaves, and nothing of any other."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest
from recording_files import FilesReader
from recordings import FRAME_NS, Recording, whole

from recorder_worker.core import keys
from recorder_worker.core.errors import (
    BlobDamagedError,
    BlobMissingError,
    RecorderError,
    RefusedError,
)
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_file import ClipFile, decode_clip
from recorder_worker.core.evidence.clip_plan import ClipPlan, Window
from recorder_worker.core.merkle.partial_tree import PartialTree
from recorder_worker.core.merkle.tree import BLAKE3, frontier_of
from recorder_worker.core.model import GapReason
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.records.codec import decode_record, encode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import ChunkRecord, EpochRecord, OpenRecord
from recorder_worker.core.signing.note import note_keys, verify_note
from recorder_worker.core.signing.note_text import parse_notes
from recorder_worker.core.verify import Verdict, verify

MS = 1_000_000
MIDDLE = Window(begin_ns=650 * MS, end_ns=850 * MS)


def session() -> Recording:
    """1 key 0-.3, 2 delta -.6, 3 mark, 4 EPOCH, 5 key -.8, 6 key -.9, 7 beat, 8 EPOCH, 9 key, …"""
    recording = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False).mark().epoch()
    recording.chunk(2).chunk(1, codec="stored").beat().epoch().chunk(2).chunk(keyframe=False)
    recording.files["proofs/open"] = b"proof of open"
    recording.files["proofs/seal"] = b"proof of seal"
    recording.files["receipts/00000000000000000007.tsr"] = b"receipt"
    return recording


def clip_of(
    files: dict[str, bytes], window: Window = MIDDLE, trust: bytes | None = None
) -> tuple[ClipPlan, dict[str, bytes]]:
    reader = FilesReader(files)
    plan = plan_of(reader, window)
    return plan, {name: b"".join(data) for name, data in clip_files(reader, plan, trust)}


def rebuilt(files: dict[str, bytes]) -> tuple[ClipFile, PartialTree]:
    clip = decode_clip(files[keys.CLIP])
    records = list(unframed([files[keys.RECORDS]]))
    return clip, PartialTree(clip.size, clip.ranges, map(BLAKE3.leaf, records), clip.hashes)


@pytest.mark.parametrize("form", ["sealed", "journal", "unsealed"])
def test_a_clip_holds_what_it_needs_and_is_of_the_tree(form: str) -> None:
    recording = session()
    if form != "unsealed":
        recording.seal()
    source = recording.sealed() if form == "sealed" else recording.journal()
    plan, files = clip_of(source, trust=b"keys: []\n")
    assert set(files) == {
        *("clip", "records", "checkpoints", "session.json", "trust.yaml"),
        *("chunks/0000000005.zst", "chunks/0000000006.raw"),
        *("proofs/open", "proofs/seal", "receipts/00000000000000000007.tsr"),
        *(("seal",) if form != "unsealed" else ()),
    }
    for name in files.keys() & recording.files.keys():
        assert files[name] == recording.files[name]
    clip, tree = rebuilt(files)
    assert (clip.size, clip.ranges) == (plan.size, plan.ranges)
    notes = parse_notes(files["checkpoints"])
    # Not sealed, it ends with the newest EPOCH: the chunks behind it are nobody's business.
    sizes = [1, 5, 9] if form == "unsealed" else [1, 5, 9, 12]
    assert [note.head.tree_size for note in notes] == sizes
    assert tree.root() == notes[-1].head.root_hash
    assert all(tree.root(note.head.tree_size) == note.head.root_hash for note in notes)
    assert files.get("seal", notes[-1].raw) == notes[-1].raw


def test_its_checkpoints_are_signed_by_the_keys_that_its_records_name() -> None:
    _, files = clip_of(session().seal().sealed())
    records = [decode_record(data) for data in unframed([files["records"]])]
    assert [record.index for record in records] == [0, 4, 5, 6, 8, 11]
    opened = records[0]
    assert isinstance(opened, OpenRecord)
    turns = [(0, opened.epoch_keys)]
    turns += [(r.index, r.keys) for r in records if isinstance(r, EpochRecord)]
    for note in parse_notes(files["checkpoints"]):
        size = note.head.tree_size
        public = next(k for index, k in reversed(turns) if index < max(1, size - 1))
        for key in note_keys(opened.recorder, public):
            assert verify_note(note, key) > 0


def test_nothing_of_the_other_leaves_is_in_it() -> None:
    """Neither record nor salt nor digest nor chunk nor mark: only hashes over them all."""
    recording = session().seal()
    _, files = clip_of(recording.sealed())
    everything = b"\n".join(files.values())
    hidden = [r for r in map(decode_record, recording.records) if r.index in {1, 2, 3, 7, 9, 10}]
    assert len(hidden) == 6
    for record in hidden:
        assert record.salt not in everything
        if isinstance(record, ChunkRecord):
            digests = (record.stored_blake3, record.stored_sha256, record.plain_blake3)
            assert not any(digest in everything for digest in digests)
    clip = decode_clip(files["clip"])
    assert len(clip.hashes) < len(recording.records)


def test_it_can_be_played_from_its_first_frame() -> None:
    _, files = clip_of(session().seal().sealed(), Window(begin_ns=400 * MS, end_ns=500 * MS))
    assert {n for n in files if n.startswith("chunks/")} == {
        "chunks/0000000001.zst",
        "chunks/0000000002.zst",
    }
    frames = list(recording_frames(FilesReader(files)))
    assert [frame.unit for frame in frames] == [0, 1, 2, 3, 4, 5]


def test_a_mark_of_the_window_is_in_it_with_its_body() -> None:
    recording = session().seal()
    _, files = clip_of(recording.sealed(), Window(begin_ns=600 * MS, end_ns=700 * MS))
    assert files["marks/0000000003.json"] == recording.files["marks/0000000003.json"]
    assert [d.index for d in map(decode_record, unframed([files["records"]]))] == [
        0,
        3,
        4,
        5,
        8,
        11,
    ]


@pytest.mark.parametrize(
    "name", ["chunks/0000000005.zst", "chunks/0000000006.raw", "session.json", "records"]
)
@pytest.mark.parametrize("damage", ["changed", "longer", "shorter"])
def test_what_is_damaged_is_not_handed_out(name: str, damage: str) -> None:
    files = session().seal().sealed()
    data = files[name]
    files[name] = {
        "changed": data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        "longer": data + b"\x00\x00\x00\x01\x00",
        "shorter": data[:-1],
    }[damage]
    if (name, damage) == ("records", "longer"):
        clip_of(files)  # what is behind the newest checkpoint is not looked at
        return
    with pytest.raises(RecorderError):
        clip_of(files)


def test_a_damaged_mark_is_not_handed_out() -> None:
    files = session().seal().sealed()
    files["marks/0000000003.json"] += b" "
    with pytest.raises(BlobDamagedError, match=r"marks/0000000003\.json: expected BLAKE3"):
        clip_of(files, Window(begin_ns=600 * MS, end_ns=700 * MS))
    clip_of(files)


def test_damage_elsewhere_does_not_hinder_a_clip() -> None:
    """With `--unverified` a damaged recording still gives clips of what is whole."""
    files = session().seal().sealed()
    files["chunks/0000000001.zst"] = b"damaged"
    plan, clip = clip_of(files)
    assert plan.chunk_count == 2
    assert "chunks/0000000001.zst" not in clip


def test_a_missing_chunk_is_named() -> None:
    files = session().seal().sealed()
    del files["chunks/0000000005.zst"]
    with pytest.raises(BlobMissingError, match=r"chunks/0000000005\.zst"):
        clip_of(files)


@pytest.mark.parametrize("index", [0, 2, 4, 5, 8, 9, 11])
def test_records_that_are_not_the_signed_ones_are_refused(index: int) -> None:
    recording = session().seal()
    record = decode_record(recording.records[index])
    changed = msgspec.structs.replace(record, salt=bytes(16))
    recording.records[index] = encode_record(changed)
    with pytest.raises(BlobDamagedError, match="the records give"):
        clip_of(recording.sealed())


@pytest.mark.parametrize("size", [1, 5, 9])
def test_a_checkpoint_that_is_needed_must_be_there(size: int) -> None:
    recording = session().seal()
    del recording.notes[size]
    with pytest.raises(BlobMissingError, match=f"checkpoint of size {size}"):
        clip_of(recording.sealed())


def test_a_recording_that_changes_meanwhile_is_refused() -> None:
    recording = session().seal()
    reader = FilesReader(recording.sealed())
    plan = plan_of(reader, MIDDLE)
    made = clip_files(reader, plan)
    assert next(made)[0] == "clip"
    data = reader.files["records"]
    at = data.index(decode_record(recording.records[5]).salt)
    reader.files["records"] = data[:at] + bytes(16) + data[at + 16 :]
    name, pieces = next(made)
    assert name == "records"
    with pytest.raises(BlobDamagedError, match="record 5: changed"):
        b"".join(pieces)


def test_no_clip_is_made_of_a_clip() -> None:
    _, files = clip_of(session().seal().sealed())
    with pytest.raises(RefusedError, match="a clip"):
        clip_of(files)


def test_chunks_are_never_held_in_memory() -> None:
    """A piece is given on before the next one is asked for; a file that never ends is left."""
    recording = session().seal()
    endless = 0

    class Endless(FilesReader):
        def stream(self, name: str) -> Iterator[bytes]:
            nonlocal endless
            if name == "chunks/0000000006.raw":
                while True:
                    endless += 1
                    yield bytes(4096)
            yield from super().stream(name)

    reader = Endless(recording.sealed())
    made = clip_files(reader, plan_of(reader, MIDDLE))
    pieces = next(data for name, data in made if name == "chunks/0000000006.raw")
    taken: list[int] = []
    with pytest.raises(BlobDamagedError, match=r"chunks/0000000006\.raw"):
        taken.extend(endless for _ in pieces)
    assert taken == list(range(1, len(taken) + 1))
    assert len(taken) <= 5


def test_a_clip_of_everything_hides_nothing() -> None:
    recording = Recording(checkpoint_every=1).open().chunk().gap().chunk().seal()
    plan, files = clip_of(recording.sealed(), Window(begin_ns=0, end_ns=800 * MS))
    assert decode_clip(files["clip"]).hashes == ()
    assert (plan.chunk_count, plan.gap_count) == (2, 1)
    assert files["records"] == recording.sealed()["records"]


def test_a_recording_with_few_checkpoints_has_no_clip() -> None:
    """One behind OPEN is needed; the recorder signs behind every record."""
    with pytest.raises(BlobMissingError, match="size 1"):
        clip_of(whole().sealed(), Window(begin_ns=0, end_ns=MS))


def test_memory_does_not_grow_with_the_leaves() -> None:
    def peak(size: int) -> int:
        recording = Recording(checkpoint_every=1).open().chunk().beat()
        beat = decode_record(recording.records[2])
        beats = (msgspec.structs.replace(beat, index=index) for index in range(3, size))
        recording.records += map(encode_record, beats)
        root = frontier_of(map(BLAKE3.leaf, recording.records)).root()
        files = recording.sealed()
        files[keys.CHECKPOINTS] = recording.notes[1] + recording.note(size, root)
        reader = FilesReader(files, piece_size=4096)
        tracemalloc.start()
        plan = plan_of(reader, Window(begin_ns=0, end_ns=MS))
        for _, pieces in clip_files(reader, plan):
            assert sum(map(len, pieces)) > 0
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert plan.size == size
        return highest

    assert peak(4000) < peak(400) + 50_000


def dead_letter() -> Recording:
    """Rule 5: chunks that follow from a chunk which became a gap, or from one before it."""
    recording = Recording(checkpoint_every=1).open().chunk().mark().chunk(2)
    recording.gap(2, GapReason.DEAD_LETTER)
    recording.chunk(keyframe=False, change=follows_from_the_gap)
    recording.epoch().chunk(keyframe=False, change=follows_from_the_gap).chunk(2)
    recording.gap(3).chunk().gap(1, GapReason.DEAD_LETTER)
    return recording.chunk(1, keyframe=False, change=follows_from_before).seal()


def follows_from_the_gap(event: ChunkStored) -> ChunkStored:
    return msgspec.structs.replace(event, keyframe_index=4)


def follows_from_before(event: ChunkStored) -> ChunkStored:
    return msgspec.structs.replace(event, keyframe_index=10)


@pytest.mark.parametrize("made", [session().mark().beat().seal(), dead_letter()])
def test_every_window_gives_a_clip_that_verifies(made: Recording) -> None:
    source = made.sealed()
    for name in [n for n in source if n.startswith(("proofs/", "receipts/"))]:
        del source[name]
    assert verify(FilesReader(source)).exit_code == 0
    end = made.t_ns // FRAME_NS
    for begin in range(end):
        for after in range(begin + 1, end + 1):
            window = Window(begin_ns=begin * FRAME_NS, end_ns=after * FRAME_NS)
            plan, files = clip_of(source, window)
            report = verify(FilesReader(files))
            assert report.verdict is Verdict.CLIP, (window, report.steps)
            assert plan.t0_ns <= window.begin_ns
            assert plan.t1_ns >= window.end_ns


def test_every_state_of_a_session_gives_a_clip_that_verifies() -> None:
    made = session().mark().beat().seal()
    for size in range(2, len(made.records) + 1):
        source = {"session.json": made.files["session.json"]}
        source |= {n: d for n, d in made.files.items() if n.startswith(("chunks/", "marks/"))}
        source |= {keys.leaf(index): made.records[index] for index in range(size)}
        source |= {keys.note(index): made.notes[index] for index in range(1, size + 1)}
        _, files = clip_of(source, Window(begin_ns=0, end_ns=FRAME_NS))
        report = verify(FilesReader(files))
        assert report.verdict is Verdict.CLIP, (size, report.steps)
