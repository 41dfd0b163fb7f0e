"""The recordings of `tests/vectors/recordings` that somebody tampered with.

Each function is an attack. *Outsider*: has the files and no key. *Insider*: has the keys of the
epochs and signs whatever it is; only the rules of docs/format.md hold.
"""

from __future__ import annotations

from collections.abc import Callable

from reference_format import ED25519, ML_DSA_44, h, root
from reference_good import (
    OTHER_SESSION,
    Make,
    base,
    epochs,
    vector,
)
from reference_signing import Key, SignatureStore
from reference_writer import (
    FRAME_NS,
    Files,
    Writer,
    compact,
    frame,
    pack,
)

DELTA, ZST = "chunks/0000000002.raw", "chunks/0000000005.zst"
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def tampered(verdict: str = "TAMPERED", opened: str = "") -> Callable[[Make], Make]:
    return vector("recordings/tampered", verdict, opened)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_notes(files: Files, notes: dict[int, bytes]) -> Files:
    """Other notes in a sealed folder."""
    ordered = [notes[size] for size in sorted(notes)]
    return {**files, "checkpoints": b"".join(ordered), "seal": ordered[-1]}


def without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def renumbered(writer: Writer, order: list[int]) -> Writer:
    """An insider puts records in another order and gives them the index of their place."""
    chosen = [writer.records[index] for index in order]
    writer.records = [{**record, "index": place} for place, record in enumerate(chosen)]
    return writer


# --- files, by an outsider -----------------------------------------------------------------------


@tampered()
def chunk_byte_flipped(store: SignatureStore) -> Files:
    """One bit of a chunk's file is another."""
    files = base(store).sealed()
    return {**files, ZST: flip(files[ZST], 20)}


@tampered()
def chunk_missing(store: SignatureStore) -> Files:
    """The file of a chunk was deleted."""
    return without(base(store).sealed(), ZST)


@tampered()
def chunks_swapped(store: SignatureStore) -> Files:
    """The files of two chunks were exchanged."""
    files = Writer(store).open().chunk().chunk().seal().sealed()
    one, two = "chunks/0000000001.raw", DELTA
    return {**files, one: files[two], two: files[one]}


@tampered()
def identical_chunks_swapped(store: SignatureStore) -> Files:
    """Two chunks that show the same picture were exchanged, files and records."""
    writer = Writer(store).open().chunk().chunk().seal()
    files, raw = writer.sealed(), writer.raw()
    one, two = "chunks/0000000001.raw", DELTA
    files = {**files, one: files[two], two: files[one]}
    return {**files, **compact([raw[0], raw[2], raw[1], raw[3]], list(writer.notes().values()))}


@tampered()
def record_byte_flipped(store: SignatureStore) -> Files:
    """One bit of a record is another: a chunk seems to have begun later."""
    writer = base(store)
    raw = writer.raw()
    raw[1] = flip(raw[1], 46 + 4 + 8 + 8 + 7)
    return {**writer.attached, **compact(raw, list(writer.notes().values()))}


@tampered()
def manifest_changed(store: SignatureStore) -> Files:
    """`session.json` says that something else was asked for."""
    return {**base(store).sealed(), "session.json": b'{"session_id": "another"}\n'}


@tampered()
def mark_rewritten(store: SignatureStore) -> Files:
    """The body of a mark is another of the same length."""
    return {**base(store).sealed(), "marks/0000000003.json": b'{"text":"hallo"}'}


@tampered()
def last_leaf_duplicated(store: SignatureStore) -> Files:
    """The last record stands twice (CVE-2012-2459): trees that double a lone node miss it."""
    writer = base(store)
    raw = writer.raw()
    return {**writer.attached, **compact([*raw, raw[-1]], list(writer.notes().values()))}


@tampered()
def node_as_leaf(store: SignatureStore) -> Files:
    """Two records became one that begins 0x01 and holds their hashes: without prefixes the root is
    the same.
    """
    writer = base(store)
    raw = writer.raw()
    node = b"\x01" + h(b"\x00" + raw[2]) + h(b"\x00" + raw[3])
    joined = [*raw[:2], node, *raw[4:]]
    return {**writer.attached, **compact(joined, list(writer.notes().values()))}


@tampered()
def empty_tree(store: SignatureStore) -> Files:
    """No records, and a signed checkpoint of size 0."""
    writer = Writer(store).open()
    return {**writer.attached, **compact([], [writer.note(0, root([]))])}


@tampered()
def size_zero_signed(store: SignatureStore) -> Files:
    """A whole recording, in front of whose checkpoints stands a signed one of size 0."""
    writer = base(store)
    return with_notes(writer.sealed(), {0: writer.note(0, root([])), **writer.notes()})


@tampered("TRUNCATED")
def truncated(store: SignatureStore) -> Files:
    """The end was cut off, and all that was signed about it: only a checkpoint that was seen
    elsewhere can show more.
    """
    files = base(store).journal()
    gone = [f"journal/{kind}/{n:010d}" for kind, n in (("leaves", 5), ("leaves", 6))]
    gone += [f"journal/checkpoints/{n:010d}" for n in (6, 7)]
    return without(files, ZST, *gone)


@tampered()
def signed_records_missing(store: SignatureStore) -> Files:
    """The last records were cut off; a checkpoint that covers them was left."""
    files = base(store).journal()
    return without(files, "journal/leaves/0000000006")


@tampered()
def seal_missing(store: SignatureStore) -> Files:
    """A sealed folder without its seal."""
    return without(base(store).sealed(), "seal")


@tampered()
def seal_of_an_older_size(store: SignatureStore) -> Files:
    """The file `seal` holds another checkpoint of the same session."""
    writer = base(store)
    return {**writer.sealed(), "seal": writer.notes()[4]}


@tampered()
def journal_differs(store: SignatureStore) -> Files:
    """A record is left in the journal, and is not the one of its place."""
    writer = base(store)
    name = "journal/leaves/0000000001"
    return {**writer.sealed(), name: flip(writer.journal()[name], 60)}


@tampered()
def journal_hole(store: SignatureStore) -> Files:
    """A record in the middle of a journal was deleted."""
    return without(Writer(store).open().beat().beat().journal(), "journal/leaves/0000000001")


# --- two histories -------------------------------------------------------------------------------


@tampered("EQUIVOCATION")
def truncated_and_continued(store: SignatureStore) -> Files:
    """An insider cut off the end and recorded on; a checkpoint of the first history is left."""
    first = Writer(store).open().chunk().beat().beat()
    second = Writer(store).open().chunk().chunk(1).chunk(1).seal()
    return with_notes(second.sealed(), {**second.notes(), 4: first.note(4)})


@tampered("EQUIVOCATION")
def two_roots_for_one_size(store: SignatureStore) -> Files:
    """The journal still has a signed checkpoint with another root."""
    writer = base(store)
    return {**writer.sealed(), "journal/checkpoints/0000000004": writer.note(4, bytes(32))}


@tampered("EQUIVOCATION")
def two_roots_for_the_last_size(store: SignatureStore) -> Files:
    """The seal is signed and has another root than the last checkpoint."""
    writer = base(store)
    return {**writer.sealed(), "seal": writer.note(7, bytes(32))}


# --- records, by an insider ----------------------------------------------------------------------


@tampered()
def record_dropped_and_resigned_by_insider(store: SignatureStore) -> Files:
    """A chunk was left out and all else signed anew: its units are a hole."""
    writer = renumbered(Writer(store).open().chunk().chunk().chunk().seal(), [0, 1, 3, 4])
    writer.attached[DELTA] = writer.attached.pop("chunks/0000000003.raw")
    writer.edit(2, keyframe_index=2)
    return writer.edit(3, totals=writer.totals()).sealed()


@tampered()
def overlapping_ranges(store: SignatureStore) -> Files:
    """Two chunks cover the same unit."""
    writer = Writer(store).open().chunk()
    writer.unit, writer.t_ns = 1, FRAME_NS
    return writer.chunk().seal().sealed()


@tampered()
def end_not_covered(store: SignatureStore) -> Files:
    """The session ended later than chunks and gaps reach."""
    return Writer(store).open().chunk().seal(t_ns=3 * FRAME_NS).sealed()


@tampered()
def chunk_without_units(store: SignatureStore) -> Files:
    """Time that nothing was recorded in is called a chunk."""
    writer = Writer(store).open().chunk().chunk(0, plain=b"")
    return (
        writer.edit_span(2, t1_ns=3 * FRAME_NS)
        .seal(t_ns=3 * FRAME_NS, streams=[[0, 2, 3 * FRAME_NS]])
        .sealed()
    )


@tampered()
def chunk_from_another_session(store: SignatureStore) -> Files:
    """Record and file of a chunk are those of another session of the same recorder, signed."""
    other = Writer(store, OTHER_SESSION).open().chunk()
    writer = Writer(store).open().chunk().seal()
    writer.records[1] = other.records[1]
    return writer.sealed()


@tampered()
def index_of_another_place(store: SignatureStore) -> Files:
    """A record says that it is another one."""
    return base(store).edit(4, index=3).sealed()


@tampered()
def two_seals(store: SignatureStore) -> Files:
    """A SEAL, and one more."""
    return Writer(store).open().chunk().seal().seal().sealed()


@tampered()
def leaf_after_seal(store: SignatureStore) -> Files:
    """A beat behind the SEAL."""
    return Writer(store).open().chunk().seal().beat().sealed()


@tampered()
def two_opens(store: SignatureStore) -> Files:
    """A second OPEN."""
    return Writer(store).open().open().seal().sealed()


@tampered()
def false_totals(store: SignatureStore) -> Files:
    """The SEAL counts a gap that is not there."""
    writer = base(store)
    totals = writer.totals()
    return writer.edit(6, totals=[totals[0], 1, *totals[2:]]).sealed()


@tampered()
def bytes_behind_a_record(store: SignatureStore) -> Files:
    """A record has a byte more than its fields."""
    writer = base(store)
    raw = writer.raw()
    raw[4] += b"\x00"
    return writer.signed_as_sealed(raw)


@tampered()
def keyframe_of_another_chunk(store: SignatureStore) -> Files:
    """A chunk of deltas is to be decoded from an older chunk than the newest with a keyframe."""
    writer = Writer(store).open().chunk().chunk().chunk(1, keyframe=False)
    return writer.edit(3, keyframe_index=1).seal().sealed()


@tampered()
def frames_stepping_back(store: SignatureStore) -> Files:
    """The second frame of a chunk is older than the first."""
    plain = frame(0, FRAME_NS, keyframe=True) + frame(1, 0, keyframe=False)
    return Writer(store).open().chunk(plain=plain).seal().sealed()


@tampered()
def frame_left_out(store: SignatureStore) -> Files:
    """A chunk holds one frame less than its record says."""
    plain = frame(0, 0, keyframe=True)
    return Writer(store).open().chunk(plain=plain).seal().sealed()


@tampered()
def clock_stepping_back(store: SignatureStore) -> Files:
    """The session time of a beat is before that of the one before it."""
    writer = Writer(store).open()
    return writer.beat(t_ns=2 * 10**9).beat(t_ns=10**9).seal(t_ns=3 * 10**9).sealed()


@tampered()
def beat_behind_a_chunk(store: SignatureStore) -> Files:
    """A beat says that less was captured than there are chunks of."""
    return Writer(store).open().chunk().beat(unit=1).seal().sealed()


@tampered()
def seal_before_a_beat(store: SignatureStore) -> Files:
    """The session ended before its last sign of life."""
    writer = Writer(store).open().chunk().beat(t_ns=5 * FRAME_NS)
    return writer.seal().sealed()


@tampered()
def units_of_a_beat_missing(store: SignatureStore) -> Files:
    """A beat says that 4 units are durable; chunks and gaps end at 2, at the same time."""
    return Writer(store).open().chunk().beat(unit=4).seal().sealed()


# --- keys ----------------------------------------------------------------------------------------


@tampered()
def open_signature_forged(store: SignatureStore) -> Files:
    """The attacker's own keys for epoch 0, under the device signature of the real OPEN."""
    writer = base(store)
    real = writer.raw()[0][-64:]
    attacker = Key("attacker", ED25519, store)
    writer.edit(0, epoch_keys=[(ED25519, attacker.public)])
    writer.signers = {key: [attacker] for key in range(1, 8)}
    opened = pack({**writer.records[0], "device_signatures": [real]})
    return writer.signed_as_sealed([opened, *writer.raw()[1:]])


@tampered()
def open_not_signed(store: SignatureStore) -> Files:
    """OPEN has no device signature at all."""
    writer = base(store)
    opened = pack({**writer.records[0], "device_signatures": []})
    return writer.signed_as_sealed([opened, *writer.raw()[1:]])


@tampered()
def old_range_signed_by_newer_epoch(store: SignatureStore) -> Files:
    """A checkpoint of epoch 0 is signed by the key of epoch 1, which the attacker has."""
    writer = epochs(store)
    writer.signers[2] = writer.keys(1)
    return writer.sealed()


@tampered()
def new_range_signed_by_older_epoch(store: SignatureStore) -> Files:
    """The last checkpoint is signed by the key of epoch 0, which should be erased."""
    writer = epochs(store)
    writer.signers[9] = writer.keys(0)
    return writer.sealed()


@tampered()
def closing_signed_by_new_epoch(store: SignatureStore) -> Files:
    """The checkpoint that closes epoch 0 is signed by the key of epoch 1."""
    writer = epochs(store)
    writer.signers[3] = writer.keys(1)
    return writer.sealed()


@tampered()
def epoch_skipped(store: SignatureStore) -> Files:
    """Epoch 2 follows epoch 0."""
    return Writer(store).open().chunk().epoch(number=2).beat().seal().sealed()


@tampered()
def epoch_not_closed(store: SignatureStore) -> Files:
    """The checkpoint whose last record is EPOCH 1 was taken away."""
    writer = epochs(store)
    notes = writer.notes()
    del notes[3]
    return with_notes(writer.sealed(), notes)


@tampered()
def epoch_taken_over(store: SignatureStore) -> Files:
    """The attacker has the key of epoch 1 and puts it in an EPOCH that epoch 0 did not close."""
    writer = epochs(store)
    attacker = Key("attacker", ED25519, store)
    writer.edit(2, keys=[(ED25519, attacker.public)])
    writer.signers = {size: [attacker] for size in (3, 4, 5, 6)}
    return writer.sealed()


@tampered()
def ml_dsa_line_missing(store: SignatureStore) -> Files:
    """The epoch has an ML-DSA-44 key, and one checkpoint is signed by Ed25519 alone."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99).open().seal()
    writer.signers[2] = writer.keys(0)[:1]
    return writer.sealed()


@tampered()
def ed25519_line_missing(store: SignatureStore) -> Files:
    """As before, and it is the Ed25519 line that is not there."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99).open().seal()
    writer.signers[2] = writer.keys(0)[1:]
    return writer.sealed()


@tampered()
def ml_dsa_over_another_root(store: SignatureStore) -> Files:
    """The ML-DSA-44 line of a checkpoint was made for another root."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99).open().seal()
    notes = writer.notes()
    lines, others = notes[2].split(b"\n"), writer.note(2, bytes(32)).split(b"\n")
    notes[2] = b"\n".join([*lines[:5], others[5], b""])
    return with_notes(writer.sealed(), notes)


@tampered()
def epoch_without_ml_dsa(store: SignatureStore) -> Files:
    """The first epoch has two keys, the next only Ed25519."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99).open().epoch()
    writer.edit(1, keys=writer.key_set(1)[:1]).seal()
    writer.signers[3] = writer.keys(1)[:1]
    return writer.sealed()
