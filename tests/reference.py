"""A second implementation of docs/format.md: literal, slow, and without a line of the product.

`python tests/reference.py DIR [IDENTITY]` reads a recording or a clip, checks it and decodes every
frame; those of an encrypted one with the identity of a recipient. It prints JSON: root_hash,
tree_size, verdict, problem, and for each frame the BLAKE3 of its pixels.
Writer and verifier must not share their mistakes: where the two differ, one misreads the format.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from reference_clip import PartialTree
from reference_encryption import NAMES, SEALED, declared, decrypt, digest, place_of, unwrap
from reference_format import (
    BEAT,
    CHUNK,
    EPOCH,
    GAP,
    MARK,
    OPEN,
    RECORDER,
    SEAL,
    Problem,
    Record,
    h,
    need,
    read_framed,
    read_record,
    root,
)
from reference_frames import Player, inflate
from reference_log import (
    check_proofs,
    check_receipts,
    check_statement_proofs,
    check_time_of_open,
)
from reference_notes import Note, read_note, read_notes, verifies, verify_checkpoint
from reference_packets import read_packets
from reference_retention import Standing

WORST_FIRST = ["EQUIVOCATION", "TAMPERED", "UNSUPPORTED", "REDACTED", "TRUNCATED"]
DEAD_LETTER = 8
PACKETS = 2
Keys = list[tuple[int, bytes]]


class Folder:
    """The records that are here, by index, and the notes, by ascending size."""

    def __init__(self, folder: Path, identity: Path | None = None) -> None:
        self.folder, self.identity = folder, identity
        self.frames: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.removed: list[str] = []  # files that are missing, as a statement says
        self.shredded = False  # session.json is, with the key in it
        self.raw: dict[int, bytes] = {}
        self.notes: list[Note] = []
        self.others: list[Note] = []  # notes that are not the one that stands in their place

    def file(self, name: str) -> bytes:
        path = self.folder / name
        need(path.is_file(), f"{name} is missing")
        return path.read_bytes()

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def try_(self, step: Callable[[], None]) -> None:
        """One problem does not hide those of other steps."""
        try:
            step()
        except Problem as problem:
            self.problems.append(problem)

    def read_ascending(self) -> None:
        for note in read_notes(self.file("checkpoints")):
            self.place(note, fits=not self.notes or note.size > self.notes[-1].size)

    def read_seal(self) -> None:
        """The seal is the last note again."""
        note = read_note(self.file("seal"))
        if self.notes[-1:] != [note]:
            self.place(note, fits=False)

    def place(self, note: Note, *, fits: bool) -> None:
        if fits:
            self.notes.append(note)
            return
        self.others.append(note)
        self.problems.append(Problem("TAMPERED", f"a note for size {note.size} in no place"))

    @property
    def size(self) -> int:
        """Leaves of the whole tree, as far as there are records."""
        return len(self.raw)

    def root_at(self, size: int) -> bytes:
        return root([self.raw[index] for index in range(size)])

    @cached_property
    def opened(self) -> Record:
        if 0 not in self.raw:
            raise Problem("TAMPERED" if self.notes else "TRUNCATED", "there is no record 0")
        opened = read_record(self.raw[0])
        need(opened["type"] == OPEN, "record 0 is not OPEN")
        return opened

    @cached_property
    def epochs(self) -> dict[int, Record]:
        """The EPOCH records by their place; the type stands behind magic and version."""
        found = {place: data for place, data in self.raw.items() if data[5:6] == bytes([EPOCH])}
        return {place: read_record(data) for place, data in found.items()}

    @property
    def sealed(self) -> bool:
        last = self.raw.get(self.size - 1, b"")
        return last[5:6] == bytes([SEAL]) and bool(self.notes) and self.notes[-1].size == self.size

    # --- signatures and the tree -----------------------------------------------------------------

    def check_open(self) -> None:
        opened = self.opened
        need(RECORDER.fullmatch(opened["recorder"]), "the id of the recorder")
        need(opened["session_counter"] > 0, "a session counter of 0")
        keys, signatures = opened["device_keys"], opened["device_signatures"]
        need(len(keys) == len(signatures), "not one device signature for each device key")
        for (kind, key), signature in zip(keys, signatures, strict=True):
            need(verifies(kind, key, opened["signed"], signature), "a device signature")
        check_time_of_open(opened)

    def keys_at(self, size: int) -> Keys:
        """The keys of the epoch: that of the last EPOCH among the first `size - 1` records."""
        before = [epoch for place, epoch in self.epochs.items() if place < size - 1]
        keys: Keys = before[-1]["keys"] if before else self.opened["epoch_keys"]
        return keys

    def check_note(self, note: Note) -> None:
        opened = self.opened
        origin = f"{opened['recorder']}/s/{opened['session']}/blake3"
        need(note.origin == origin, "a note of another log")
        need(note.size <= self.size, f"size {note.size}: signed records are missing")
        verify_checkpoint(note, opened["recorder"], self.keys_at(note.size))

    def is_signed(self, note: Note) -> bool:
        try:
            self.check_note(note)
        except Problem:
            return False
        return True

    def check_signatures(self) -> None:
        need(self.notes, "nothing is signed", "TRUNCATED")
        for note in self.notes:
            self.check_note(note)

    def check_tree(self) -> None:
        if not self.notes:
            return
        known = [*self.notes, *self.others]
        signed = {(note.size, note.root) for note in known if self.is_signed(note)}
        if len(signed) > len({size for size, _ in signed}):
            self.problems.append(Problem("EQUIVOCATION", "two signed roots for one size"))
        top = max(note.size for note in known)
        need(top <= self.size, "signed records are missing")
        wrong = [note for note in known if self.root_at(note.size) != note.root]
        # Where the newest one is right and another is signed as well, there are two histories.
        right = (top, self.root_at(top)) in signed
        for note in wrong:
            two = right and (note.size, note.root) in signed
            verdict = "EQUIVOCATION" if two else "TAMPERED"
            self.problems.append(Problem(verdict, f"the root at size {note.size}"))

    def check_epochs(self) -> None:
        closed = {note.size for note in self.notes}
        signed = max(closed, default=0)
        kinds = [kind for kind, _ in self.opened["epoch_keys"]]
        for number, (place, epoch) in enumerate(self.epochs.items(), 1):
            need(epoch["number"] == number, f"epoch {epoch['number']} where {number} follows")
            need([kind for kind, _ in epoch["keys"]] == kinds, f"epoch {number}: kinds of keys")
            need(place >= signed or place + 1 in closed, f"epoch {number - 1} is not closed")

    def check_log(self) -> None:
        found = check_proofs(self.folder, self.opened, self.notes, sealed=self.sealed)
        check_receipts(self.folder, found)

    # --- what was removed ------------------------------------------------------------------------

    @cached_property
    def standing(self) -> Standing | None:
        """None: the statements are not good, so nothing may be missing because of them."""
        try:
            return Standing(self.folder, self.opened)
        except Problem:
            return None

    def may_be_missing(self, name: str) -> bool:
        removal = self.standing.removal if self.standing else None
        if removal is None or self.has(name):
            need(not (removal and removal["kind"] == "tombstone"), f"{name} is here in spite of it")
            return False
        self.removed.append(name)
        return True

    def check_retention(self) -> None:
        standing = Standing(self.folder, self.opened)
        check_statement_proofs(self.folder, self.opened, standing.statements)
        if standing.removal is None:
            return
        removal = standing.removal
        need(self.sealed, "a deletion of what is not sealed")
        place = (removal["tree_size"], removal["root_hash"])
        need(place == (self.size, self.root_at(self.size).hex()), "a deletion of another tree")
        totals = read_record(self.raw[self.size - 1])["totals"]
        said = (removal["chunk_count"], removal["chunk_bytes"])
        need(said == (totals[0], totals[7]), "a deletion of other chunks")
        if self.removed or standing.gone:
            reason = f"{len(self.removed)} files were removed: {removal['reason']}"
            raise Problem("REDACTED", reason)

    # --- records ---------------------------------------------------------------------------------

    def check_records(self) -> None:
        opened, records = self.opened, []
        for place, data in self.raw.items():
            record = read_record(data)
            records.append(record)
            need(record["index"] == place, f"record {place} says it is {record['index']}")
            need(record["session"] == opened["session"], f"record {place} of another session")
            need((record["type"] == OPEN) == (place == 0), f"record {place}: OPEN")
            need(record["type"] != SEAL or place == self.size - 1, f"record {place}: SEAL")
        shredded = bool(self.standing and (self.standing.removal or {}).get("key_removed"))
        self.shredded = shredded and self.may_be_missing("session.json")
        if not self.shredded:
            need(h(self.file("session.json")) == opened["manifest_blake3"], "session.json")
        for record in records:
            if record["type"] == MARK:
                body = self.file(f"marks/{record['index']:010d}.json")
                need(len(body) == record["body_size"], f"mark {record['index']}: size")
                need(h(body) == record["body_blake3"], f"mark {record['index']}: digest")
        Coverage(self).check(records)

    @cached_property
    def key(self) -> bytes | None:
        return None if self.shredded else unwrap(self.file("session.json"), self.identity)

    def plain(self, record: Record) -> bytes | None:
        """None: it is encrypted, and nobody who may read it is here."""
        encrypted = record["cipher"] == SEALED
        name = f"chunks/{record['index']:010d}." + ("zst" if record["codec"] == 1 else "raw")
        name += ".enc" if encrypted else ""
        if self.shredded:
            need(encrypted, f"{name}: plain, and the key is said to be removed")
        if self.may_be_missing(name):
            return None
        stored = self.file(name)
        need(len(stored) == record["stored_size"], f"{name}: size")
        need(h(stored) == record["stored_blake3"], f"{name}: BLAKE3")
        need(hashlib.sha256(stored).digest() == record["stored_sha256"], f"{name}: SHA-256")
        need(record["plain_size"] <= 2**32, f"{name}: more than 2^32 bytes")
        declares = NAMES[SEALED] if self.shredded else declared(self.file("session.json"))
        need(declares == NAMES[record["cipher"]], f"{name}: session.json declares {declares}")
        if encrypted and self.key is None:
            return None
        if encrypted and self.key:
            where = place_of(1, record["session"], record["index"])
            stored = decrypt(self.key, where, stored)
        plain = inflate(stored, record["plain_size"]) if record["codec"] == 1 else stored
        need(len(plain) == record["plain_size"], f"{name}: plain size")
        digest_ = digest(self.key, plain) if encrypted and self.key else h(plain)
        need(digest_ == record["plain_blake3"], f"{name}: plain BLAKE3")
        return plain

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.check_open,
            self.check_signatures,
            self.check_tree,
            self.check_epochs,
            self.check_records,
            self.check_log,
            self.check_retention,
        ]

    def good(self) -> str:
        """The verdict where there is no problem."""
        if not self.sealed:
            raise Problem("TRUNCATED", "no signed SEAL")
        gaps = read_record(self.raw[self.size - 1])["totals"][1]
        return "COMPLETE_WITH_GAPS" if gaps else "COMPLETE"


class Coverage:
    """Rules 2 to 7 of "What makes a record whole", record by record.

    Behind records that a clip does not show, a stream goes on anywhere: what is known is forgotten.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.whole = True  # until a record is not shown
        self.at: dict[int, list[int]] = {}  # unit and time at which each stream has to go on
        self.from_: dict[int, set[int]] = {}  # records that a chunk without keyframe may name
        self.players: dict[int, Player] = {}
        self.totals = [0] * 8
        self.pulse = [0, 0]  # unit and time of the newest BEAT or EPOCH

    def check(self, records: list[Record]) -> None:
        follow: dict[int, Callable[[Record], None]] = {
            CHUNK: self.chunk,
            GAP: self.gap,
            MARK: self.mark,
            SEAL: self.seal,
            EPOCH: self.epoch,
            BEAT: self.beat,
        }
        expected = 0
        for record in records:
            if record["index"] != expected:
                self.whole, self.at, self.from_, self.players = False, {}, {}, {}
            expected = record["index"] + 1
            if record["type"] in follow:
                follow[record["type"]](record)

    def span(self, record: Record) -> tuple[int, int]:
        span, place = record["span"], record["index"]
        stream, units = span["stream"], span["unit_count"]
        start = [0, 0] if self.whole else [span["first_unit"], span["t0_ns"]]
        unit, time = self.at.get(stream, start)
        need(span["first_unit"] == unit, f"record {place}: unit")
        need(span["t0_ns"] == time <= span["t1_ns"], f"record {place}: time")
        self.at[stream] = [unit + units, span["t1_ns"]]
        return stream, units

    def chunk(self, record: Record) -> None:
        place, (stream, units) = record["index"], self.span(record)
        need(units > 0, f"chunk {place}: no units")
        if record["keyframe"]:
            self.from_[stream] = {place}
        here = self.whole or place != self.folder.size - 1 or place - 1 in self.folder.raw
        named = record["keyframe_index"] in self.from_.get(stream, ())
        need(named or not here, f"chunk {place}: keyframe")  # else it is of a hidden chunk
        self.totals[0] += 1
        self.totals[3] += units
        for n, name in ((5, "raw_size"), (6, "plain_size"), (7, "stored_size")):
            self.totals[n] += record[name]
        player = self.players.setdefault(stream, Player(self.folder.frames))
        plain = self.folder.plain(record)
        if plain is not None and record["frames"] == PACKETS:
            self.folder.frames += read_packets(record, plain)
        elif plain is not None:
            player.play(record, plain)

    def gap(self, record: Record) -> None:
        stream, units = self.span(record)
        dead = record["reason"] == DEAD_LETTER
        before = self.from_.get(stream, set())
        self.from_[stream] = {*before, record["index"]} if dead else set()
        self.players.pop(stream, None)
        self.totals[1] += 1
        self.totals[4] += units

    def mark(self, _: Record) -> None:
        self.totals[2] += 1

    def beat(self, record: Record) -> None:
        self.ends(record)
        unit = self.at.get(0, [0, 0])[0]
        need(record["unit"] >= unit, f"BEAT {record['index']} is behind stream 0")
        need(record["unit"] >= self.pulse[0], f"BEAT {record['index']}: unit steps back")
        self.pulse[0] = record["unit"]
        self.epoch(record)

    def epoch(self, record: Record) -> None:
        time = self.at.get(0, [0, 0])[1]
        need(record["t_ns"] >= time, f"record {record['index']} is behind stream 0")
        need(record["t_ns"] >= self.pulse[1], f"record {record['index']}: time steps back")
        self.pulse[1] = record["t_ns"]

    def seal(self, record: Record) -> None:
        self.ends(record)
        ends = {stream: [unit, time] for stream, unit, time in record["streams"]}
        need(all(end[1] == record["t_ns"] for end in ends.values()), "the end is not covered")
        need(record["t_ns"] >= self.pulse[1], "the SEAL is before the last BEAT or EPOCH")
        need(ends.get(0, [0])[0] >= self.pulse[0], "units of the last BEAT are missing")
        need(not self.whole or record["totals"] == self.totals, "the totals of the SEAL")

    def ends(self, record: Record) -> None:
        found = {stream: [unit, time] for stream, unit, time in record["streams"]}
        need(list(found) == sorted(found), "stream ends that are not ascending")
        need(len(found) == len(record["streams"]), "one stream twice")
        known = found if self.whole else {n: end for n, end in found.items() if n in self.at}
        need(known == self.at, f"record {record['index']}: stream ends")


class Recording(Folder):
    """A whole recording: compact files, a journal, or both."""

    def __init__(self, folder: Path, identity: Path | None = None) -> None:
        super().__init__(folder, identity)
        self.try_(self.read_records)
        self.try_(self.read_checkpoints)

    def journal(self, kind: str) -> dict[int, bytes]:
        files = (self.folder / "journal" / kind).glob("*")
        numbered = [path for path in files if re.fullmatch(r"[0-9]{10,19}", path.name)]
        exact = {int(p.name): p for p in numbered if p.name == f"{int(p.name):010d}"}
        return {n: exact[n].read_bytes() for n in sorted(exact)}

    def read_records(self) -> None:
        journal = self.journal("leaves")
        compact = [n for n in ("records", "checkpoints", "seal") if self.has(n)]
        has_journal = any((self.folder / "journal").rglob("*"))
        if not self.has("records"):
            need(list(journal) == list(range(len(journal))), "a hole in the journal")
            self.raw = journal
        else:
            self.raw = dict(enumerate(read_framed(self.file("records"))))
        lone = f"a sealed folder with {compact} alone"
        need(not compact or len(compact) == 3 or has_journal, lone)
        for index, record in journal.items():
            need(self.raw.get(index) == record, f"journal and records differ at {index}")

    def read_checkpoints(self) -> None:
        compact = self.has("checkpoints")
        if compact:
            self.read_ascending()
        for size, data in self.journal("checkpoints").items():
            note = read_note(data)
            if not compact or note not in self.notes or note.size != size:
                self.place(note, fits=note.size == size and not compact)
        if self.has("seal"):
            self.read_seal()


class Clip(Folder):
    """A part of a recording that proves itself."""

    def __init__(self, folder: Path, identity: Path | None = None) -> None:
        super().__init__(folder, identity)
        self.tree: PartialTree | None = None
        self.try_(self.read_clip)

    def read_clip(self) -> None:
        tree = PartialTree(self.file("clip"))
        records = read_framed(self.file("records"))
        need(len(records) == tree.count, f"{len(records)} records for {tree.count} shown")
        places = (index for begin, end in tree.ranges for index in range(begin, end))
        self.raw = dict(zip(places, records, strict=True))
        self.tree = tree
        self.read_ascending()
        need(self.has("seal") or not self.sealed, "a clip of a sealed session without its seal")
        if self.has("seal"):
            self.read_seal()
            need(self.sealed, "a seal of a session that is not sealed")

    @property
    def size(self) -> int:
        return self.tree.size if self.tree else 0

    def root_at(self, size: int) -> bytes:
        need(self.tree, "no tree")
        return self.tree.root_at(size, self.raw) if self.tree else b""

    def check_shown(self) -> None:
        """Record 0, all EPOCH records, the last record, and one range."""
        need(self.notes and self.notes[-1].size == self.size, "no note for the whole tree")
        need({0, self.size - 1} <= self.raw.keys(), "the first or the last record is hidden")
        rest = self.raw.keys() - self.epochs.keys() - {0, self.size - 1}
        span = range(min(rest, default=0), max(rest, default=-1) + 1)
        need(all(index in self.raw for index in span), "more than one range")

    @cached_property
    def standing(self) -> Standing | None:
        return None

    def check_retention(self) -> None:
        """A clip has no statements, and nothing may be missing from it."""

    def steps(self) -> list[Callable[[], None]]:
        return [self.check_shown, *super().steps()]

    def good(self) -> str:
        return "CLIP"


def check(folder: Path, identity: Path | None = None) -> dict[str, Any]:
    kind = Clip if (folder / "clip").exists() else Recording
    found = kind(folder, identity)
    for step in found.steps():
        found.try_(step)
    verdict = ""
    if not found.problems:
        try:
            verdict = found.good()
        except Problem as problem:
            found.problems.append(problem)
    worst = min(found.problems, key=lambda p: WORST_FIRST.index(p.verdict), default=None)
    return {
        "root_hash": root_of(found),
        "tree_size": found.size,
        "verdict": worst.verdict if worst else verdict,
        "problem": str(worst) if worst else "",
        "frames": found.frames,
    }


def root_of(found: Folder) -> str:
    try:
        return found.root_at(found.size).hex()
    except Problem:
        return ""


if __name__ == "__main__":
    print(json.dumps(check(*map(Path, sys.argv[1:])), indent=2))
