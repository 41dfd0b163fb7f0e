"""Builds small real recordings: true pictures through the encoder, zstd, ledger, tree and notes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import msgspec
import numpy as np
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from recorder_worker.core import keys
from recorder_worker.core.events import (
    BeatLeaf,
    ChunkStored,
    CompressedEvent,
    EndLeaf,
    EpochLeaf,
    GapLeaf,
    MarkLeaf,
    OpenLeaf,
    SessionNumbered,
)
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.header import FRAMES_FORMAT
from recorder_worker.core.merkle.tree import BLAKE3, Frontier
from recorder_worker.core.model import (
    EndReason,
    GapReason,
    Mask,
    RecordingPolicy,
    SourceClock,
    SourceFacts,
    Span,
)
from recorder_worker.core.records.codec import frame_record
from recorder_worker.core.records.ledger import LedgerContext, LedgerState, apply
from recorder_worker.core.records.salts import Salts
from recorder_worker.core.signing.note import NoteKey, NoteSigner, TreeHead, sign_checkpoint
from recorder_worker.core.signing.origins import session_origin
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey

SESSION = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
OTHER_SESSION = "0192f0c1-2b3c-7d4e-8f50-cba987654321"
RECORDER = "recorder-of-tests"
FRAME_NS = 100_000_000
EPOCH_TYPE = 6
"""The byte that says of a record that it begins an epoch."""
WALL_NS = 1_760_000_000_000_000_000
SIZE = (70, 50)
POLICY = RecordingPolicy(
    chunk_duration_ns=10 * 10**9,
    chunk_max_stored_size=10**6,
    chunk_max_plain_size=10**8,
    zstd_level=3,
    zstd_window_log=23,
)
Compress = Callable[[bytes], bytes]


def device_key(seed: int = 1) -> Ed25519PrivateKey:
    """A key that is the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


class KeysOfTests:
    """`RecordKeys` that are the same in every run, with the private keys at hand."""

    def __init__(self, session_id: str, device: Ed25519PrivateKey) -> None:
        self.session_id = session_id
        self.device = device
        self._salts = Salts(blake3(session_id.encode()).digest())

    def salt(self, index: int) -> bytes:
        return self._salts.salt(index)

    def device_keys(self) -> tuple[PublicKey, ...]:
        return (PublicKey(KeyKind.ED25519, self.device.public_key().public_bytes_raw()),)

    def endorse(self, message: bytes) -> tuple[bytes, ...]:
        return (self.device.sign(message),)

    def epoch_key(self, number: int) -> Ed25519PrivateKey:
        """The private key of an epoch."""
        seed = blake3(f"{self.session_id} epoch {number}".encode()).digest()
        return Ed25519PrivateKey.from_private_bytes(seed)

    def epoch_keys(self, number: int) -> tuple[PublicKey, ...]:
        public = self.epoch_key(number).public_key().public_bytes_raw()
        return (PublicKey(KeyKind.ED25519, public),)


def zstd(plain: bytes) -> bytes:
    """As the recorder compresses: one frame that declares its length."""
    return zstandard.ZstdCompressor(level=3).compress(plain)


def picture(unit: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """Unit n's pixels: black but for a few that depend on n."""
    image = np.zeros((height, width, 3), np.uint8)
    image[unit % height, : 1 + unit % width] = (unit % 255, 17, 255 - unit % 255)
    return image


class Recording:
    """A recording that grows leaf by leaf, and is then written as a folder."""

    def __init__(
        self,
        session_id: str = SESSION,
        *,
        key: Ed25519PrivateKey | None = None,
        recorder: str = RECORDER,
        compress: Compress = zstd,
        checkpoint_every: int = 2,
    ) -> None:
        self.session_id = session_id
        self.private_key = key or device_key()
        self.recorder = recorder
        self.keys = KeysOfTests(session_id, self.private_key)
        self.context = LedgerContext(session_id=session_id, recorder=recorder, keys=self.keys)
        self.state = LedgerState()
        self.events: list[CompressedEvent] = []
        self.records: list[bytes] = []
        self.notes: dict[int, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.numbered = SessionNumbered(session_id=session_id, counter=1)
        self.unit = 0
        self.t_ns = 0
        self.pictures: list[np.ndarray] = []
        self._encoder = FrameEncoder()
        self._compress = compress
        self._every = checkpoint_every
        self._keyframe_index = 0

    @property
    def index(self) -> int:
        """The index of the next leaf."""
        return self.state.size

    def leaf(self, event: CompressedEvent) -> None:
        """Apply a leaf and sign where it is time."""
        record, self.state = apply(self.context, self.state, event)
        self.events.append(event)
        self.records.append(record)
        closes = self.state.epoch.number != self.state.signing.number
        if self.state.sealed or closes or self.state.size % self._every == 0:
            self.sign()

    def sign(self) -> None:
        """Sign the tree as it is."""
        size, root = self.state.size, self.state.frontier.root()
        self.notes[size] = self.note(size, root)

    def epoch_at(self, size: int) -> int:
        """The number of the epoch that signs a tree of this size."""
        return sum(record[5] == EPOCH_TYPE for record in self.records[: max(0, size - 1)])

    def note(self, size: int, root: bytes, *, key: Ed25519PrivateKey | None = None) -> bytes:
        """A checkpoint for any size and root, by the key of its epoch or by another key."""
        private = key or self.keys.epoch_key(self.epoch_at(size))
        note_key = NoteKey(name=self.recorder, public_key=private.public_key().public_bytes_raw())
        return sign_checkpoint(
            TreeHead(
                origin=session_origin(self.recorder, self.session_id),
                tree_size=size,
                root_hash=root,
            ),
            signers=[NoteSigner(key=note_key, sign=private.sign)],
            signed_at_s=WALL_NS // 10**9 + size,
        )

    def open(self, **said: object) -> Recording:
        """OPEN, with a manifest."""
        manifest = json.dumps({"session_id": self.session_id, "owner": "tests"} | said).encode()
        self.files[keys.MANIFEST] = manifest
        self.leaf(
            OpenLeaf(
                session_id=self.session_id,
                index=0,
                captured=0,
                manifest_digest=blake3(manifest).hexdigest(),
                source=SourceFacts(
                    kind="pattern",
                    uri="pattern:tests",
                    description="a test pattern",
                    width=SIZE[0],
                    height=SIZE[1],
                    clock=SourceClock.MEDIA,
                    frame_rate=10.0,
                ),
                profile="screen",
                fps=10.0,
                masks=(Mask(x=1, y=2, width=3, height=4),),
                node="node-1",
                boot_id="boot-1",
                software="session-recorder 0 tests",
                software_blake3=blake3(b"tests").hexdigest(),
                policy=POLICY,
                numbered=self.numbered,
                wall_ns=WALL_NS,
            )
        )
        return self

    def span(self, units: int, duration_ns: int | None = None) -> Span:
        """The next span of stream 0; moves the stream on."""
        begin_ns = self.t_ns
        first = self.unit
        self.unit += units
        self.t_ns += units * FRAME_NS if duration_ns is None else duration_ns
        return Span(
            first_unit=first,
            unit_count=units,
            t0_ns=begin_ns,
            t1_ns=self.t_ns,
            wall0_ns=WALL_NS + begin_ns,
            wall1_ns=WALL_NS + self.t_ns,
        )

    def chunk(
        self,
        units: int = 3,
        *,
        keyframe: bool = True,
        codec: str = "zstd",
        size: tuple[int, int] = SIZE,
        change: Callable[[ChunkStored], ChunkStored] = lambda event: event,
        plain: bytes | None = None,
        stored: bytes | None = None,
    ) -> Recording:
        """A chunk of real frames; `plain`, `stored` and `change` falsify what is recorded."""
        span = self.span(units)
        frames, raw_size = b"", 0
        for nth in range(units):
            image = picture(span.first_unit + nth, *size)
            self.pictures.append(image)
            raw_size += image.nbytes
            frames += self._encoder.encode(
                image,
                unit=span.first_unit + nth,
                t_ns=span.t0_ns + nth * FRAME_NS,
                wall_ns=span.wall0_ns + nth * FRAME_NS,
                keyframe=keyframe and nth == 0,
            ).data
        plain = frames if plain is None else plain
        if stored is None:
            stored = self._compress(plain) if codec == "zstd" else plain
        if keyframe:
            self._keyframe_index = self.index
        event = ChunkStored(
            session_id=self.session_id,
            index=self.index,
            captured=self.index,
            keyframe_index=self._keyframe_index,
            span=span,
            keyframe=keyframe,
            name=keys.chunk(self.index, compressed=codec == "zstd"),
            frames=FRAMES_FORMAT,
            codec=codec,
            cipher="none",
            raw_size=raw_size,
            plain_size=len(plain),
            plain_blake3=blake3(plain).hexdigest(),
            stored_size=len(stored),
            stored_blake3=blake3(stored).hexdigest(),
            stored_sha256=hashlib.sha256(stored).hexdigest(),
        )
        event = change(event)
        self.files[event.name] = stored
        self.leaf(event)
        return self

    def gap(
        self,
        units: int = 2,
        reason: GapReason = GapReason.PAUSE,
        *,
        duration_ns: int | None = None,
        change: Callable[[Span], Span] = lambda span: span,
    ) -> Recording:
        """A gap."""
        self.leaf(
            GapLeaf(
                session_id=self.session_id,
                index=self.index,
                captured=self.index,
                span=change(self.span(units, duration_ns)),
                reason=reason,
                detail="for the test",
                wall_ns=WALL_NS + self.t_ns,
            )
        )
        return self

    def mark(self, body: str = '{"type":"note","text":"hello"}') -> Recording:
        """A mark, with its body beside the records."""
        self.files[keys.mark(self.index)] = body.encode()
        self.leaf(
            MarkLeaf(
                session_id=self.session_id,
                index=self.index,
                captured=self.index,
                t_ns=self.t_ns,
                kind="note",
                by="tester",
                body=body,
                wall_ns=WALL_NS + self.t_ns,
            )
        )
        return self

    def epoch(self) -> Recording:
        """The next key epoch."""
        self.leaf(
            EpochLeaf(
                session_id=self.session_id,
                index=self.index,
                captured=self.index,
                number=self.state.epoch.number + 1,
                t_ns=self.t_ns,
                wall_ns=WALL_NS + self.t_ns,
            )
        )
        return self

    def beat(self, *, t_ns: int | None = None, unit: int | None = None) -> Recording:
        """A sign of life; by default as far as the stream is covered."""
        self.leaf(
            BeatLeaf(
                session_id=self.session_id,
                index=self.index,
                captured=self.index,
                unit=self.unit if unit is None else unit,
                t_ns=self.t_ns if t_ns is None else t_ns,
                wall_ns=WALL_NS + self.t_ns,
            )
        )
        return self

    def seal(self, reason: EndReason = EndReason.STOPPED, *, t_ns: int | None = None) -> Recording:
        """SEAL."""
        self.leaf(
            EndLeaf(
                session_id=self.session_id,
                index=self.index,
                captured=self.index,
                t_ns=self.t_ns if t_ns is None else t_ns,
                reason=reason,
                detail="",
                wall_ns=WALL_NS + self.t_ns,
            )
        )
        return self

    def unsealed(self) -> None:
        """Forget that there was a SEAL, to write what must not follow one."""
        self.state = msgspec.structs.replace(self.state, sealed=False)

    def replace_record(self, index: int, record: bytes) -> None:
        """Put other bytes in the place of a record, and sign the tree that this gives."""
        self.records[index] = record
        self.rebuild()

    def rebuild(self) -> None:
        """Sign every checkpoint again over the records as they are now: an insider's work."""
        frontier, sizes = Frontier(), {*self.notes, len(self.records)}
        self.notes = {}
        for record in self.records:
            frontier = frontier.append(BLAKE3.leaf(record))
            if frontier.size in sizes:
                self.notes[frontier.size] = self.note(frontier.size, frontier.root())

    def sealed(self) -> dict[str, bytes]:
        """The files of a sealed recording."""
        ordered = [self.notes[size] for size in sorted(self.notes)]
        return {
            **self.files,
            keys.RECORDS: b"".join(map(frame_record, self.records)),
            keys.CHECKPOINTS: b"".join(ordered),
            keys.SEAL: ordered[-1],
        }

    def journal(self) -> dict[str, bytes]:
        """The files of a recording that is not sealed, or not put together yet."""
        return {
            **self.files,
            **{keys.leaf(index): record for index, record in enumerate(self.records)},
            **{keys.note(size): note for size, note in self.notes.items()},
        }


def whole(session_id: str = SESSION) -> Recording:
    """A sealed session: six chunks, among them deltas and a stored one, a mark, three epochs."""
    recording = Recording(session_id).open().chunk().chunk(keyframe=False).mark().beat()
    recording.epoch().chunk(2).chunk(1, codec="stored").epoch().beat()
    return recording.chunk(2).chunk(keyframe=False).seal()


def with_gap() -> Recording:
    """A sealed session with a pause in the middle."""
    return Recording().open().chunk().gap().chunk(2).seal(EndReason.SOURCE_ENDED)
