"""The ten tests that a sceptical cryptographer would try first, by their numbers.

They go through what everybody uses: the verifier, proof files, clips, and the check of the log.
Where an insider is at work he has every key, and has signed all that he changed.
"""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import itertools
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edited_recordings import edited
from judged_files import report, tampered
from logged_sessions import (
    DOT,
    Files,
    LoggedSessions,
    black,
    clip_of,
    entry_of,
    every_record,
)
from malformed_notes import BAD_BYTES, BAD_TEXT, b64
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, UnknownAttestation
from ots_receipts import receipt
from recording_files import FilesReader
from recordings import FRAME_NS, RECORDER, SESSION, WALL_NS, Recording, zstd
from time_stamp_authority import Tsa

from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, RecorderError
from recorder_worker.core.events import SessionNumbered
from recorder_worker.core.evidence.clip_file import decode_clip, encode_clip
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf
from recorder_worker.core.log_audit.report import Problem
from recorder_worker.core.merkle.partial_tree import LeafRange
from recorder_worker.core.merkle.proofs import (
    ProofError,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from recorder_worker.core.merkle.tree import BLAKE3, SHA256, Tree, TreeHash, split_point
from recorder_worker.core.model import Span
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.records.codec import decode_record, encode_record, frame_record
from recorder_worker.core.records.leaves import ChunkRecord
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.signing.note import NoteKey, cosigned_message, parse_note, parse_notes
from recorder_worker.core.verify import Step, TrustPolicy, Verdict, chunks, verify

BOTH = pytest.mark.parametrize("hasher", [BLAKE3, SHA256], ids=["blake3", "sha256"])
GOOD = {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}


def leaves(count: int, hasher: TreeHash = BLAKE3) -> list[bytes]:
    return [hasher.leaf(b"record %d" % n) for n in range(count)]


def beats(size: int, *, every: int = 1) -> Recording:
    """A sealed session of so many records."""
    recording = Recording(checkpoint_every=every)
    recording.open()
    for _ in range(size - 2):
        recording.beat()
    return recording.seal()


# --- 1. one proof under all other (index, size) pairs ---------------------------------------------


def other_pairs(size: int, index: int, largest: int, hasher: TreeHash) -> list[tuple[int, int]]:
    """All other places of which a proof verifies, with the same leaf, hashes and root."""
    tree = Tree(leaves(size, hasher), hasher)
    proof = inclusion_proof(tree, index, size)
    found = []
    for other_size in range(1, largest + 1):
        for other in range(other_size):
            try:
                verify_inclusion(
                    leaf_hash=hasher.leaf(b"record %d" % index),
                    index=other,
                    size=other_size,
                    proof=proof,
                    root=tree.root(size),
                    hasher=hasher,
                )
            except ProofError:
                continue
            found.append((other, other_size))
    assert (index, size) in found
    return [pair for pair in found if pair != (index, size)]


@BOTH
def test_1_a_bare_proof_authenticates_neither_index_nor_size(hasher: TreeHash) -> None:
    """So many pairs verify for n up to 8: 70 of sizes up to 8, 158 of sizes up to 40."""
    places = [(size, index) for size in range(1, 9) for index in range(size)]
    assert sum(len(other_pairs(*place, 8, hasher)) for place in places) == 70
    found = [pair for place in places for pair in other_pairs(*place, 40, hasher)]
    assert len(found) == 158


@BOTH
def test_1_under_a_signed_size_a_proof_is_of_one_index_alone(hasher: TreeHash) -> None:
    """So the log's proofs, of which the checkpoint holds the size, need no index in the entry."""
    for size in range(1, 34):
        for index in range(size):
            pairs = other_pairs(size, index, size, hasher)
            assert [other for other, of in pairs if of == size] == []


def test_1_a_proof_file_is_of_one_index_and_size() -> None:
    """Other indices and sizes are refused: the record holds the one, the checkpoint the other."""
    for size in range(2, 9):
        recording = beats(size)
        reader = FilesReader(recording.sealed())
        for index in range(size):
            proof = prove_leaf(reader, index)
            check_proof(proof)
            pairs = {(n, s) for s in range(1, 17) for n in range(s)} - {(index, size)}
            for other, other_size in pairs:
                leaf = msgspec.structs.replace(proof.leaf, index=other)
                moved = msgspec.structs.replace(proof, leaf=leaf, tree_size=other_size)
                with pytest.raises(ProofError):
                    check_proof(moved)


def test_1_a_proof_file_refuses_another_index_also_where_the_size_is_signed_with_it() -> None:
    """An insider signs the root of one tree under the size of another, for which it verifies."""
    tried = 0
    for size, index in ((n, i) for n in range(2, 9) for i in range(n)):
        recording = beats(size)
        proof = prove_leaf(FilesReader(recording.sealed()), index)
        for other, other_size in other_pairs(size, index, 8, BLAKE3):
            if other == index:
                continue  # then it is the size that is false: two roots for one size show that
            root = recording.state.frontier.root()
            note = recording.note(other_size, root, key=recording.keys.epoch_key(0))
            moved = msgspec.structs.replace(
                proof,
                tree_size=other_size,
                checkpoint=note.decode(),
                leaf=msgspec.structs.replace(proof.leaf, index=other),
            )
            tried += 1
            with pytest.raises(ProofError):
                check_proof(moved)
    assert tried == 14


def test_1_a_clip_is_of_one_size_and_of_its_ranges() -> None:
    recording = Recording(checkpoint_every=1)
    every_record(recording.open())
    files = clip_of(recording.seal().sealed(), Window(begin_ns=0, end_ns=FRAME_NS))
    clip = decode_clip(files[keys.CLIP])
    shown = sum(found.end - found.begin for found in clip.ranges)
    tried = 0
    for size in range(1, 13):
        for count in range(1, 4):
            for bounds in itertools.combinations(range(size + 1), 2 * count):
                pairs = zip(bounds[::2], bounds[1::2], strict=True)
                ranges = tuple(LeafRange(*pair) for pair in pairs)
                other = msgspec.structs.replace(clip, size=size, ranges=ranges)
                if sum(r.end - r.begin for r in ranges) != shown or other == clip:
                    continue
                try:
                    data = encode_clip(other)
                except FormatError:
                    continue  # ranges that touch have no encoding
                tried += 1
                assert report({**files, keys.CLIP: data}).verdict is Verdict.TAMPERED, other
    assert report(files).verdict is Verdict.CLIP
    assert tried > 100


def test_1_a_record_in_another_place_is_refused_whoever_signs_it() -> None:
    for size in range(3, 9):
        for index in range(1, size - 1):
            for other in set(range(size + 2)) - {index}:
                tampered(edited(beats(size), index, index=other).sealed(), Step.PLACE)


def test_1_a_log_proof_is_of_one_index_under_its_checkpoint() -> None:
    data = LoggedSessions()
    recording = [data.record() for _ in range(3)][1]
    files = data.folders[recording.session_id]
    for name in (keys.PROOF_OPEN, keys.PROOF_SEAL):
        proof = parse_log_proof(files[name])
        for index in set(range(12)) - {proof.index}:
            moved = msgspec.structs.replace(proof, index=index)
            tampered({**files, name: moved.text()}, Step.LOG)


# --- 2. a node as a record; a doubled last leaf; the empty tree; n = 2^k ± 1 ----------------------


@BOTH
def test_2_no_node_is_a_leaf(hasher: TreeHash) -> None:
    left, right = leaves(2, hasher)
    root = Tree([left, right], hasher).root()
    for record in (b"\x01" + left + right, left + right, b"\x00" + left + right):
        assert hasher.leaf(record) != root
        with pytest.raises(ProofError):
            verify_inclusion(
                leaf_hash=hasher.leaf(record), index=0, size=1, proof=[], root=root, hasher=hasher
            )


def test_2_a_record_that_is_a_node_is_no_record_whoever_signs_it() -> None:
    for place in range(8):
        recording = beats(8)
        hashes = [BLAKE3.leaf(record) for record in recording.records]
        for node in (b"\x01" + hashes[0] + hashes[1], b"\x01" * 6, b"\x01" * 65):
            recording.records[place] = node
            recording.rebuild()
            tampered(recording.sealed())


def test_2_two_records_hidden_behind_their_node_are_missed() -> None:
    """A smaller list of leaves for the same root, as a tree without prefixes would have it."""
    recording = beats(8)
    hashes = [BLAKE3.leaf(record) for record in recording.records]
    nodes = [b"\x01" + hashes[at] + hashes[at + 1] for at in range(0, 8, 2)]
    for records in (nodes, [*recording.records[:6], nodes[3]], [nodes[0], *recording.records[2:]]):
        files = {**recording.sealed(), keys.RECORDS: b"".join(map(frame_record, records))}
        tampered(files)


SIZES = sorted({2**k + n for k in range(1, 6) for n in (-1, 0, 1)} - {1})


@BOTH
def test_2_a_doubled_last_leaf_is_another_tree(hasher: TreeHash) -> None:
    """CVE-2012-2459: where an odd last node is doubled, two lists of leaves have one root."""
    for size in range(1, 66):
        roots = {Tree(leaves(size, hasher), hasher).root()}
        for count in range(1, min(size, 8) + 1):
            doubled = [*leaves(size, hasher), *leaves(size, hasher)[-count:]]
            roots.add(Tree(doubled, hasher).root())
        assert len(roots) == 1 + min(size, 8)


@pytest.mark.parametrize("size", SIZES)
def test_2_a_doubled_or_lost_last_record_is_seen(size: int) -> None:
    recording = beats(size, every=4)
    framed = [frame_record(record) for record in recording.records]
    for count in range(1, min(size, 4) + 1):
        more = b"".join([*framed, *framed[-count:]])
        tampered({**recording.sealed(), keys.RECORDS: more})
        tampered({**recording.sealed(), keys.RECORDS: b"".join(framed[:-count])})
    journal = recording.journal()
    tampered({**journal, keys.leaf(size): recording.records[-1]})


def literal(hashes: list[bytes], hasher: TreeHash) -> bytes:
    """RFC 9162 §2.1.1 as it is written."""
    if not hashes:
        return hasher.digest(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = max(2**k for k in range(7) if 2**k < len(hashes))
    assert split == split_point(len(hashes))
    left, right = literal(hashes[:split], hasher), literal(hashes[split:], hasher)
    return hasher.digest(b"\x01" + left + right)


@pytest.mark.parametrize("size", SIZES)
def test_2_sizes_around_powers_of_two_are_whole(size: int) -> None:
    recording = beats(size, every=4)
    found = report(recording.sealed())
    assert (found.verdict, found.tree_size, found.signed_size) == (Verdict.COMPLETE, size, size)
    root = literal([BLAKE3.leaf(record) for record in recording.records], BLAKE3)
    assert found.root_hash == root.hex()
    for index in {0, size // 2, size - 2, size - 1}:
        check_proof(prove_leaf(FilesReader(recording.sealed()), index))


def test_2_an_empty_tree_is_no_recording() -> None:
    recording = beats(4)
    empty = recording.note(0, BLAKE3.empty(), key=recording.keys.epoch_key(0))
    nothing = {**recording.files, keys.RECORDS: b"", keys.CHECKPOINTS: empty, keys.SEAL: empty}
    assert report(nothing).verdict is Verdict.TAMPERED
    assert report({keys.note(0): empty}).verdict not in GOOD
    assert report({**recording.sealed(), keys.RECORDS: b""}).verdict is Verdict.TAMPERED
    for root in (BLAKE3.empty(), bytes(32), SHA256.empty()):
        note = recording.note(0, root, key=recording.keys.epoch_key(0))
        files = {**recording.sealed(), keys.CHECKPOINTS: note + recording.sealed()["checkpoints"]}
        found = report(files)
        assert found.verdict not in GOOD, (root.hex(), found.verdict)
    with pytest.raises(ProofError):
        verify_inclusion(leaf_hash=BLAKE3.empty(), index=0, size=0, proof=[], root=BLAKE3.empty())


# --- 3. truncate, restart, seal again; keys of other epochs ---------------------------------------


def three_epochs(end: Callable[[Recording], object] = Recording.beat) -> Recording:
    """OPEN 0, EPOCHs at 3 and 6, SEAL 9; a checkpoint behind every record."""
    recording = Recording(checkpoint_every=1).open().chunk(1, size=DOT).beat().epoch()
    recording.chunk(1, size=DOT).beat().epoch().chunk(1, size=DOT)
    end(recording)
    return recording.seal()


def restarted(size: int) -> Recording:
    """The first `size` records of `three_epochs`, then others, and a seal: with all its keys."""
    recording = Recording(checkpoint_every=1)
    steps: list[Callable[[], object]] = [
        *(recording.open, lambda: recording.chunk(1, size=DOT), recording.beat, recording.epoch),
        *(lambda: recording.chunk(1, size=DOT), recording.beat, recording.epoch),
        *(lambda: recording.chunk(1, size=DOT), recording.beat),
    ]
    for step in steps[:size]:
        step()
    recording.mark('{"note":"from here on it is another history"}')
    return recording.seal()


@pytest.mark.parametrize("size", range(1, 10))
def test_3_truncated_restarted_and_sealed_again(size: int) -> None:
    true, forged = three_epochs(), restarted(size)
    assert forged.records[:size] == true.records[:size]
    assert forged.notes[size] == true.notes[size]
    assert report(forged.sealed()).verdict is Verdict.COMPLETE  # alone it is like any other
    for seen in range(1, 11):
        found = verify(FilesReader(forged.sealed()), seen=[parse_note(true.notes[seen])])
        if seen <= size:
            assert found.verdict is Verdict.COMPLETE
        elif seen <= len(forged.records):
            signed = true.epoch_at(seen) == forged.epoch_at(seen)
            assert (found.verdict is Verdict.EQUIVOCATION) == signed, seen
            assert signed or any("proves nothing" in text for text in found.warnings)
        else:
            assert found.verdict is Verdict.TAMPERED or found.warnings
    for old in range(size + 1, min(len(true.records), len(forged.records)) + 1):
        # Both histories in one folder: the true checkpoint beside, or in the place of, the other.
        notes = [(n, forged.notes[n]) for n in forged.notes] + [(old, true.notes[old])]
        beside = b"".join(data for _, data in sorted(notes))
        instead = b"".join(data for n, data in sorted(notes) if data != forged.notes.get(old))
        for checkpoints in (beside, instead):
            seal = parse_notes(checkpoints)[-1].raw
            mixed = {keys.CHECKPOINTS: checkpoints, keys.SEAL: seal}
            found = report(forged.sealed() | mixed)
            assert found.verdict in {Verdict.EQUIVOCATION, Verdict.TAMPERED}


@pytest.mark.parametrize("size", range(1, 10))
def test_3_a_restarted_session_is_not_the_one_in_the_log(size: int) -> None:
    data = LoggedSessions()
    recording = data.begin()
    every_record(recording)
    data.seal(recording)
    name, files = recording.session_id, data.folders[recording.session_id]
    other = data.begin(1, beacon=False)
    if size > 1:
        other.chunk(1, size=DOT)
    other.beat().seal()
    data.rewrite(data.entries[:2])
    data.folders[name] = other.sealed() | {n: files[n] for n in (keys.PROOF_OPEN, keys.PROOF_SEAL)}
    tampered(data.folders[name], Step.LOG)
    found = data.audit()
    assert (found.exit_code, found.problems[0].problem) == (13, Problem.SESSION_CHANGED)


def test_3_no_checkpoint_is_good_under_the_key_of_another_epoch() -> None:
    """Every size under every other key: older ranges by newer keys, and newer by older ones."""
    true = three_epochs()
    for size, key in itertools.product(range(1, 11), range(4)):
        if key == true.epoch_at(size):
            continue
        forged = three_epochs()
        root = parse_note(forged.notes[size]).head.root_hash
        forged.notes[size] = forged.note(size, root, key=forged.keys.epoch_key(key))
        tampered(forged.sealed(), Step.EPOCHS if key < 3 else Step.SIGNATURES)
        tampered(forged.journal(), Step.EPOCHS if key < 3 else Step.SIGNATURES)


def test_3_nor_is_a_proof_file() -> None:
    true = three_epochs()
    for size, key in itertools.product(range(2, 11), range(3)):
        if key == true.epoch_at(size):
            continue
        files = true.journal()
        for above in range(size + 1, 11):
            del files[keys.note(above)]
        root = parse_note(true.notes[size]).head.root_hash
        files[keys.note(size)] = true.note(size, root, key=true.keys.epoch_key(key))
        with pytest.raises(ProofError):
            check_proof(prove_leaf(FilesReader(files), 0))


# --- 4. malformed notes ---------------------------------------------------------------------------


def signed_text(recording: Recording, text: str, size: int) -> bytes:
    """Any text as a note, truly signed by the key of the epoch: an insider's malformed note."""
    private = recording.keys.epoch_key(recording.epoch_at(size))
    key = NoteKey(name=recording.recorder, public_key=private.public_key().public_bytes_raw())
    head = parse_note(recording.notes[size]).head
    time_s = WALL_NS // 10**9 + size
    message = cosigned_message(head, time_s).replace(head.text(), text.encode())
    line = base64.b64encode(key.key_id + time_s.to_bytes(8, "big") + private.sign(message))
    return text.encode() + b"\n" + f"— {key.name} ".encode() + line + b"\n"


@functools.cache
def noted() -> Recording:
    return Recording(checkpoint_every=1).open().beat().beat().seal()


def malformed(size: int) -> Iterator[tuple[str, bytes]]:
    recording = noted()
    note = recording.notes[size]
    head = parse_note(note).head
    lines = (head.origin, str(size), b64(head.root_hash))
    assert signed_text(recording, "\n".join((*lines, "")), size) == note
    for name, change in BAD_TEXT.items():
        yield name, signed_text(recording, change(*lines), size)
    for name, spoil in BAD_BYTES.items():
        yield name, spoil(note)


@pytest.mark.parametrize("name", [*BAD_TEXT, *BAD_BYTES])
def test_4_a_malformed_note_is_refused_wherever_it_stands(name: str) -> None:
    """Although its own key has signed the very bytes; as one of several, as the last, as a seal."""
    recording = noted()
    sealed, journal = recording.sealed(), recording.journal()
    for size in (1, 2, 4):
        bad = dict(malformed(size))[name]
        notes = {**recording.notes, size: bad}
        compact = {**sealed, keys.CHECKPOINTS: b"".join(notes[n] for n in sorted(notes))}
        if bad or size == 4:  # nothing in the place of a note between is a note less
            tampered(compact)
            tampered({**compact, keys.SEAL: notes[4]})
        tampered({**journal, keys.note(size): bad})
    tampered({**sealed, keys.SEAL: dict(malformed(4))[name]})


@pytest.mark.parametrize("name", [*BAD_TEXT, *BAD_BYTES])
def test_4_a_malformed_note_is_none_for_whoever_has_kept_it(name: str) -> None:
    """`--seen`, proof files and clips read notes in the same way."""
    recording = noted()
    bad = dict(malformed(4))[name]
    own = NoteKey(
        name=recording.recorder,
        public_key=recording.keys.epoch_key(0).public_key().public_bytes_raw(),
    )
    try:
        notes = parse_notes(bad)
    except FormatError:
        notes = []
    for note in notes:  # of another origin or key, or signed twice: no note of this session's
        found = verify(FilesReader(recording.journal()), seen=[note])
        assert note.raw == bad or own.name != note.signatures[0].name
        assert found.verdict is Verdict.COMPLETE
    proof = prove_leaf(FilesReader(recording.sealed()), 1)
    text = bad.decode("utf-8", "replace")
    with pytest.raises(RecorderError):
        check_proof(msgspec.structs.replace(proof, checkpoint=text))


def log_text(change: Callable[[str, str, str], str], data: LoggedSessions) -> bytes:
    head = parse_note(data.notes[-1]).head
    text = change(head.origin, str(head.tree_size), b64(head.root_hash)).encode()
    name, key_id, _ = NoteKeyOfLog.vkey(data.device).split("+", 2)
    line = base64.b64encode(bytes.fromhex(key_id) + data.device.sign(text))
    return text + b"\n" + f"— {name} ".encode() + line + b"\n"


class NoteKeyOfLog:
    """The key of the log, made from the document alone."""

    @staticmethod
    def vkey(device: Ed25519PrivateKey) -> str:
        public = device.public_key().public_bytes_raw()
        material = f"{RECORDER}/log".encode() + b"\n\x01" + public
        return f"{RECORDER}/log+{hashlib.sha256(material).digest()[:4].hex()}+{b64(public)}"


@pytest.mark.parametrize("name", [*BAD_TEXT, *BAD_BYTES])
def test_4_a_malformed_note_is_no_checkpoint_of_the_log(name: str) -> None:
    data = LoggedSessions()
    recording = data.record()
    files = data.folders[recording.session_id]
    good = data.notes[-1]
    assert log_text(lambda o, n, r: f"{o}\n{n}\n{r}\n", data) == good
    bad = log_text(BAD_TEXT[name], data) if name in BAD_TEXT else BAD_BYTES[name](good)
    data.log[keys.LOG_CHECKPOINT] = bad
    assert data.audit().exit_code == 13
    proof = files[keys.PROOF_SEAL]
    assert proof.endswith(good)
    tampered({**files, keys.PROOF_SEAL: proof.removesuffix(good) + bad}, Step.LOG)


# --- 5. kill between head, signature and publish --------------------------------------------------


def test_5_is_done_with_real_workers_on_a_real_server() -> None:
    """tests/integration/test_crash_rule.py: at every effect, by one worker and by two."""
    path = Path(__file__).parents[1] / "integration" / "test_crash_rule.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = {n.name for n in tree.body if isinstance(n, ast.AsyncFunctionDef | ast.FunctionDef)}
    assert {
        "test_killed_at_every_effect_and_taken_up_behind_the_window",
        "test_two_workers_race_and_one_is_killed_at_every_effect",
        "test_a_tree_that_is_not_the_signed_one_is_an_incident_and_everything_is_kept",
        "test_a_head_without_its_checkpoint_is_not_signed_by_a_later_epoch",
    } <= tests


# --- 6. consistency -------------------------------------------------------------------------------


Consistency = tuple[int, int, tuple[bytes, bytes], list[bytes]]
"""Both sizes, both roots, and the hashes."""


def falsified(
    first: int, second: int, roots: tuple[bytes, bytes], proof: list[bytes]
) -> Iterator[Consistency]:
    """One root, one hash or one size is another; there is a hash too few or too many."""
    if roots[0] != roots[1]:
        yield first, second, (roots[1], roots[0]), proof
    yield first, second, (bytes(32), roots[1]), proof
    if first or not second:  # every tree grows out of the empty one: there nothing is compared
        yield first, second, (roots[0], bytes(32)), proof
    for at, extra in itertools.product(range(len(proof) + 1), (bytes(32), *roots, *proof[:1])):
        yield first, second, roots, [*proof[:at], extra, *proof[at:]]
    for at, value in enumerate(proof):
        yield first, second, roots, [*proof[:at], *proof[at + 1 :]]
        for other in (bytes([value[0] ^ 1]) + value[1:], value[1:], value + b"\0"):
            yield first, second, roots, [*proof[:at], other, *proof[at + 1 :]]
    if proof != proof[::-1]:
        yield first, second, roots, proof[::-1]
    if second > first:
        yield second, first, (roots[1], roots[0]), proof


@BOTH
def test_6_consistency_has_exactly_its_hashes_and_both_roots(hasher: TreeHash) -> None:
    """For all 0 <= m <= n <= 17, with m = 0, m = n and m = 2^k among them."""
    tree = Tree(leaves(17, hasher), hasher)
    for first, second in itertools.combinations_with_replacement(range(18), 2):
        roots = tree.root(first), tree.root(second)
        proof = consistency_proof(tree, first, second)
        held(first, second, roots, proof, hasher)
        for wrong in falsified(first, second, roots, proof):
            with pytest.raises(ProofError):
                held(*wrong, hasher)


def held(
    first: int, second: int, roots: tuple[bytes, bytes], proof: list[bytes], hasher: TreeHash
) -> None:
    verify_consistency(
        first=first,
        second=second,
        first_root=roots[0],
        second_root=roots[1],
        proof=proof,
        hasher=hasher,
    )


@BOTH
def test_6_two_trees_that_part_are_never_consistent(hasher: TreeHash) -> None:
    """No proof of either tree leads from one to the other behind where they part."""
    one = Tree(leaves(10, hasher), hasher)
    for parted in range(10):
        other = Tree([*leaves(parted, hasher), *leaves(20, hasher)[parted + 10 : 20]], hasher)
        for first in range(parted + 1, 10):
            for second in range(first, 11 if parted == 0 else 10):
                if second > other.size:
                    continue
                for proof in (
                    consistency_proof(one, first, second),
                    consistency_proof(other, first, second),
                    [],
                ):
                    with pytest.raises(ProofError):
                        held(first, second, (one.root(first), other.root(second)), proof, hasher)


def test_6_a_proof_file_of_consistency_is_of_its_two_checkpoints() -> None:
    recording = beats(9)
    reader = FilesReader(recording.sealed())
    for first, second in itertools.combinations(range(1, 10), 2):
        proof = prove_consistency(reader, first, second)
        check_proof(proof)
        swapped = msgspec.structs.replace(
            proof,
            first_size=second,
            tree_size=first,
            first_checkpoint=proof.checkpoint,
            checkpoint=proof.first_checkpoint,
        )
        wrong = [swapped]
        for size in set(range(11)) - {first}:
            wrong.append(msgspec.structs.replace(proof, first_size=size))
            if size in recording.notes:
                text = recording.notes[size].decode()
                wrong.append(msgspec.structs.replace(proof, first_size=size, first_checkpoint=text))
        wrong.extend(
            msgspec.structs.replace(proof, hashes=hashes)
            for hashes in (
                (*proof.hashes, "00" * 32),
                ("00" * 32, *proof.hashes),
                proof.hashes[:-1],
                proof.hashes[1:],
            )
        )
        for changed in wrong:
            with pytest.raises(ProofError):
                check_proof(changed)


# --- 7. chunks of identical bytes -----------------------------------------------------------------


def test_7_one_chunk_recorded_as_two_is_seen_in_its_frames() -> None:
    """Frames hold their units, so no two chunks have the same bytes, whoever wrote the records."""
    plain = black(0)
    recording = Recording().open().chunk(1, size=DOT, codec="stored", plain=plain)
    recording.chunk(1, size=DOT, codec="stored", plain=plain).seal()
    files = recording.sealed()
    one, other = (keys.chunk(n, compressed=False) for n in (1, 2))
    assert files[one] == files[other]
    found = tampered(files, Step.FRAMES)
    assert (found.chunk_map, found.damaged) == (".X", (other,))


def test_7_chunks_that_show_the_same_are_told_apart() -> None:
    """Equal pictures, equal lengths: the files swapped, the records swapped, and both."""
    recording = Recording().open()
    for unit in range(3):
        recording.chunk(1, size=DOT, codec="stored", plain=black(unit))
    recording.seal()
    names = [keys.chunk(n, compressed=False) for n in (1, 2, 3)]
    files = recording.sealed()
    assert report(files).verdict is Verdict.COMPLETE
    assert len({len(files[name]) for name in names}) == 1
    for one, other in itertools.combinations(range(3), 2):
        swap = {names[one]: files[names[other]], names[other]: files[names[one]]}
        tampered({**files, **swap}, Step.STORED)
        records = list(recording.records)
        records[one + 1], records[other + 1] = records[other + 1], records[one + 1]
        framed = {keys.RECORDS: b"".join(map(frame_record, records))}
        tampered({**files, **framed}, Step.ROOT)
        tampered({**files, **framed, **swap}, Step.ROOT)


def test_7_chunks_swapped_by_an_insider_are_in_the_wrong_place_or_leave_a_hole() -> None:
    def with_swapped(indices: bool) -> Files:
        recording = Recording().open()
        for unit in range(3):
            recording.chunk(1, size=DOT, codec="stored", plain=black(unit))
        recording.seal()
        records = [decode_record(data) for data in recording.records]
        records[1], records[2] = records[2], records[1]
        if indices:
            for place in (1, 2):
                records[place] = msgspec.structs.replace(
                    records[place], index=place, keyframe_index=place
                )
            one, other = (keys.chunk(n, compressed=False) for n in (1, 2))
            files = recording.files
            files[one], files[other] = files[other], files[one]
        recording.records = [encode_record(record) for record in records]
        recording.rebuild()
        return recording.sealed()

    tampered(with_swapped(indices=False), Step.PLACE)
    found = tampered(with_swapped(indices=True), Step.COVERAGE)
    assert found.chunk_map == "..."


def test_7_marks_with_the_same_body_are_two_records() -> None:
    recording = Recording(checkpoint_every=1).open().mark().mark().seal()
    files = recording.sealed()
    assert files[keys.mark(1)] == files[keys.mark(2)]
    assert report(files).verdict is Verdict.COMPLETE
    for name in (keys.mark(1), keys.mark(2)):
        tampered({n: d for n, d in files.items() if n != name}, Step.ATTACHED)


# --- 8. zstd --------------------------------------------------------------------------------------

BOMB = 256 << 20
ROOM = 4 << 20
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"more"


def bomb(head: bytes) -> bytes:
    """So many zeros behind some bytes, in one frame that does not declare its length."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 20)
    parts = [compressor.compress(head), *(compressor.compress(zeros) for _ in range(BOMB >> 20))]
    return b"".join([*parts, compressor.flush()])


def recompressed(plain: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=True)
    return compressor.compress(plain)


ZSTD: dict[str, Callable[[bytes], bytes]] = {
    "recompressed": recompressed,
    "concatenated": lambda plain: zstd(plain[:20]) + zstd(plain[20:]),
    "an empty frame behind": lambda plain: zstd(plain) + zstd(b""),
    "an empty frame before": lambda plain: zstd(b"") + zstd(plain),
    "a skippable frame behind": lambda plain: zstd(plain) + SKIPPABLE,
    "a skippable frame before": lambda plain: SKIPPABLE + zstd(plain),
    "trailing bytes": lambda plain: zstd(plain) + b"\0",
    "an end that is missing": lambda plain: zstd(plain)[:-1],
    "a bomb": bomb,
}


def a_plain_chunk() -> tuple[Recording, str, bytes]:
    recording = Recording(checkpoint_every=1).open().chunk(1, size=DOT).seal()
    name = keys.chunk(1, compressed=True)
    return recording, name, zstandard.ZstdDecompressor().decompress(recording.files[name])


@pytest.mark.parametrize("attack", ZSTD.values(), ids=ZSTD.keys())
def test_8_nothing_is_inflated_that_no_record_vouches_for(
    attack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, name, plain = a_plain_chunk()
    stored = attack(plain)
    assert stored != recording.files[name]

    inflated: list[object] = []
    monkeypatch.setattr(chunks, "PlainBytes", lambda *given: inflated.append(given))
    tampered({**recording.sealed(), name: stored}, Step.STORED)
    assert inflated == []


@pytest.mark.parametrize("attack", ZSTD.values(), ids=ZSTD.keys())
def test_8_what_is_not_exactly_one_frame_is_refused_whoever_signs_it(
    attack: Callable[[bytes], bytes],
) -> None:
    """With the digests of the bytes in the record; recompressed alone it is a chunk like any."""
    _, _, plain = a_plain_chunk()
    stored = attack(plain)
    recording = Recording(checkpoint_every=1).open().chunk(1, size=DOT, plain=plain, stored=stored)
    files = recording.seal().sealed()
    tracemalloc.start()
    try:
        found = report(files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if attack is recompressed:
        assert found.verdict is Verdict.COMPLETE
    else:
        assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.PLAIN), found.steps
    assert peak < ROOM + 2 * len(stored)


def test_8_a_bomb_that_its_record_declares_is_inflated_in_small_pieces() -> None:
    """A record may say what it wants: 2^32 bytes are the most, and no more than a piece is held."""
    _, _, plain = a_plain_chunk()
    recording = Recording(checkpoint_every=1).open()
    recording.chunk(
        1,
        size=DOT,
        plain=plain,
        stored=bomb(plain),
        change=lambda event: msgspec.structs.replace(event, plain_size=len(plain) + BOMB),
    )
    files = recording.seal().sealed()
    tracemalloc.start()
    try:
        tampered(files, Step.PLAIN)
        assert tracemalloc.get_traced_memory()[1] < ROOM
    finally:
        tracemalloc.stop()


# --- 9. hidden holes ------------------------------------------------------------------------------


def respanned(**by: int) -> Callable[[Span], Span]:
    def change(span: Span) -> Span:
        moved = {name: max(0, getattr(span, name) + n) for name, n in by.items()}
        return msgspec.structs.replace(span, **moved)

    return change


HOLES: dict[str, Callable[[Span], Span]] = {
    f"{name} {n:+}": respanned(**{name: n})
    for name in ("first_unit", "unit_count", "t0_ns", "t1_ns")
    for n in (-1, 1)
} | {
    "a unit moved from one to the next": respanned(first_unit=1, unit_count=-1),
    "a range that holds the one before": respanned(first_unit=-1, unit_count=1),
    "a range of the time before": respanned(t0_ns=-FRAME_NS, t1_ns=-FRAME_NS),
    "of another stream": respanned(stream=1),
}


@pytest.mark.parametrize("name", HOLES)
@pytest.mark.parametrize("place", [1, 2, 3])
def test_9_ranges_that_overlap_or_leave_a_hole(name: str, place: int) -> None:
    """In every chunk and gap, by one unit and by one nanosecond: signed by an insider."""
    recording = Recording(checkpoint_every=1).open()
    recording.chunk(2, size=DOT).gap(2).chunk(2, size=DOT).seal()
    assert report(recording.sealed()).verdict is Verdict.COMPLETE_WITH_GAPS
    record = decode_record(recording.records[place])
    assert hasattr(record, "span")
    span = HOLES[name](record.span)
    assert span != record.span or place == 1
    if span != record.span:
        tampered(edited(recording, place, span=span).sealed())


def test_9_a_chunk_cannot_be_left_out_by_an_insider() -> None:
    """Everything behind it has the next index, and all is signed again: a hole is left."""
    for dropped in (1, 2, 3, 4):
        recording = Recording(checkpoint_every=1).open()
        for _ in range(4):
            recording.chunk(1, size=DOT)
        recording.seal()
        files = {keys.MANIFEST: recording.files[keys.MANIFEST]}
        kept: list[bytes] = []
        for data in recording.records:
            record = decode_record(data)
            if record.index == dropped:
                continue
            if isinstance(record, ChunkRecord):
                stored = recording.files[keys.chunk(record.index, compressed=True)]
                record = msgspec.structs.replace(record, keyframe_index=len(kept))
                files[keys.chunk(len(kept), compressed=True)] = stored
            kept.append(encode_record(msgspec.structs.replace(record, index=len(kept))))
        recording.records, recording.files, recording.notes = kept, files, {5: b""}
        recording.rebuild()
        tampered(recording.sealed(), Step.COVERAGE)


BACK: dict[str, Callable[[], Recording]] = {
    "BEAT before a BEAT": lambda: edited(pulse(), 3, t_ns=FRAME_NS),
    "BEAT behind its stream": lambda: edited(pulse(), 2, t_ns=FRAME_NS - 1),
    "units of a BEAT": lambda: edited(pulse(), 3, unit=1),
    "EPOCH before a BEAT": lambda: edited(pulse(), 4, t_ns=2 * FRAME_NS),
    "SEAL before the last BEAT": lambda: edited(pulse(), 5, t_ns=5 * FRAME_NS),
}


def pulse() -> Recording:
    """OPEN, GAP of time, BEAT 2 at 5, BEAT 3 at 6, EPOCH 4, GAP 5 of time, SEAL 6."""
    recording = Recording(checkpoint_every=1).open().gap(0, duration_ns=FRAME_NS)
    recording.beat(t_ns=5 * FRAME_NS, unit=3).beat(t_ns=6 * FRAME_NS, unit=4)
    recording.t_ns = 6 * FRAME_NS
    recording.epoch()
    return recording.seal()


@pytest.mark.parametrize("name", BACK)
def test_9_a_clock_that_steps_back(name: str) -> None:
    tampered(BACK[name]().sealed(), Step.COVERAGE)


@pytest.mark.parametrize("kind", ["chunk", "gap", "mark", "epoch", "beat", "seal"])
def test_9_nothing_stands_behind_the_seal(kind: str) -> None:
    """A leaf after SEAL, and two SEALs, whatever they say; signed, in either form of the folder."""
    recording = Recording(checkpoint_every=1).open().beat().seal()
    recording.unsealed()
    {
        "chunk": lambda: recording.chunk(1, size=DOT),
        "gap": lambda: recording.gap(1),
        "mark": recording.mark,
        "epoch": recording.epoch,
        "beat": recording.beat,
        "seal": recording.seal,
    }[kind]()
    tampered(recording.sealed(), Step.WHOLE)
    tampered(recording.journal(), Step.WHOLE)
    recording.unsealed()
    tampered(recording.seal().sealed(), Step.WHOLE)


@pytest.mark.parametrize("missing", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3)])
def test_9_a_missing_session(missing: tuple[int, ...]) -> None:
    """Its folder is gone: the log names it. So it does where the others' proofs are all there."""
    data = LoggedSessions()
    names = [data.record().session_id for _ in range(3)]
    for number in missing:
        del data.folders[names[number - 1]]
    found = data.audit()
    assert found.exit_code == 13
    gone = {f.session_id for f in found.problems if f.problem is Problem.SESSION_MISSING}
    assert gone == {names[number - 1] for number in missing}


# --- 10. receipts ---------------------------------------------------------------------------------


UNKNOWN = UnknownAttestation(b"12345678", b"?")


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def stamped(tsa: Tsa) -> tuple[Files, bytes, int]:
    """A session with a time-stamp in OPEN, the log's checkpoint behind its seal, and its size."""
    data = LoggedSessions()
    data.record()
    before = data.notes[-1]
    recording = data.begin()
    recording = Recording(recording.session_id, checkpoint_every=1)
    recording.numbered = SessionNumbered(
        session_id=recording.session_id,
        counter=2,
        beacon=before.decode(),
        timestamped=before.decode(),
        timestamp=tsa.stamp(before),
    )
    recording.open().chunk(1, size=DOT).seal()
    data.rewrite(data.entries[:2])
    data.recordings[recording.session_id] = recording
    opened = data.append(entry_of(recording, EntryKind.OPEN))
    sealed = data.append(entry_of(recording, EntryKind.SEAL))
    proofs = {keys.PROOF_OPEN: opened, keys.PROOF_SEAL: sealed}
    return recording.sealed() | proofs, data.notes[-1], len(data.entries)


def test_10_a_receipt_for_another_file(tsa: Tsa) -> None:
    files, note, size = stamped(tsa)
    policy = TrustPolicy(authorities=(tsa.trusted(),))
    tsr, ots = keys.receipt(size, "tsr"), keys.receipt(size, "ots")
    found = report({**files, tsr: tsa.stamp(note)}, policy)
    assert (found.verdict, found.window.not_after_ns is not None) == (Verdict.COMPLETE, True)
    for other in (b"another file", note[:-1], files[keys.PROOF_OPEN], parse_note(note).head.text()):
        tampered({**files, tsr: tsa.stamp(other)}, Step.RECEIPTS)
        tampered({**files, ots: receipt(UNKNOWN, message=other)[0]}, Step.RECEIPTS)
    for data in (b"", b"\0", b"nonsense" * 99):
        tampered({**files, tsr: data}, Step.RECEIPTS)
        tampered({**files, ots: data}, Step.RECEIPTS)


def test_10_an_unknown_attestation_proves_nothing_and_is_told(tsa: Tsa) -> None:
    files, note, size = stamped(tsa)
    name = keys.receipt(size, "ots")
    unknown, _ = receipt(UNKNOWN, message=note)
    found = report({**files, name: unknown})
    assert (found.verdict, found.window.not_after_ns) == (Verdict.COMPLETE, None)
    assert any(text.startswith(f"{name}: no time is proved") for text in found.not_proved)
    block, root = receipt(BitcoinBlockHeaderAttestation(900_000), message=note)
    nobody = report({**files, name: block})
    assert (nobody.verdict, nobody.window.not_after_ns) == (Verdict.COMPLETE, None)
    header = BlockHeader(height=900_000, merkle_root=root, time=2**32 - 1)
    known = report({**files, name: block}, TrustPolicy(block_headers=(header,)))
    assert known.window.not_after_ns is not None


def test_10_a_receipt_older_than_the_time_stamp_in_open(tsa: Tsa) -> None:
    """What OPEN holds was not there yet: TAMPERED where both are trusted, else said loudly."""
    files, note, size = stamped(tsa)
    block, root = receipt(BitcoinBlockHeaderAttestation(600_000), message=note)
    header = BlockHeader(height=600_000, merkle_root=root, time=1_571_443_461)
    older = {**files, keys.receipt(size, "ots"): block}
    found = report(older, TrustPolicy(authorities=(tsa.trusted(),), block_headers=(header,)))
    assert (found.verdict, found.failed_step) == (Verdict.TAMPERED, Step.WINDOW)
    unvouched = report(older, TrustPolicy(block_headers=(header,)))
    assert unvouched.verdict is Verdict.COMPLETE
    assert any("THE TIME-STAMPS CONTRADICT EACH OTHER" in text for text in unvouched.warnings)


def test_10_the_time_stamp_in_open_is_over_what_it_says(tsa: Tsa) -> None:
    data = LoggedSessions()
    data.record()
    for over in (b"another file", b"", data.notes[0]):
        recording = Recording(SESSION, checkpoint_every=1)
        recording.numbered = SessionNumbered(
            session_id=SESSION,
            counter=2,
            timestamped=data.notes[-1].decode(),
            timestamp=tsa.stamp(over),
        )
        tampered(recording.open().beat().seal().sealed(), Step.RECEIPTS)
