"""Writes recordings as docs/format.md has them: for `reference_vectors.py`, and as literal.

Nothing is random and no zstd library decides about bytes: a key is made of its name, and a zstd
frame of raw and RLE blocks (RFC 8878 §3.1.1.2). ML-DSA signatures are hedged, so those that were
made once are kept in a `SignatureStore`.
"""

from __future__ import annotations

import json
import re
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from reference_clip import hidden_subtrees
from reference_format import (
    BEAT,
    CHUNK,
    ED25519,
    EPOCH,
    GAP,
    LAYOUT,
    MARK,
    OPEN,
    SEAL,
    SPAN,
    Record,
    h,
    read_record,
    root,
)
from reference_log import entry_of, sha256
from reference_notes import Note
from reference_signing import Key, SignatureStore, cosigned

RECORDER = "recorder-of-vectors"
SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000a1"
WALL_NS = 1_795_462_036_000_000_000
FRAME_NS = 100_000_000
WIDTH, HEIGHT = 8, 4
Files = dict[str, bytes]
Change = Callable[[bytes], bytes]


# --- bytes ---------------------------------------------------------------------------------------


def u(size: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size, "big")


def blob(data: bytes) -> bytes:
    return u(2)(len(data)) + data


def listed(pack: Callable[[Any], bytes]) -> Callable[[Sequence[Any]], bytes]:
    return lambda items: u(2)(len(items)) + b"".join(map(pack, items))


def numbers(*sizes: int) -> Callable[[Sequence[int]], bytes]:
    return lambda row: b"".join(u(size)(value) for size, value in zip(sizes, row, strict=True))


PACK: dict[str, Callable[[Any], bytes]] = {
    "t": lambda text: blob(text.encode()),
    "blob": blob,
    "blobs": listed(blob),
    "span": lambda span: numbers(4, *[8] * 6)([span[name] for name in SPAN]),
    "keys": listed(lambda key: u(1)(key[0]) + blob(key[1])),
    "masks": listed(numbers(2, 2, 2, 2)),
    "totals": numbers(*[8] * 8),
    "ends": listed(numbers(4, 8, 8)),
    "u4": u(4),
    "u8": u(8),
    "b32": bytes,
    **dict.fromkeys(["flag", "c1", "c2", "c3", "c8", "c9"], u(1)),
}


def pack(record: Record, device: Sequence[Key] = (), version: int = 1) -> bytes:
    """A record; OPEN is signed by the device keys if there are any."""
    data: bytes = b"SREC" + bytes([version, record["type"]]) + uuid.UUID(record["session"]).bytes
    data += u(8)(record["index"]) + record["salt"]
    for field in LAYOUT[record["type"]].split():
        name, kind = field.split(":")
        if name == "device_signatures" and device:
            message = b"session-recorder open v1\n" + data
            record = {**record, name: [key.sign(message) for key in device]}
        data = data + PACK[kind](record[name])
    return data


def frame(
    unit: int, t_ns: int, *, keyframe: bool, tile: bytes = b"", wall_ns: int | None = None
) -> bytes:
    """A picture of one tile: `tile` is what changed, or nothing did."""
    wall_ns = WALL_NS + t_ns if wall_ns is None else wall_ns
    mask, kind = (b"\x80" if tile else b"\x00"), 1 if keyframe else 2
    size = len(mask) + len(tile)
    header = struct.pack(">BBHHQQQI", kind, 1, WIDTH, HEIGHT, unit, t_ns, wall_ns, size)
    return header + mask + tile


def new_frame(unit: int, t_ns: int, *, keyframe: bool, payload: bytes) -> bytes:
    """The same in encoding 2, of which the caller says all."""
    kind = 1 if keyframe else 2
    numbers = (WIDTH, HEIGHT, unit, t_ns, WALL_NS + t_ns, len(payload))
    return struct.pack(">BBHHQQQI", kind, 2, *numbers) + payload


def picture(colour: int) -> bytes:
    """A tile with one pixel that is not black."""
    return bytes([colour, 17, 255 - colour]) + bytes(64 * 64 * 3 - 3)


def block(kind: int, size: int, content: bytes, *, last: bool = False) -> bytes:
    """A zstd block: kind 0 raw, 1 RLE."""
    return (last | kind << 1 | size << 3).to_bytes(3, "little") + content


def zstd(plain: bytes, raw_most: int = 4096) -> bytes:
    """One zstd frame that declares its size: runs of zeros as RLE blocks, the rest raw."""
    pieces = []
    for piece in re.split(rb"(\x00{64,})", plain):
        run = len(piece) >= 64 and not piece.strip(b"\x00")
        step = 65536 if run else raw_most
        for at in range(0, len(piece), step):
            part = piece[at : at + step]
            pieces.append((1, len(part), b"\x00") if run else (0, len(part), part))
    blocks = [block(*piece, last=piece is pieces[-1]) for piece in pieces]
    return b"\x28\xb5\x2f\xfd\xa0" + len(plain).to_bytes(4, "little") + b"".join(blocks)


# --- a recording ---------------------------------------------------------------------------------


class Writer:
    """A session that grows record by record. What is wrong with it is what its caller does."""

    def __init__(
        self,
        store: SignatureStore,
        session: str = SESSION,
        *,
        kinds: Sequence[int] = (ED25519,),
        counter: int = 1,
        every: int = 4,
        device: str = "device",
    ) -> None:
        self.store, self.session, self.kinds, self.counter = store, session, kinds, counter
        self.every = every  # leaves from checkpoint to checkpoint
        self.device = [Key(device, kind, store) for kind in kinds]
        self.records: list[Record] = []
        self.attached: Files = {}
        self.signers: dict[int, Sequence[Key]] = {}  # who signs a size that should not
        self.unit = self.t_ns = self.keyframe_index = 0

    def keys(self, epoch: int) -> list[Key]:
        return [Key(f"{self.session} epoch {epoch}", kind, self.store) for kind in self.kinds]

    def key_set(self, epoch: int) -> list[tuple[int, bytes]]:
        return [(key.kind, key.public) for key in self.keys(epoch)]

    def add(self, type_: int, **fields: object) -> Writer:
        index = len(self.records)
        salt = h(f"{self.session} salt {index}".encode())[:16]
        header = {"type": type_, "session": self.session, "index": index, "salt": salt}
        self.records.append({**header, **fields})
        return self

    def edit(self, place: int, /, **fields: object) -> Writer:
        """What an insider does: another record, and all signatures anew."""
        self.records[place] = {**self.records[place], **fields}
        return self

    def edit_span(self, index: int, **fields: int) -> Writer:
        return self.edit(index, span={**self.records[index]["span"], **fields})

    def open(self, **fields: object) -> Writer:
        manifest = json.dumps({"session_id": self.session}).encode() + b"\n"
        self.attached["session.json"] = manifest
        known: dict[str, object] = {
            "tree_hash": 1,
            "recorder": RECORDER,
            "session_counter": self.counter,
            "previous_seal": bytes(32),
            "epoch_keys": self.key_set(0),
            "device_keys": [(key.kind, key.public) for key in self.device],
            "manifest_blake3": h(manifest),
            "software": "reference",
            "software_blake3": h(b""),
            "node": "node",
            "boot_id": "boot",
            "source_kind": "pattern",
            "source_uri": "pattern:",
            "source_description": "",
            "source_width": WIDTH,
            "source_height": HEIGHT,
            "source_rate_mhz": 10_000,
            "source_clock": 2,
            "profile": "screen",
            "masks": [[0, 1, 2, 3]],
            "frame_rate_mhz": 10_000,
            "checkpoint_interval_ns": 5 * 10**9,
            "checkpoint_leaves": 64,
            "epoch_length_ns": 300 * 10**9,
            "wall_ns": WALL_NS,
            "clock": 2,
            "beacon": b"",
            "timestamped": b"",
            "timestamp": b"",
            "device_signatures": [],
        }
        return self.add(OPEN, **{**known, **fields})

    def span(self, units: int, duration_ns: int) -> dict[str, int]:
        first, begin = self.unit, self.t_ns
        self.unit, self.t_ns = first + units, begin + duration_ns
        walls = (WALL_NS + begin, WALL_NS + self.t_ns)
        return dict(zip(SPAN, (0, first, units, begin, self.t_ns, *walls), strict=True))

    def chunk(
        self,
        units: int = 2,
        *,
        keyframe: bool = True,
        colour: int = 0,
        plain: bytes | None = None,
        stored: bytes | None = None,
    ) -> Writer:
        """With a colour its first frame has a pixel, and its file is of zstd."""
        span, index = self.span(units, units * FRAME_NS), len(self.records)
        if plain is None:
            plain = b"".join(
                frame(
                    span["first_unit"] + nth,
                    span["t0_ns"] + nth * FRAME_NS,
                    keyframe=keyframe and nth == 0,
                    tile=picture(colour) if colour and nth == 0 else b"",
                )
                for nth in range(units)
            )
        if keyframe:
            self.keyframe_index = index
        stored = (zstd(plain) if colour else plain) if stored is None else stored
        self.attached[f"chunks/{index:010d}." + ("zst" if colour else "raw")] = stored
        return self.add(
            CHUNK,
            span=span,
            frames=1,
            codec=1 if colour else 2,
            cipher=1,
            raw_size=units * WIDTH * HEIGHT * 3,
            plain_size=len(plain),
            plain_blake3=h(plain),
            stored_size=len(stored),
            stored_blake3=h(stored),
            stored_sha256=sha256(stored),
            keyframe=int(keyframe),
            clock=2,
            keyframe_index=self.keyframe_index,
        )

    def gap(self, units: int = 3, reason: int = 1) -> Writer:
        span = self.span(units, units * FRAME_NS)
        return self.add(GAP, span=span, reason=reason, detail="a gap", wall_ns=span["wall1_ns"])

    def mark(self, body: bytes = b'{"text":"hello"}') -> Writer:
        self.attached[f"marks/{len(self.records):010d}.json"] = body
        digest = {"body_size": len(body), "body_blake3": h(body)}
        return self.add(MARK, **self.now(), kind="note", by="tester", **digest)

    def now(self) -> dict[str, int]:
        return {"t_ns": self.t_ns, "wall_ns": WALL_NS + self.t_ns}

    def epoch(self, **fields: object) -> Writer:
        number = 1 + sum(record["type"] == EPOCH for record in self.records)
        known = {**self.now(), "number": number, "clock": 2, "keys": self.key_set(number)}
        return self.add(EPOCH, **{**known, **fields})

    def ends(self) -> list[list[int]]:
        begun = any(record["type"] in {CHUNK, GAP} for record in self.records)
        return [[0, self.unit, self.t_ns]] if begun else []

    def beat(self, **fields: object) -> Writer:
        known = {"unit": self.unit, **self.now(), "clock": 2, "streams": self.ends()}
        return self.add(BEAT, **{**known, **fields})

    def seal(self, **fields: object) -> Writer:
        known = {"reason": 1, "detail": "", **self.now(), "streams": self.ends()}
        return self.add(SEAL, **{**known, "totals": self.totals(), **fields})

    def totals(self) -> list[int]:
        of = {kind: [r for r in self.records if r["type"] == kind] for kind in (CHUNK, GAP, MARK)}
        counts = [len(records) for records in of.values()]
        units = [sum(r["span"]["unit_count"] for r in of[kind]) for kind in (CHUNK, GAP)]
        sizes = ("raw_size", "plain_size", "stored_size")
        return counts + units + [sum(r[name] for r in of[CHUNK]) for name in sizes]

    # --- what is written -------------------------------------------------------------------------

    def raw(self) -> list[bytes]:
        return [pack(r, self.device if r["type"] == OPEN else ()) for r in self.records]

    def signers_of(self, size: int) -> Sequence[Key]:
        before = self.records[: max(0, size - 1)]
        epoch = sum(record["type"] == EPOCH for record in before)
        return self.signers.get(size) or self.keys(epoch)

    def note(
        self, size: int, root_hash: bytes | None = None, change: Change = lambda text: text
    ) -> bytes:
        """The note of a size; `root_hash` is another root, `change` changes the signed text."""
        value = root(self.raw()[:size]) if root_hash is None else root_hash
        plain = Note(f"{RECORDER}/s/{self.session}/blake3", size, value, (), b"")
        note = Note(plain.origin, size, value, (), change(plain.text))
        return cosigned(note, RECORDER, self.signers_of(size), WALL_NS // 10**9 + size)

    def notes(self) -> dict[int, bytes]:
        closing = {r["index"] + 1 for r in self.records if r["type"] == EPOCH}
        sizes = range(1, len(self.records) + 1)
        signed = [s for s in sizes if s in closing or s in {1, sizes[-1]} or s % self.every == 0]
        return {size: self.note(size) for size in signed}

    def sealed(self) -> Files:
        return {**self.attached, **compact(self.raw(), list(self.notes().values()))}

    def signed_as_sealed(self, raw: Sequence[bytes]) -> Files:
        """Other records than those that would be written, signed by the keys of epoch 0."""
        notes = [self.note(size, root(raw[:size])) for size in range(1, len(raw) + 1)]
        return {**self.attached, **compact(raw, notes)}

    def journal(self) -> Files:
        return {
            **self.attached,
            **{f"journal/leaves/{n:010d}": record for n, record in enumerate(self.raw())},
            **{f"journal/checkpoints/{n:010d}": note for n, note in self.notes().items()},
        }

    def clip(self, begin: int, end: int) -> Files:
        """OPEN, the EPOCH records, those from `begin` to before `end`, and the last one."""
        epochs = {r["index"] for r in self.records if r["type"] == EPOCH}
        return self.clip_of({0, *epochs, *range(begin, end), len(self.records) - 1})

    def clip_of(self, shown: set[int]) -> Files:
        raw, notes = self.raw(), self.notes()
        names = {"session.json", *(f"chunks/{n:010d}.raw" for n in shown)}
        names |= {f"chunks/{n:010d}.zst" for n in shown} | {f"marks/{n:010d}.json" for n in shown}
        names |= {f"{name}.enc" for name in names if name.startswith("chunks/")}
        visible = [notes[n + 1] for n in sorted(shown) if n + 1 in notes]
        files = compact([raw[n] for n in sorted(shown)], visible)
        if self.records[-1]["type"] != SEAL:
            del files["seal"]
        files["clip"] = clip_file(raw, ranges_of(shown))
        return {**{n: d for n, d in self.attached.items() if n in names}, **files}

    def entries(self) -> list[bytes]:
        """OPEN and SEAL in the log of sessions."""
        notes, opened = self.notes(), read_record(self.raw()[0])
        return [entry_of(opened, 1, notes[1]), entry_of(opened, 3, notes[len(self.records)])]


def compact(raw: Sequence[bytes], notes: Sequence[bytes]) -> Files:
    framed = b"".join(u(4)(len(record)) + record for record in raw)
    return {"records": framed, "checkpoints": b"".join(notes), "seal": notes[-1]}


def ranges_of(shown: set[int]) -> list[tuple[int, int]]:
    begins = [n for n in sorted(shown) if n - 1 not in shown]
    ends = [n + 1 for n in sorted(shown) if n + 1 not in shown]
    return list(zip(begins, ends, strict=True))


def clip_file(
    raw: Sequence[bytes],
    ranges: Sequence[tuple[int, int]],
    change: Callable[[list[bytes]], list[bytes]] = lambda hashes: hashes,
    *,
    size: int | None = None,
) -> bytes:
    hidden = hidden_subtrees(0, len(raw), list(ranges))
    hashes = change([root(raw[begin:end]) for begin, end in hidden])
    size = len(raw) if size is None else size
    rows = u(4)(len(ranges)) + b"".join(numbers(8, 8)(row) for row in ranges)
    return b"SRCC\x01" + u(8)(size) + rows + u(4)(len(hashes)) + b"".join(hashes)
