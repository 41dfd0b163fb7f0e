"""A second implementation of docs/format.md: literal, slow, and without a line of the product.

`python tests/reference.py DIR` reads a recording, checks it and decodes every frame. It prints
JSON: root_hash, tree_size, verdict, problem, and for each frame the BLAKE3 of its pixels.
Writer and verifier must not share their mistakes: where the two differ, one misreads the format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WORST_FIRST = ["EQUIVOCATION", "TAMPERED", "UNSUPPORTED", "TRUNCATED"]
LAYOUT = {
    1: "tree_hash:c1 recorder:t public_key:b32 manifest_blake3:b32 software:t node:t boot_id:t "
    "source_kind:t source_uri:t source_description:t source_width:u4 source_height:u4 "
    "source_rate_mhz:u4 source_clock:c2 profile:t frame_rate_mhz:u4 masks:mask wall_ns:u8 "
    "beacon:blob",
    2: "span:span frames:c1 codec:c2 cipher:c1 raw_size:u8 plain_size:u8 plain_blake3:b32 "
    "stored_size:u8 stored_blake3:b32 stored_sha256:b32 keyframe:flag keyframe_index:u8",
    3: "span:span reason:c8 detail:t wall_ns:u8",
    4: "t_ns:u8 wall_ns:u8 kind:t by:t body_size:u8 body_blake3:b32",
    5: "reason:c8 detail:t t_ns:u8 wall_ns:u8 totals:totals streams:ends",
}
SPAN = ["stream", "first_unit", "unit_count", "t0_ns", "t1_ns", "wall0_ns", "wall1_ns"]
DEAD_LETTER = 8


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
        need(len(piece) == size, "a record ends early")
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

    def list(self, *sizes: int) -> list[list[int]]:
        return [[self.number(size) for size in sizes] for _ in range(self.number(2))]

    def span(self) -> dict[str, int]:
        return {name: self.number(4 if name == "stream" else 8) for name in SPAN}


READ: dict[str, Callable[[Bytes], object]] = {
    "t": Bytes.text,
    "blob": lambda source: source.take(source.number(2)),
    "flag": Bytes.flag,
    "span": Bytes.span,
    "mask": lambda source: source.list(2, 2, 2, 2),
    "totals": lambda source: [source.number(8) for _ in range(8)],
    "ends": lambda source: source.list(4, 8, 8),
    "u4": lambda source: source.number(4),
    "u8": lambda source: source.number(8),
    "b32": lambda source: source.take(32),
    "c1": lambda source: source.code(1),
    "c2": lambda source: source.code(2),
    "c8": lambda source: source.code(8),
}


def read_record(data: bytes) -> dict[str, Any]:
    need(len(data) <= 65536, "a record of more than 65536 bytes")
    source = Bytes(data)
    need(source.take(4) == b"SREC", "no magic")
    version, type_ = source.number(1), source.number(1)
    need(version == 1, "a record of another version", "UNSUPPORTED")
    session, index = str(uuid.UUID(bytes=source.take(16))), source.number(8)
    record: dict[str, Any] = {
        "type": type_,
        "session": session,
        "index": index,
        "salt": source.take(16),
    }
    need(type_ in LAYOUT, "a record of an unknown type", "UNSUPPORTED")
    for field in LAYOUT[type_].split():
        name, kind = field.split(":")
        record[name] = READ[kind](source)
    need(source.at == len(data), "bytes behind a record")
    return record


# --- the tree ------------------------------------------------------------------------------------


def h(data: bytes) -> bytes:
    return bytes(blake3(data).digest())


def root(records: list[bytes]) -> bytes:
    if not records:
        return h(b"")
    level = [h(b"\x00" + record) for record in records]
    while len(level) > 1:  # pairs from the left; a node without a partner goes up as it is
        pairs = [h(b"\x01" + level[n] + level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


# --- notes ---------------------------------------------------------------------------------------

NOTE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._/-]{0,254})\n"
    r"(0|[1-9][0-9]{0,18})\n"
    r"([A-Za-z0-9+/]{43}=)\n"
    r"\n"
    r"((?:— [^\s+]+ [A-Za-z0-9+/]+={0,2}\n){1,16})"
)


def read_notes(data: bytes) -> list[tuple[str, int, bytes, list[tuple[str, bytes]], bytes]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("TAMPERED", "a note that is not UTF-8") from error
    found, at = [], 0
    while at < len(text):
        match = NOTE.match(text, at)
        if match is None:
            raise Problem("TAMPERED", f"no note at character {at}")
        need(not text.startswith("—", match.end()), "more than 16 signatures")
        need(int(match[2]) < 2**63, "a size of 2^63 or more")
        lines = [line.split(" ") for line in match[4].splitlines()]
        signatures = [(line[1], canonical(line[2])) for line in lines]
        raw = match[0].encode()
        found.append((match[1], int(match[2]), canonical(match[3]), signatures, raw))
        at = match.end()
    return found


def canonical(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Problem("TAMPERED", "bad base64") from error
    need(base64.b64encode(value).decode() == text, "base64 that is not canonical")
    return value


def verify_note(note: tuple[Any, ...], name: str, public_key: bytes) -> None:
    origin, size, root_hash, signatures, _ = note
    key_id = hashlib.sha256(name.encode() + b"\n\x04" + public_key).digest()[:4]
    ours = [s[4:] for n, s in signatures if n == name and s[:4] == key_id]
    need(len(ours) == 1 and len(ours[0]) == 72, "not one signature of the recorder's key")
    time = int.from_bytes(ours[0][:8], "big")
    need(time < 2**63, "a time of 2^63 or more")
    text = f"{origin}\n{size}\n{base64.b64encode(root_hash).decode()}\n"
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            ours[0][8:], f"cosignature/v1\ntime {time}\n{text}".encode()
        )
    except InvalidSignature as error:
        raise Problem("TAMPERED", f"the signature for size {size}") from error


# --- the folder ----------------------------------------------------------------------------------


class Recording:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: list[dict[str, Any]] = []
        self.raw = self.read_records()
        self.notes = self.read_checkpoints()

    def file(self, name: str) -> bytes:
        path = self.folder / name
        need(path.is_file(), f"{name} is missing")
        return path.read_bytes()

    def journal(self, kind: str) -> dict[int, bytes]:
        files = (self.folder / "journal" / kind).glob("*")
        return {int(p.name): p.read_bytes() for p in files if re.fullmatch(r"\d{10,19}", p.name)}

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def read_records(self) -> list[bytes]:
        journal = self.journal("leaves")
        compact = [n for n in ("records", "checkpoints", "seal") if self.has(n)]
        need(
            not compact or len(compact) == 3 or any((self.folder / "journal").rglob("*")),
            f"a sealed folder with {compact} alone",
        )
        if not self.has("records"):
            need(sorted(journal) == list(range(len(journal))), "a hole in the journal")
            return [journal[n] for n in range(len(journal))]
        data, records = self.file("records"), []
        while data:
            size = int.from_bytes(data[:4], "big")
            need(len(data) >= 4 + size and 0 < size <= 65536, "the framing of records")
            records.append(data[4 : 4 + size])
            data = data[4 + size :]
        for index, record in journal.items():
            need(index < len(records) and records[index] == record, "journal and records differ")
        return records

    def read_checkpoints(self) -> list[tuple[Any, ...]]:
        notes = []
        if self.has("checkpoints"):
            notes = read_notes(self.file("checkpoints"))
            sizes = [note[1] for note in notes]
            need(sizes == sorted(set(sizes)), "checkpoints that are not ascending")
        for size, data in sorted(self.journal("checkpoints").items()):
            one = read_notes(data)
            need(len(one) == 1 and one[0][1] == size, f"the note for size {size}")
            need(not notes or not self.has("checkpoints") or one[0] in notes, "journal: notes")
            if one[0] not in notes:
                notes.append(one[0])
        if self.has("seal"):
            seal = read_notes(self.file("seal"))
            need(len(seal) == 1 and notes and seal[0] == notes[-1], "the seal is not the last note")
        return notes

    # --- the checks ------------------------------------------------------------------------------

    def check_signatures(self) -> None:
        need(self.notes, "nothing is signed", "TRUNCATED")
        opened = read_record(self.raw[0])
        need(opened["type"] == 1, "record 0 is not OPEN")
        for note in self.notes:
            verify_note(note, opened["recorder"], opened["public_key"])
            origin = f"{opened['recorder']}/s/{opened['session']}/blake3"
            need(note[0] == origin, "a note of another log")

    def check_tree(self) -> None:
        newest = self.notes[-1] if self.notes else None
        if newest is not None:
            need(newest[1] <= len(self.raw), "signed records are missing")
            need(root(self.raw[: newest[1]]) == newest[2], "the root of the newest checkpoint")
        for note in self.notes[:-1]:
            # The newest one is right: the same key signed another history.
            right = root(self.raw[: note[1]]) == note[2]
            need(right, f"the root at size {note[1]}", "EQUIVOCATION")

    def check_records(self) -> None:
        records = [read_record(data) for data in self.raw]
        if not records:
            return
        opened = records[0]
        for place, record in enumerate(records):
            need(record["index"] == place, f"record {place} says it is {record['index']}")
            need(record["session"] == opened["session"], f"record {place} of another session")
            need((record["type"] == 1) == (place == 0), f"record {place}: OPEN")
            need(record["type"] != 5 or place == len(records) - 1, f"record {place}: SEAL")
        need(h(self.file("session.json")) == opened["manifest_blake3"], "session.json")
        ends, totals = self.check_spans(records)
        for place, record in enumerate(records):
            if record["type"] == 4:
                body = self.file(f"marks/{place:010d}.json")
                need(len(body) == record["body_size"], f"mark {place}: size")
                need(h(body) == record["body_blake3"], f"mark {place}: digest")
        seal = records[-1]
        if seal["type"] == 5:
            need(seal["totals"] == totals, "the totals of the SEAL")
            need(seal["streams"] == ends, "the stream ends of the SEAL")
            need(all(end[2] == seal["t_ns"] for end in ends), "the end is not covered")

    def check_spans(self, records: list[dict[str, Any]]) -> tuple[list[list[int]], list[int]]:
        at: dict[int, list[int]] = {}
        from_: dict[int, set[int]] = {}
        totals = [0] * 8
        canvas: np.ndarray | None = None
        for record in records:
            totals[2] += record["type"] == 4
            if record["type"] not in {2, 3}:
                continue
            span, place = record["span"], record["index"]
            stream = span["stream"]
            unit, time = at.get(stream, [0, 0])
            need(span["first_unit"] == unit, f"record {place}: unit")
            need(span["t0_ns"] == time <= span["t1_ns"], f"record {place}: time")
            at[stream] = [unit + span["unit_count"], span["t1_ns"]]
            if record["type"] == 3:
                totals[1] += 1
                totals[4] += span["unit_count"]
                dead = record["reason"] == DEAD_LETTER
                from_[stream] = {*from_.get(stream, set()), place} if dead else set()
                canvas = None
                continue
            totals[0] += 1
            need(span["unit_count"] > 0, f"chunk {place}: no units")
            if record["keyframe"]:
                from_[stream] = {place}
            need(record["keyframe_index"] in from_.get(stream, set()), f"chunk {place}: keyframe")
            totals[3] += span["unit_count"]
            for n, name in ((5, "raw_size"), (6, "plain_size"), (7, "stored_size")):
                totals[n] += record[name]
            canvas = self.check_chunk(record, canvas)
        return [[stream, *end] for stream, end in sorted(at.items())], totals

    # --- chunks ----------------------------------------------------------------------------------

    def check_chunk(self, record: dict[str, Any], canvas: np.ndarray | None) -> np.ndarray | None:
        place = record["index"]
        name = f"chunks/{place:010d}." + ("zst" if record["codec"] == 1 else "raw")
        stored = self.file(name)
        need(len(stored) == record["stored_size"], f"{name}: size")
        need(h(stored) == record["stored_blake3"], f"{name}: BLAKE3")
        need(hashlib.sha256(stored).digest() == record["stored_sha256"], f"{name}: SHA-256")
        plain = inflate(stored, record["plain_size"]) if record["codec"] == 1 else stored
        need(len(plain) == record["plain_size"], f"{name}: plain size")
        need(h(plain) == record["plain_blake3"], f"{name}: plain BLAKE3")
        return self.check_frames(record, plain, canvas)

    def check_frames(
        self, record: dict[str, Any], plain: bytes, canvas: np.ndarray | None
    ) -> np.ndarray | None:
        span, source = record["span"], Bytes(plain)
        time, raw_size = span["t0_ns"], 0
        for nth in range(span["unit_count"]):
            header = struct.unpack(">BBHHQQQI", source.take(34))
            kind, encoding, width, height, unit, t_ns, wall_ns, size = header
            need(kind in {1, 2} and encoding == 1, "a frame of an unknown kind", "UNSUPPORTED")
            need(unit == span["first_unit"] + nth, f"unit {unit}: number")
            need(nth > 0 or (kind == 1) == bool(record["keyframe"]), f"unit {unit}: keyframe")
            need(time <= t_ns < span["t1_ns"], f"unit {unit}: time")
            time, raw_size = t_ns, raw_size + width * height * 3
            rows, columns = -(-height // 64), -(-width // 64)
            need(rows * columns, f"unit {unit}: no pixels")
            if kind == 1:
                canvas = np.zeros((rows * 64, columns * 64, 3), np.uint8)
            payload = Bytes(source.take(size))
            bits = np.unpackbits(np.frombuffer(payload.take(-(-rows * columns // 8)), np.uint8))
            need(not bits[rows * columns :].any(), f"unit {unit}: spare bits")
            need(size - payload.at == int(bits.sum()) * 64 * 64 * 3, f"unit {unit}: size")
            frame = {"unit": unit, "t_ns": t_ns, "wall_ns": wall_ns, "pixels": None}
            if canvas is not None:
                same = kind == 1 or self.frames[-1]["size"] == [width, height]
                need(same, f"unit {unit}: another size without a keyframe")
                apply_tiles(canvas, columns, bits, payload)
                outside = canvas[height:].any() or canvas[:, width:].any()
                need(not outside, f"unit {unit}: bytes outside the picture")
                frame["pixels"] = h(canvas[:height, :width].tobytes()).hex()
            self.frames.append({**frame, "size": [width, height]})
        need(source.at == len(plain), "bytes behind the last frame")
        need(raw_size == record["raw_size"], "raw size")
        return canvas


def apply_tiles(canvas: np.ndarray, columns: int, bits: np.ndarray, payload: Bytes) -> None:
    for tile in np.flatnonzero(bits):
        y, x = int(tile) // columns * 64, int(tile) % columns * 64
        pixels = np.frombuffer(payload.take(64 * 64 * 3), np.uint8).reshape(64, 64, 3)
        need((canvas[y : y + 64, x : x + 64] != pixels).any(), "a tile that did not change")
        canvas[y : y + 64, x : x + 64] = pixels


def inflate(stored: bytes, plain_size: int) -> bytes:
    need(stored[:4] == b"\x28\xb5\x2f\xfd", "not a zstd frame")
    need(plain_size <= 2**32, "a chunk of more than 2^32 bytes")
    try:
        facts = zstandard.get_frame_parameters(stored)
        need(facts.window_size <= 2**23, "a window of more than 2^23 bytes")
        need(facts.dict_id == 0, "a dictionary")
        need(facts.content_size in {plain_size, 2**64 - 1}, "another content size")
        inflater = zstandard.ZstdDecompressor(max_window_size=2**23).decompressobj()
        plain = b""
        for at in range(0, len(stored), 512):
            plain += inflater.decompress(stored[at : at + 512])
            need(len(plain) <= plain_size, "more plain bytes than declared")
            if inflater.eof:
                need(not inflater.unused_data and at + 512 >= len(stored), "bytes behind the frame")
        need(inflater.eof, "a frame without end")
    except zstandard.ZstdError as error:
        raise Problem("TAMPERED", "zstd") from error
    return plain


# --- the verdict ---------------------------------------------------------------------------------


def check(folder: Path) -> dict[str, Any]:
    problems: list[Problem] = []
    recording = None
    try:
        recording = Recording(folder)
    except Problem as problem:
        problems.append(problem)
    if recording is not None:
        for step in (recording.check_signatures, recording.check_tree, recording.check_records):
            try:
                step()
            except Problem as problem:
                # Another history is proved by signatures that verify, and by nothing less.
                forged = problem.verdict == "EQUIVOCATION" and problems
                problems.append(Problem("TAMPERED", str(problem)) if forged else problem)
            except IndexError:
                problems.append(Problem("TRUNCATED", "there are no records"))
        if not problems:
            last = read_record(recording.raw[-1])
            if last["type"] != 5 or recording.notes[-1][1] < len(recording.raw):
                problems.append(Problem("TRUNCATED", "no signed SEAL"))
    worst = min(problems, key=lambda p: WORST_FIRST.index(p.verdict), default=None)
    verdict = worst.verdict if worst else "COMPLETE"
    if recording and not worst and read_record(recording.raw[-1])["totals"][1]:
        verdict = "COMPLETE_WITH_GAPS"
    return {
        "root_hash": root(recording.raw).hex() if recording else "",
        "tree_size": len(recording.raw) if recording else 0,
        "verdict": verdict,
        "problem": str(worst) if worst else "",
        "frames": recording.frames if recording else [],
    }


if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1])), indent=2))
