"""Records and trees, as docs/format.md has them: the ground of `reference.py`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from blake3 import blake3

OPEN, CHUNK, GAP, MARK, SEAL, EPOCH, BEAT = range(1, 8)
ED25519, ML_DSA_44 = 1, 2
KEY_SIZES = {ED25519: 32, ML_DSA_44: 1312}
LAYOUT = {
    OPEN: "tree_hash:c1 recorder:t session_counter:u8 previous_seal:b32 device_keys:keys "
    "epoch_keys:keys manifest_blake3:b32 software:t software_blake3:b32 node:t boot_id:t "
    "source_kind:t source_uri:t source_description:t source_width:u4 source_height:u4 "
    "source_rate_mhz:u4 source_clock:c2 profile:t frame_rate_mhz:u4 masks:masks "
    "checkpoint_interval_ns:u8 checkpoint_leaves:u4 epoch_length_ns:u8 wall_ns:u8 clock:c3 "
    "beacon:blob timestamped:blob timestamp:blob device_signatures:blobs",
    CHUNK: "span:span frames:c2 codec:c2 cipher:c2 raw_size:u8 plain_size:u8 plain_blake3:b32 "
    "stored_size:u8 stored_blake3:b32 stored_sha256:b32 keyframe:flag keyframe_index:u8 clock:c3",
    GAP: "span:span reason:c9 detail:t wall_ns:u8",
    MARK: "t_ns:u8 wall_ns:u8 kind:t by:t body_size:u8 body_blake3:b32",
    SEAL: "reason:c8 detail:t t_ns:u8 wall_ns:u8 totals:totals streams:ends",
    EPOCH: "number:u4 t_ns:u8 wall_ns:u8 clock:c3 keys:keys",
    BEAT: "unit:u8 t_ns:u8 wall_ns:u8 clock:c3 streams:ends",
}
SPAN = ["stream", "first_unit", "unit_count", "t0_ns", "t1_ns", "wall0_ns", "wall1_ns"]
MOST_BYTES_IN_A_RECORD = 65536
RECORDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")

Record = dict[str, Any]
Hash = Callable[[bytes], bytes]


class Problem(Exception):  # noqa: N818  (what is wrong with the recording)
    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(f"{verdict}: {text}")
        self.verdict = verdict


def need(condition: object, text: str, verdict: str = "TAMPERED") -> None:
    if not condition:
        raise Problem(verdict, text)


# --- records -------------------------------------------------------------------------------------


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        need(len(piece) == size, "bytes end early")
        self.at += size
        return piece

    def number(self, size: int) -> int:
        value = int.from_bytes(self.take(size), "big")
        need(value < 2**63, "an integer of 2^63 or more")
        return value

    def text(self) -> str:
        try:
            return self.take(self.number(2)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Problem("TAMPERED", "text that is not UTF-8") from error

    def flag(self) -> int:
        need((value := self.number(1)) in {0, 1}, "a flag that is neither 0 nor 1")
        return value

    def code(self, most: int) -> int:
        need(1 <= (value := self.number(1)) <= most, "an unknown code", "UNSUPPORTED")
        return value

    def blob(self) -> bytes:
        return self.take(self.number(2))

    def list(self, *sizes: int) -> list[list[int]]:
        return [[self.number(size) for size in sizes] for _ in range(self.number(2))]

    def span(self) -> dict[str, int]:
        return {name: self.number(4 if name == "stream" else 8) for name in SPAN}

    def keys(self) -> list[tuple[int, bytes]]:  # type: ignore[valid-type]  # list is also a method
        """A key set: ed25519, or that and ml-dsa-44 behind it."""
        keys = [(self.code(2), self.blob()) for _ in range(self.number(2))]
        need([k for k, _ in keys] in [[ED25519], [ED25519, ML_DSA_44]], "keys that are no key set")
        need(all(len(data) == KEY_SIZES[kind] for kind, data in keys), "a key of another length")
        return keys


READ: dict[str, Callable[[Bytes], object]] = {
    "t": Bytes.text,
    "blob": Bytes.blob,
    "blobs": lambda source: [source.blob() for _ in range(source.number(2))],
    "flag": Bytes.flag,
    "span": Bytes.span,
    "keys": Bytes.keys,
    "masks": lambda source: source.list(2, 2, 2, 2),
    "totals": lambda source: [source.number(8) for _ in range(8)],
    "ends": lambda source: source.list(4, 8, 8),
    "u4": lambda source: source.number(4),
    "u8": lambda source: source.number(8),
    "b32": lambda source: source.take(32),
    "c1": lambda source: source.code(1),
    "c2": lambda source: source.code(2),
    "c3": lambda source: source.code(3),
    "c8": lambda source: source.code(8),
    "c9": lambda source: source.code(9),
}


def read_record(data: bytes) -> Record:
    need(len(data) <= MOST_BYTES_IN_A_RECORD, "a record of more than 65536 bytes")
    source = Bytes(data)
    need(source.take(4) == b"SREC", "no magic")
    version, type_ = source.number(1), source.number(1)
    need(version == 1, "a record of another version", "UNSUPPORTED")
    session, index = str(uuid.UUID(bytes=source.take(16))), source.number(8)
    salt = source.take(16)
    record: Record = {"type": type_, "session": session, "index": index, "salt": salt}
    need(type_ in LAYOUT, "a record of an unknown type", "UNSUPPORTED")
    for field in LAYOUT[type_].split():
        name, kind = field.split(":")
        if name == "device_signatures":
            record["signed"] = b"session-recorder open v1\n" + data[: source.at]
        record[name] = READ[kind](source)
    need(source.at == len(data), "bytes behind a record")
    return record


def read_framed(data: bytes) -> list[bytes]:
    """The records of a file `records`: each has its length as u32 in front."""
    records, source = [], Bytes(data)
    while source.at < len(data):
        size = source.number(4)
        need(0 < size <= MOST_BYTES_IN_A_RECORD, "the length in front of a record")
        records.append(source.take(size))
    return records


# --- the tree ------------------------------------------------------------------------------------


def h(data: bytes) -> bytes:
    return bytes(blake3(data).digest())


def split(size: int) -> int:
    """The largest power of two below a size of 2 or more."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[bytes], hash_: Hash = h) -> bytes:
    if not leaves:
        return hash_(b"")
    level = [hash_(b"\x00" + leaf) for leaf in leaves]
    while len(level) > 1:  # pairs from the left; a node without a partner goes up as it is
        pairs = [hash_(b"\x01" + level[n] + level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


def root_of_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], hash_: Hash
) -> bytes:
    """RFC 9162 §2.1.3.2: the root that a proof gives; it has exactly the hashes that are needed."""
    need(index < size, "an index that is not in the tree")
    fn, sn, value = index, size - 1, hash_(b"\x00" + leaf)
    for sibling in proof:
        need(sn != 0, "an inclusion proof with too many hashes")
        if fn & 1 or fn == sn:
            value = hash_(b"\x01" + sibling + value)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = hash_(b"\x01" + value + sibling)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "an inclusion proof with too few hashes")
    return value
