"""The recordings of `tests/vectors/recordings` that nobody tampered with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from reference_format import ED25519, ML_DSA_44
from reference_log import OTS_MAGIC, sha256
from reference_signing import Key, SignatureStore, log_proof, log_signed, signature_line
from reference_writer import FRAME_NS, RECORDER, Files, Writer, new_frame, pack, picture

OTHER_SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000b2"
DEAD_LETTER = 8
Make = Callable[[SignatureStore], Files]


@dataclass(frozen=True)
class Vector:
    name: str
    folder: str
    verdict: str
    what: str
    make: Make
    opened: str = ""  # of an encrypted one: the verdict of somebody with an identity


VECTORS: list[Vector] = []


def vector(folder: str, verdict: str, opened: str = "") -> Callable[[Make], Make]:
    """The name of a vector is that of its function, and its docstring says what it is."""

    def keep(make: Make) -> Make:
        name = make.__name__.strip("_").replace("_", "-")
        VECTORS.append(Vector(name, folder, verdict, (make.__doc__ or "").strip(), make, opened))
        return make

    return keep


def good(verdict: str) -> Callable[[Make], Make]:
    return vector("recordings/good", verdict)


# --- what others are made of ---------------------------------------------------------------------


def base(store: SignatureStore, **how: object) -> Writer:
    """0 OPEN, 1 CHUNK, 2 CHUNK of deltas, 3 MARK, 4 BEAT, 5 CHUNK of zstd, 6 SEAL."""
    writer = Writer(store, **how).open()  # type: ignore[arg-type]
    writer.chunk(2).chunk(1, keyframe=False).mark().beat()
    return writer.chunk(1, colour=200).seal()


def epochs(store: SignatureStore) -> Writer:
    """EPOCHs at 2 and 5, chunks at 1, 3, 6 and 7, a BEAT at 4, SEAL at 8."""
    writer = Writer(store, every=1).open().chunk(2).epoch().chunk(1, keyframe=False).beat()
    return writer.epoch().chunk(1, colour=100).chunk(1, keyframe=False).seal()


def long(store: SignatureStore) -> Writer:
    """EPOCHs at 5 and 10, chunks everywhere else, SEAL at 16."""
    writer = Writer(store).open()
    for index in range(1, 16):
        if index in {5, 10}:
            writer.epoch()
        else:
            writer.chunk(1, keyframe=index % 2 == 1)
    return writer.seal()


def logged(store: SignatureStore, **opened: object) -> tuple[Writer, list[bytes]]:
    """The second session of a recorder, and all entries of its log."""
    first = Writer(store, OTHER_SESSION).open().seal()
    entries = first.entries()
    device = Key("device", ED25519, store)
    fields = {
        "previous_seal": entries[-1][-32:],
        "beacon": log_signed(entries, RECORDER, device),
        **opened,
    }
    writer = Writer(store, counter=2).open(**fields).chunk(1).seal()
    return writer, [*entries, *writer.entries()]


def proofs(store: SignatureStore, entries: list[bytes], first: int = 2, last: int = 3) -> Files:
    device = Key("device", ED25519, store)
    return {
        "proofs/open": log_proof(entries[:3], first, RECORDER, device),
        "proofs/seal": log_proof(entries, last, RECORDER, device),
    }


def log_checkpoint(store: SignatureStore, entries: list[bytes]) -> bytes:
    return log_signed(entries, RECORDER, Key("device", ED25519, store))


def open_timestamp(data: bytes) -> bytes:
    """A detached OpenTimestamps proof that waits for a calendar."""
    uri = b"https://calendar.example"
    payload = bytes([len(uri)]) + uri
    attestation = b"\x00" + bytes.fromhex("83dfe30d2ef90c8e") + bytes([len(payload)]) + payload
    return OTS_MAGIC + sha256(data) + attestation


# --- the recordings ------------------------------------------------------------------------------


@good("COMPLETE")
def complete(store: SignatureStore) -> Files:
    """Chunks of both codecs, deltas, a mark, a beat and a seal."""
    return base(store).sealed()


@good("COMPLETE_WITH_GAPS")
def complete_with_gap(store: SignatureStore) -> Files:
    """A pause in the middle, and time without a unit at the end."""
    writer = Writer(store).open().chunk().gap().chunk(1)
    writer.gap(0).edit_span(4, t1_ns=writer.t_ns + 5)
    writer.t_ns += 5
    return writer.seal().sealed()


@good("COMPLETE")
def pointer(store: SignatureStore) -> Files:
    """Frames of encoding 2, with a pointer that comes, moves, changes, is hidden and goes."""
    writer = Writer(store).open()
    place, moved = struct.pack(">ii", 3, -1), struct.pack(">ii", -2, 5)
    shape = struct.pack(">HHHH", 1, 0, 2, 1) + bytes.fromhex("00008080 ffffffff")
    hidden = bytes(8)
    tile = b"\x80\x00" + picture(40)
    payloads = [
        b"\x07" + place + shape + tile,
        b"\x04" + moved,
        b"\x00",
        b"\x07" + place + hidden + b"\x80\x00" + picture(41),
        b"\x02",
    ]
    frames = [
        new_frame(nth, nth * FRAME_NS, keyframe=nth == 0, payload=payload)
        for nth, payload in enumerate(payloads)
    ]
    writer.chunk(2, plain=b"".join(frames[:2]), colour=40)
    return writer.chunk(3, keyframe=False, plain=b"".join(frames[2:])).seal().sealed()


@good("COMPLETE")
def opened_and_sealed(store: SignatureStore) -> Files:
    """A session in which nothing was recorded."""
    return Writer(store).open().seal().sealed()


@good("COMPLETE")
def three_epochs(store: SignatureStore) -> Files:
    """The keys change twice."""
    return epochs(store).sealed()


@good("COMPLETE")
def ml_dsa_44(store: SignatureStore) -> Files:
    """Every signature is there twice, by Ed25519 and by ML-DSA-44; the keys change once."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99)
    return writer.open().chunk(1).epoch().seal().sealed()


@good("COMPLETE")
def idle_with_beats(store: SignatureStore) -> Files:
    """Nothing happens but that the recorder is alive, through a change of keys."""
    writer = Writer(store).open()
    for _ in range(2):
        writer.t_ns += 4 * 10**9
        writer.beat()
    writer.epoch()
    writer.t_ns += 4 * 10**9
    return writer.beat().seal().sealed()


@good("COMPLETE")
def beats_ahead_of_chunks(store: SignatureStore) -> Files:
    """A beat and an epoch speak of units that are durable and not in a chunk yet."""
    writer = Writer(store).open().chunk(1)
    writer.beat(unit=3, t_ns=3 * FRAME_NS).epoch(t_ns=3 * FRAME_NS)
    return writer.chunk(3).seal().sealed()


@good("COMPLETE_WITH_GAPS")
def dead_lettered(store: SignatureStore) -> Files:
    """A chunk could not be stored; the one behind it names it and cannot be played."""
    writer = Writer(store).open().chunk(1).gap(1, DEAD_LETTER)
    writer.keyframe_index = 2
    return writer.chunk(1, keyframe=False).chunk(1).seal().sealed()


@good("COMPLETE")
def two_streams(store: SignatureStore) -> Files:
    """A second stream, with units of its own."""
    writer = Writer(store).open().chunk(1)
    writer.unit = writer.t_ns = 0
    writer.chunk(1).edit_span(2, stream=1)
    return writer.seal(streams=[[0, 1, FRAME_NS], [1, 1, FRAME_NS]]).sealed()


@good("COMPLETE")
def witnessed(store: SignatureStore) -> Files:
    """The last checkpoint has a line of a key that need not sign."""
    writer = Writer(store).open().chunk(1).seal()
    files, notes = writer.sealed(), writer.notes()
    notes[3] += signature_line("witness.example/w1", bytes(76))
    return {**files, "checkpoints": b"".join(notes.values()), "seal": notes[3]}


@good("COMPLETE")
def stopped_while_sealing(store: SignatureStore) -> Files:
    """Files of both forms, as a recorder leaves them that was stopped between the two."""
    writer = base(store)
    return {**writer.journal(), "records": writer.sealed()["records"]}


@good("TRUNCATED")
def unsealed(store: SignatureStore) -> Files:
    """A journal; its last record is behind the last checkpoint."""
    writer = Writer(store).open().chunk().beat().chunk(1)
    files = writer.journal()
    del files["journal/checkpoints/0000000004"]
    return files


@good("TRUNCATED")
def unsealed_at_an_epoch(store: SignatureStore) -> Files:
    """A journal that ends with the checkpoint that closes an epoch: the old keys signed it."""
    return Writer(store).open().chunk().epoch().journal()


@good("COMPLETE")
def with_log_proofs(store: SignatureStore) -> Files:
    """The second session of a recorder, with proofs that its begin and seal are in the log."""
    writer, entries = logged(store)
    return {**writer.sealed(), **proofs(store, entries)}


@good("COMPLETE")
def beacon_of_an_older_key(store: SignatureStore) -> Files:
    """The device got another key: the beacon is signed by the one before."""
    before = Writer(store, OTHER_SESSION, device="older device").open().seal().entries()
    beacon = log_signed(before, RECORDER, Key("older device", ED25519, store))
    return logged(store, beacon=beacon)[0].sealed()


@good("COMPLETE")
def with_receipts(store: SignatureStore) -> Files:
    """Time on both sides: a time-stamp in OPEN, and receipts over the log's checkpoints."""
    before = Writer(store, OTHER_SESSION).open().seal().entries()
    stamped = log_checkpoint(store, before)
    writer, entries = logged(store, timestamped=stamped, timestamp=store.timestamp(stamped))
    return {
        **writer.sealed(),
        **proofs(store, entries),
        f"receipts/{3:020d}.ots": open_timestamp(log_checkpoint(store, entries[:3])),
        f"receipts/{4:020d}.tsr": store.timestamp(log_checkpoint(store, entries)),
    }


@good("COMPLETE")
def receipt_without_proof(store: SignatureStore) -> Files:
    """A receipt over a checkpoint that is not here: it shows nothing, and nothing is wrong."""
    writer, entries = logged(store)
    receipt = open_timestamp(log_checkpoint(store, entries))
    return {**writer.sealed(), f"receipts/{4:020d}.ots": receipt}


@good("CLIP")
def clip(store: SignatureStore) -> Files:
    """Two chunks of a sealed session, with its epochs."""
    return long(store).clip(7, 9)


@good("CLIP")
def clip_from_the_beginning(store: SignatureStore) -> Files:
    """The range follows OPEN."""
    return long(store).clip(1, 3)


@good("CLIP")
def clip_to_the_end(store: SignatureStore) -> Files:
    """The range ends at the SEAL."""
    return long(store).clip(13, 16)


@good("CLIP")
def clip_of_unsealed(store: SignatureStore) -> Files:
    """The session was being recorded; the last record is an EPOCH, which the old keys signed."""
    writer = Writer(store).open().chunk(1).chunk(1).epoch().chunk(1).chunk(1).epoch()
    return writer.clip(4, 5)


@good("CLIP")
def clip_ending_with_a_chunk(store: SignatureStore) -> Files:
    """The session was being recorded; its last record is a chunk of deltas outside the range."""
    writer = Writer(store).open().chunk(1).chunk(1).chunk(1).chunk(1, keyframe=False)
    return writer.clip(1, 2)


@good("CLIP")
def clip_with_log_proofs(store: SignatureStore) -> Files:
    """A clip of a session that is in the log."""
    writer, entries = logged(store)
    return {**writer.clip(1, 2), **proofs(store, entries)}


@vector("recordings/unsupported", "UNSUPPORTED")
def unknown_version(store: SignatureStore) -> Files:
    """Records of version 2, signed."""
    writer = base(store)
    device = writer.device
    framed = [pack(r, device if not r["index"] else (), version=2) for r in writer.records]
    return writer.signed_as_sealed(framed)


@vector("recordings/unsupported", "UNSUPPORTED")
def unknown_type(store: SignatureStore) -> Files:
    """A record of type 8, signed."""
    writer = base(store)
    framed = writer.raw()
    framed[4] = framed[4][:5] + b"\x08" + framed[4][6:]
    return writer.signed_as_sealed(framed)


@vector("recordings/unsupported", "UNSUPPORTED")
def unknown_cipher(store: SignatureStore) -> Files:
    """A chunk with cipher 9, signed."""
    return base(store).edit(1, cipher=9).sealed()


@vector("recordings/unsupported", "UNSUPPORTED")
def unknown_cipher_behind_an_epoch(store: SignatureStore) -> Files:
    """The chunk behind an EPOCH has cipher 9; which keys sign is known all the same."""
    return epochs(store).edit(6, cipher=9).sealed()
