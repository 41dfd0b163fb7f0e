"""The log of sessions: its bytes are those that stock readers of C2SP and RFC 6962 logs expect."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec
import pymerkle
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder_worker.core.errors import BlobMissingError, FormatError, UnsupportedError
from recorder_worker.core.log_audit.report import Problem
from recorder_worker.core.log_audit.rules import broken_rules
from recorder_worker.core.merkle.proofs import (
    ProofError,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
)
from recorder_worker.core.merkle.tree import SHA256, Tree
from recorder_worker.core.session_log.entries import (
    ENTRY_SIZE,
    NO_SESSION,
    EntryKind,
    LogEntry,
    decode_entry,
    encode_entry,
    entry_hash,
)
from recorder_worker.core.session_log.growth import growth
from recorder_worker.core.session_log.log_head import entry_in, head_in, head_over, to_event
from recorder_worker.core.session_log.log_proof import LogProof, parse_log_proof
from recorder_worker.core.session_log.stored_log import check_log, log_key, verify_log_note
from recorder_worker.core.session_log.tile_bytes import join_bundle, split_bundle
from recorder_worker.core.session_log.tile_names import bundle_name, tile_name, width_at
from recorder_worker.core.session_log.tiled_tree import TiledTree
from recorder_worker.core.signing.note import (
    NoteSigner,
    SignedNote,
    TreeHead,
    parse_note,
    sign_checkpoint,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "recorder-of-tests/log"
SESSION = "0192f3a4-5b6c-7d8e-9f00-112233445566"
ENTRY = LogEntry(kind=EntryKind.OPEN, session_id=SESSION, counter=7, note_sha256=bytes(range(32)))
ENTRY_BYTES = encode_entry(ENTRY)


def some_entries(count: int, begin: int = 0) -> list[bytes]:
    return [
        encode_entry(
            LogEntry(
                kind=EntryKind.OPEN if n % 2 else EntryKind.SEAL,
                session_id=SESSION,
                counter=n + 1,
                note_sha256=hashlib.sha256(b"%d" % n).digest(),
            )
        )
        for n in range(begin, begin + count)
    ]


class Files:
    """The files of a log in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        if name not in self.held:
            raise BlobMissingError(name)
        return self.held[name]

    def grow(self, size: int, entries: list[bytes]) -> None:
        for name, data in growth(self.read, size, entries):
            assert self.held.setdefault(name, data) == data, name

    @property
    def digest(self) -> str:
        """SHA-256 over all names and contents."""
        total = hashlib.sha256()
        for name in sorted(self.held):
            total.update(f"{name} {len(self.held[name])}\n".encode() + self.held[name])
        return total.hexdigest()


def grown(*counts: int) -> Files:
    """A log that grew by so many entries at a time."""
    files, size = Files(), 0
    for count in counts:
        files.grow(size, some_entries(count, size))
        size += count
    return files


def signed(root: bytes, size: int, origin: str = ORIGIN) -> SignedNote:
    signer = NoteSigner(key=log_key(ORIGIN, KEY.public_key().public_bytes_raw()), sign=KEY.sign)
    head = TreeHead(origin=origin, tree_size=size, root_hash=root)
    return parse_note(sign_checkpoint(head, signers=[signer], signed_at_s=0))


# --- entries --------------------------------------------------------------------------------------


def test_an_entry_has_the_bytes_of_the_format() -> None:
    data = encode_entry(ENTRY)
    assert data.hex() == (
        "00000001"
        "0192f3a45b6c7d8e9f00112233445566"
        "0000000000000007"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    )
    assert len(data) == ENTRY_SIZE
    assert decode_entry(data) == ENTRY
    seal = msgspec.structs.replace(ENTRY, kind=EntryKind.SEAL)
    assert encode_entry(seal)[:4] == b"\0\0\0\x03"
    assert decode_entry(encode_entry(seal)) == seal


def test_an_audit_entry_is_of_no_session_and_changes_no_number() -> None:
    audit = msgspec.structs.replace(ENTRY, kind=EntryKind.AUDIT, session_id=NO_SESSION, counter=900)
    data = encode_entry(audit)
    assert data[:28].hex() == "00000004" + "00" * 16 + "0000000000000384"
    assert decode_entry(data) == audit
    seal = msgspec.structs.replace(ENTRY, kind=EntryKind.SEAL)
    head = head_over([ENTRY, seal])
    after = head.append(audit)
    assert (after.max_counter, after.last_seal) == (7, seal.note_sha256)
    said = to_event(after, audit)
    assert (said.kind, said.counter, said.session_id) == ("audit", 900, NO_SESSION)
    assert (head_in(said), entry_in(said)) == (after, audit)
    with pytest.raises(FormatError, match="expected no session in AUDIT"):
        encode_entry(msgspec.structs.replace(audit, session_id=SESSION))
    with pytest.raises(FormatError, match="expected no session in AUDIT"):
        decode_entry(data[:4] + ENTRY_BYTES[4:20] + data[20:])


def test_audit_events_that_grow_fewer_are_an_entry_out_of_order() -> None:
    audit = msgspec.structs.replace(ENTRY, kind=EntryKind.AUDIT, session_id=NO_SESSION)
    opened = msgspec.structs.replace(ENTRY, counter=1)
    counts = [msgspec.structs.replace(audit, counter=n) for n in (3, 5, 5, 8)]
    assert list(broken_rules([counts[0], opened, counts[1], counts[3]])) == []
    (finding,) = broken_rules([opened, *counts])
    assert (finding.problem, finding.session_id) == (Problem.ENTRY_ORDER, "")
    assert "entry 3 says 5 audit events, behind 5" in finding.detail


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (encode_entry(ENTRY)[:-1], FormatError, "expected 60 bytes, found 59"),
        (encode_entry(ENTRY) + b"\0", FormatError, "found 61"),
        (b"\0\0\0\x02" + encode_entry(ENTRY)[4:], UnsupportedError, "BEAT"),
        (b"\0\0\0\0" + encode_entry(ENTRY)[4:], UnsupportedError, "found 0"),
        (b"\x01\0\0\0" + encode_entry(ENTRY)[4:], UnsupportedError, "found 16777216"),
        (encode_entry(ENTRY)[:20] + bytes(8) + bytes(32), FormatError, "from 1, found 0"),
    ],
)
def test_what_is_not_an_entry_is_refused(data: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_entry(data)


@pytest.mark.parametrize(
    "wrong", [{"counter": 0}, {"counter": 2**64}, {"note_sha256": b""}, {"session_id": "kim"}]
)
def test_what_cannot_be_an_entry_is_not_written(wrong: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        encode_entry(msgspec.structs.replace(ENTRY, **wrong))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (tile_name(0, 0), "tile/0/000"),
        (tile_name(0, 67), "tile/0/067"),
        (tile_name(0, 999), "tile/0/999"),
        (tile_name(0, 1000), "tile/0/x001/000"),
        (tile_name(2, 1067), "tile/2/x001/067"),
        (tile_name(0, 1_234_067), "tile/0/x001/x234/067"),
        (tile_name(63, 5, 1), "tile/63/005.p/1"),
        (tile_name(1, 1_234_067, 255), "tile/1/x001/x234/067.p/255"),
        (bundle_name(0), "tile/entries/000"),
        (bundle_name(1067, 17), "tile/entries/x001/067.p/17"),
        (bundle_name(1_000_000), "tile/entries/x001/x000/000"),
    ],
)
def test_names_are_those_of_the_specification(name: str, expected: str) -> None:
    assert name == expected


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1)])
def test_there_is_no_tile_beyond_the_specification(level: int, index: int, width: int) -> None:
    with pytest.raises(FormatError):
        tile_name(level, index, width)


@pytest.mark.parametrize("width", [0, 257])
def test_a_tile_has_1_to_256_hashes(width: int) -> None:
    with pytest.raises(FormatError):
        bundle_name(0, width)


def test_widths_are_those_of_the_example_in_the_specification() -> None:
    # "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0
    # tile of width 112, one full level 1 tile, one partial level 1 tile of width 17, and one
    # partial level 2 tile of width 1. A tree of size 256 by a full level 0 tile and a partial
    # level 1 tile of width 1."
    def widths(size: int, level: int) -> list[int]:
        found = [width_at(size, level, index) for index in range(300)]
        return [width for width in found if width]

    assert widths(70_000, 0) == [256] * 273 + [112]
    assert widths(70_000, 1) == [256, 17]
    assert widths(70_000, 2) == [1]
    assert widths(70_000, 3) == []
    assert [widths(256, level) for level in range(3)] == [[256], [1], []]


# --- growth, against stock implementations --------------------------------------------------------

STOCK = {
    1: "78eda09e9465c34c5a01f6eddf64846900587f928858ca2882aeeeefd65f09b5",
    2: "022f724c3ec8eed0c642a7e701b95df08f3a9c0e071a227fd295daeaa4d10a67",
    3: "6d3ce263ea7028e1bde0cfb0eb67c9f3a67c5b8f9e8f331275c8b2512ca94d3a",
    255: "0884200a80ca64ecb33e3de3d804276902d45e165642b2fe4c3017d6438102ee",
    256: "81efb43c8aa0398182b69e307556f44924f0b527ab2f74bde539607c1d3d5b95",
    257: "04bcc05b8effaf45e7eb28d65708d88fa36f7d61beafef4fcb903b5a79f710bf",
    600: "b1b6dc00bbc4eb19c13993b0f366527c16a3b0145a28d29f96b6abe5f6d4ef2e",
    66_000: "b51ca6156117f5c9599339840a707db7feb3f5223391079623664f1965d8e539",
}
"""Digests over the files that aics-tlog 0.2.1, a library for C2SP logs, writes for these sizes."""


@pytest.mark.parametrize("size", STOCK)
def test_the_files_are_those_that_a_stock_implementation_wrote(size: int) -> None:
    assert grown(size).digest == STOCK[size]


def test_a_stock_implementation_reads_our_log_and_makes_the_same_proofs() -> None:
    stock = pytest.importorskip("aics_tlog", reason="aics-tlog is not installed (Python 3.12)")
    size = 700
    files = grown(*[1] * 10, 240, 6, 1, 443)
    tree = TiledTree(files.read, size)
    reader = stock.MemoryTileReader(files.held)
    stock.audit_tiles(reader, size, tree.root())
    for index in (0, 1, 255, 256, 511, 512, 699):
        theirs = stock.inclusion_proof_from_tiles(reader, index, size)
        assert theirs == inclusion_proof(tree, index, size)
    for old in (1, 2, 255, 256, 257, 600, 699):
        theirs = stock.consistency_proof_from_tiles(reader, old, size)
        assert theirs == consistency_proof(tree, old, size)
    key = log_key(ORIGIN, KEY.public_key().public_bytes_raw())
    note = stock.parse_note(signed(tree.root(), size).raw)
    found = stock.verify_checkpoint(note, stock.parse_vkey(key.vkey), expected_origin=ORIGIN)
    assert (found.ok, found.size, found.root) == (True, size, tree.root())


def test_roots_and_proofs_from_tiles_are_those_of_pymerkle() -> None:
    size, entries = 530, some_entries(530)
    tree = TiledTree(grown(size).read, size)
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        theirs.append_entry(entry)
    for at in (1, 2, 255, 256, 257, 512, 530):
        assert tree.root(at) == theirs.get_root(at)
    for index, at in ((0, 2), (0, 530), (255, 256), (256, 300), (529, 530)):
        proof = theirs.prove_inclusion(index + 1, at)
        pymerkle.verify_inclusion(entry_hash(entries[index]), tree.root(at), proof)
        path = [bytes.fromhex(value) for value in proof.serialize()["path"]]
        ours = inclusion_proof(tree, index, at)
        assert set(ours) <= set(path)
    for first, second in ((1, 2), (255, 530), (256, 512), (300, 530)):
        proof = theirs.prove_consistency(first, second)
        pymerkle.verify_consistency(tree.root(first), tree.root(second), proof)


def cases() -> st.SearchStrategy[list[int]]:
    small = st.integers(1, 5)
    wide = st.sampled_from([1, 250, 254, 255, 256, 257, 300])
    return st.lists(st.one_of(small, wide), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_however_a_log_grew_its_tiles_rebuild_the_tree(counts: list[int]) -> None:
    files, size = grown(*counts), sum(counts)
    whole = grown(size)
    assert whole.held.items() <= files.held.items()
    kept = Tree(map(entry_hash, some_entries(size)), SHA256)
    tree = TiledTree(files.read, size)
    at = 0
    for count in counts:
        at += count
        assert tree.root(at) == kept.root(at)
        assert consistency_proof(tree, at, size) == consistency_proof(kept, at, size)
        assert inclusion_proof(tree, at - 1, size) == inclusion_proof(kept, at - 1, size)
    log = check_log(files.read, signed(tree.root(), size))
    assert [encode_entry(entry) for entry in log.entries] == some_entries(size)


def test_partial_tiles_may_go_once_the_full_ones_are_there() -> None:
    files = grown(200, 56, 10)
    pruned = {n: d for n, d in files.held.items() if "000.p/" not in n or n.startswith("tile/1/")}
    assert len(pruned) < len(files.held)
    root = TiledTree(files.read, 266).root()
    files.held = pruned
    assert TiledTree(files.read, 266).root() == root
    # A log at an older size is read from the full tile, and can be grown again from there.
    older = TiledTree(files.read, 200)
    assert len(check_log(files.read, signed(older.root(), 200)).entries) == 200
    assert dict(growth(files.read, 200, some_entries(66, 200))).items() <= pruned.items()


# --- a log that was changed -----------------------------------------------------------------------


def a_log() -> tuple[Files, SignedNote]:
    files = grown(300)
    return files, signed(TiledTree(files.read, 300).root(), 300)


def _flip(name: str) -> Callable[[Files], None]:
    def flip(files: Files) -> None:
        data = bytearray(files.held[name])
        data[-1] ^= 1
        files.held[name] = bytes(data)

    return flip


def _swap_entries(files: Files) -> None:
    first, second, *rest = split_bundle(files.held["tile/entries/000"])
    files.held["tile/entries/000"] = join_bundle([second, first, *rest])


def _remove(name: str) -> Callable[[Files], None]:
    def remove(files: Files) -> None:
        del files.held[name]

    return remove


def _cut(name: str) -> Callable[[Files], None]:
    def cut(files: Files) -> None:
        files.held[name] = files.held[name][:-1]

    return cut


TAMPERED: dict[str, tuple[Callable[[Files], None], type[Exception]]] = {
    "an entry": (_flip("tile/entries/000"), ProofError),
    "the last entry": (_flip("tile/entries/001.p/44"), ProofError),
    "two entries swapped": (_swap_entries, ProofError),
    "a hash": (_flip("tile/0/000"), ProofError),
    "a hash of a partial tile": (_flip("tile/0/001.p/44"), ProofError),
    "a hash of level 1": (_flip("tile/1/000.p/1"), ProofError),
    "a bundle gone": (_remove("tile/entries/000"), BlobMissingError),
    "a tile gone": (_remove("tile/0/000"), BlobMissingError),
    "level 1 gone": (_remove("tile/1/000.p/1"), BlobMissingError),
    "a bundle cut": (_cut("tile/entries/001.p/44"), FormatError),
    "a tile cut": (_cut("tile/0/000"), FormatError),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_log_does_not_rebuild_its_root(name: str) -> None:
    files, note = a_log()
    assert len(check_log(files.read, note).entries) == 300
    tamper, error = TAMPERED[name]
    tamper(files)
    with pytest.raises(error):
        check_log(files.read, note)


def test_another_root_or_size_is_not_the_log_s() -> None:
    files, _ = a_log()
    with pytest.raises(ProofError, match="expected the signed root"):
        check_log(files.read, signed(bytes(32), 300))
    with pytest.raises(BlobMissingError):
        check_log(files.read, signed(bytes(32), 301))


def test_the_note_must_be_of_this_log_and_by_this_key() -> None:
    _, note = a_log()
    public = KEY.public_key().public_bytes_raw()
    verify_log_note(note, ORIGIN, public)
    with pytest.raises(ProofError, match="expected a checkpoint of other/log"):
        verify_log_note(note, "other/log", public)
    with pytest.raises(ProofError, match="found 0"):
        verify_log_note(note, ORIGIN, bytes(32))
    forged = parse_note(note.raw.replace(b"\n300\n", b"\n299\n"))
    with pytest.raises(ProofError, match="does not verify"):
        verify_log_note(forged, ORIGIN, public)


def test_the_key_is_the_one_that_c2sp_tools_take() -> None:
    # The example of c2sp.org/signed-note.
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    public_key = base64.b64decode(vkey.rpartition("+")[2])[1:]
    assert log_key("example.com/foo", public_key).vkey == vkey


# --- proofs as text -------------------------------------------------------------------------------


def a_proof(index: int = 73, size: int = 300) -> LogProof:
    tree = TiledTree(grown(size).read, size)
    return LogProof(
        index=index,
        hashes=tuple(inclusion_proof(tree, index, size)),
        checkpoint=signed(tree.root(), size),
    )


def test_a_proof_is_written_as_the_specification_says() -> None:
    proof = a_proof()
    lines = proof.text().split(b"\n")
    assert lines[:2] == [b"c2sp.org/tlog-proof@v1", b"index 73"]
    assert lines[2 + len(proof.hashes)] == b""
    assert proof.text().endswith(b"\n\n" + proof.checkpoint.raw)
    assert parse_log_proof(proof.text()) == proof
    alone = a_proof(0, 1)
    assert parse_log_proof(alone.text()) == alone
    assert alone.hashes == ()


def test_a_proof_shows_its_entry_and_no_other() -> None:
    proof, entries = a_proof(), some_entries(300)
    proof.verify(entry_hash(entries[73]))
    for other in (72, 74, 0, 299):
        with pytest.raises(ProofError):
            proof.verify(entry_hash(entries[other]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tlog-proof@v1", b"tlog-proof@v2"),
        (b"\nindex 73\n", b"\nindex 073\n"),
        (b"\nindex 73\n", b"\nindex +73\n"),
        (b"\nindex 73\n", b"\nindex 73 \n"),
        (b"\nindex 73\n", b"\nindex \xd9\xa7\xd9\xa3\n"),
        (b"\nindex 73\n", b"\nindex 9999999999999999999\n"),
        (b"\nindex 73\n", b"\n"),
        (b"\nindex 73\n", b"\nextra AAAA\nindex 73\n"),
        (b"\nindex 73\n", b"\r\nindex 73\r\n"),
        (b"=\n\n", b"=\n"),
        (b"=\n\n", b"=\n\n\n"),
        (b"=\n", b"\n"),
        (b"=\n", b"==\n"),
        (b"=\n", b"AAA=\n"),
    ],
)
def test_a_proof_has_one_encoding(old: bytes, new: bytes) -> None:
    text = a_proof().text()
    assert old in text
    with pytest.raises(FormatError):
        parse_log_proof(text.replace(old, new, 1))


@pytest.mark.parametrize("tail", [b"\n", b"x", b"\xe2\x80\x94 a AAAA\n"])
def test_nothing_may_stand_behind_a_proof(tail: bytes) -> None:
    with pytest.raises(FormatError):
        parse_log_proof(a_proof().text() + tail)


def test_a_proof_has_a_limit() -> None:
    with pytest.raises(FormatError, match="at most"):
        parse_log_proof(b"c2sp.org/tlog-proof@v1\n" + b"A" * 300_000)


def test_the_growth_of_a_log_can_be_proved_from_its_tiles() -> None:
    tree = TiledTree(grown(300).read, 300)
    proof = consistency_proof(tree, 111, 300)
    verify_consistency(
        first=111,
        second=300,
        first_root=tree.root(111),
        second_root=tree.root(),
        proof=proof,
        hasher=SHA256,
    )


def test_a_tree_of_tiles_is_only_read() -> None:
    tree = TiledTree(grown(3).read, 3)
    with pytest.raises(TypeError, match="read-only"):
        tree.append(bytes(32))
    with pytest.raises(ValueError, match="expected a part"):
        tree.subtree(0, 4)
