"""True documents of every kind, for the fuzzer to wound."""

from __future__ import annotations

import hashlib

import cv2
import msgspec
import numpy as np
import pyrage
from films import encoded
from handmade_pieces import piece
from recording_files import FilesReader
from recordings import device_key, whole

from recorder_worker.adapters.age import AgeRecipients
from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import BundleText
from recorder_worker.core.audit_trail.lines import Head, body_fields
from recorder_worker.core.cipher.declared import Encryption
from recorder_worker.core.cipher.names import CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.commands import StartSession
from recorder_worker.core.evidence.clip_file import ClipFile, encode_clip
from recorder_worker.core.evidence.proof_file import encode_proof
from recorder_worker.core.evidence.proof_making import prove_consistency, prove_leaf
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.pictures import Pointer
from recorder_worker.core.merkle.partial_tree import hidden_subtrees, ranges_of
from recorder_worker.core.merkle.proofs import inclusion_proof
from recorder_worker.core.merkle.tree import BLAKE3, SHA256, Tree
from recorder_worker.core.model import RecordingPolicy, SourceClock, SourceFacts
from recorder_worker.core.receipts.chain import ChainEntry, sign_entry
from recorder_worker.core.session_log.entries import EntryKind, LogEntry, encode_entry
from recorder_worker.core.session_log.log_proof import LogProof
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    TreeHead,
    parse_note,
    sign_checkpoint,
)
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.stages.capture.session.manifest import Manifest

RECORDING = whole()
FILES = RECORDING.sealed()
READER = FilesReader(FILES, piece_size=1 << 20)
CIPHER = SessionCipher(RECORDING.session_id, bytes(range(32)))
PLACE = Place(PayloadKind.CHUNK, 3)
WRAPPED = b"what was wrapped, 32 bytes of it"
IDENTITY = pyrage.x25519.Identity.generate()
WRAP = AgeRecipients([str(IDENTITY.to_public())], "fuzz")
SIZES = sorted(RECORDING.notes)


def _declaring() -> bytes:
    said = Encryption(
        cipher=CIPHER_SEALED,
        key_id=CIPHER.key_id,
        recipients=WRAP.recipients,
        wrapped_key=WRAP.wrap(WRAPPED),
    )
    return msgspec.json.encode({"session_id": RECORDING.session_id, "encryption": said})


def _clip() -> bytes:
    size = len(RECORDING.records)
    ranges = ranges_of([0, 3, 4, 5, size - 1])
    hashes = hidden_subtrees(size, ranges, map(BLAKE3.leaf, RECORDING.records))
    return encode_clip(ClipFile(size=size, ranges=ranges, hashes=tuple(hashes)))


def _entries() -> list[bytes]:
    return [
        encode_entry(
            LogEntry(
                kind=kind,
                session_id=RECORDING.session_id,
                counter=1,
                note_sha256=hashlib.sha256(RECORDING.notes[SIZES[at]]).digest(),
            )
        )
        for kind, at in ((EntryKind.OPEN, 0), (EntryKind.SEAL, -1))
    ]


def _log_proof() -> bytes:
    tree = Tree([SHA256.leaf(entry) for entry in _entries() * 3], SHA256)
    private = device_key()
    origin = f"{RECORDING.recorder}/log"
    key = NoteKey(
        name=origin,
        public_key=private.public_key().public_bytes_raw(),
        type=SignatureType.ED25519,
    )
    note = sign_checkpoint(
        TreeHead(origin=origin, tree_size=tree.size, root_hash=tree.root()),
        signers=[NoteSigner(key=key, sign=private.sign)],
        signed_at_s=0,
    )
    hashes = tuple(inclusion_proof(tree, 3, tree.size))
    return LogProof(index=3, hashes=hashes, checkpoint=parse_note(note)).text()


def _manifest() -> bytes:
    source = PatternSource(width=64, height=48, frames=3)
    return msgspec.json.encode(
        Manifest(
            session_id=RECORDING.session_id,
            command_id="one",
            command=StartSession(session_id=RECORDING.session_id, source=source),
            source=SourceFacts(
                kind="pattern",
                uri="pattern:desktop",
                description="",
                width=64,
                height=48,
                clock=SourceClock.MEDIA,
                frame_rate=10.0,
            ),
            policy=RecordingPolicy(
                chunk_duration_ns=1,
                chunk_max_stored_size=1,
                chunk_max_plain_size=1,
                zstd_level=1,
                zstd_window_log=10,
            ),
            node="node",
            software="software",
            accepted_wall_ns=1,
        )
    )


CHAIN_RECEIPT = sign_entry(
    ChainEntry(
        name="notary",
        public_key=device_key().public_key().public_bytes_raw(),
        origin="lab7/log",
        tree_size=9,
        root_hash=b"\7" * 32,
        note_sha256="ab" * 32,
        time_s=1_800_000_000,
        number=1,
    ),
    device_key().sign,
)


def _bundle() -> bytes:
    """Of each kind of line one, and of messages both forms."""
    text = BundleText(
        Head(
            v=1,
            recorder="recorder",
            first=1,
            previous="0" * 64,
            made_ns=1,
            device_key="ab" * 32,
        )
    )
    for body in (b'{"type":"recording_viewed", "x":[1]}', b"not JSON"):
        text.event(
            subject="audit.recording.viewed",
            sequence=text.count + 1,
            stored_ns=1,
            message_id="m",
            **body_fields(body),
        )
    text.gap(reason="stream_cut", missing=0, from_ns=0, to_ns=1, resume=0)
    text.aged(through=1, digest="0" * 64, max_age_s=3600)
    return text.data


POLICY = f"""
keys:
  - name: the lab
    public_key: {"ab" * 32}
rules:
  require_log_proof: true
  max_gap_s: 3.5
""".encode()


def _pictures() -> bytes:
    """Frames of a photo, of one that changed, and of nothing but a pointer that comes and moves."""
    y, x = np.mgrid[:66, :70]
    photo = (x * 3 + y * 2)[..., None].repeat(3, axis=2).astype(np.uint8)
    other = photo.copy()
    other[65, 69] = 1
    arrow = Pointer(x=1, y=2, hot_x=0, hot_y=1, shape=np.full((2, 3, 4), 5, np.uint8))
    moved = msgspec.structs.replace(arrow, x=-1)
    encoder = FrameEncoder()
    return b"".join(
        encoder.encode(
            picture, unit=unit, t_ns=unit, wall_ns=unit, keyframe=False, pointer=pointer
        ).data
        for unit, (picture, pointer) in enumerate(
            [(photo, None), (other, arrow), (other, moved), (other, None)]
        )
    )


def _picture_files() -> list[bytes]:
    noise = np.random.default_rng(7).integers(0, 256, (9, 12, 3), np.uint8)
    kinds = (".png", ".jpg", ".webp", ".bmp")
    return [cv2.imencode(kind, noise)[1].tobytes() for kind in kinds]


_QUIET = {"x265-params": "log-level=none"}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "record": tuple(RECORDING.records),
    "records": (FILES[keys.RECORDS],),
    "note": tuple(RECORDING.notes.values()),
    "notes": (FILES[keys.CHECKPOINTS],),
    "clip": (_clip(),),
    "proof": (
        encode_proof(prove_leaf(READER, 1)),
        encode_proof(prove_consistency(READER, SIZES[1], SIZES[-1])),
    ),
    "log entry": tuple(_entries()),
    "log proof": (_log_proof(),),
    "anchor receipt": (CHAIN_RECEIPT,),
    "audit bundle": (_bundle(),),
    "audit diagnosis": (_bundle(),),
    "frames": tuple(
        data for name, data in FILES.items() if name.startswith(keys.CHUNKS) and "raw" in name
    ),
    "pictures": (_pictures(),),
    "picture": tuple(_picture_files()),
    "packets": (piece(7, [0, 10]) + piece(9, [20], keyframe=False), piece(0, [0])),
    "published packet": tuple(encoded("libx264")[:2] + encoded("libx265", **_QUIET)[:2]),
    "manifest": (_manifest(),),
    "encryption": (_manifest(), _declaring()),
    "wrapped key": (WRAP.wrap(WRAPPED).encode(),),
    "encrypted payload": tuple(
        b"".join(CIPHER.seal(PLACE, bytes(size))) for size in (0, 1, 300, 65_537)
    ),
    "policy": (POLICY,),
    "start": (b'{"source":{"kind":"pattern","width":64},"fps":10,"owner":"me"}',),
}
