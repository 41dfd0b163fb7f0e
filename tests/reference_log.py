"""The log of sessions, its proofs and receipts, as docs/format.md has them.

`python tests/reference_log.py DIR` holds `DIR/log` against `DIR/sessions` and `DIR/audit`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from reference_audit import AUDIT_ENTRY, check_audit
from reference_format import (
    OPEN,
    Bytes,
    Problem,
    Record,
    need,
    read_framed,
    read_record,
    root,
    root_of_inclusion,
)
from reference_notes import (
    Note,
    canonical,
    read_note,
    read_notes,
    verify_log_checkpoint,
)
from reference_retention import KINDS, Standing, Statement

OPEN_ENTRY, SEAL_ENTRY = 1, 3
DELETE_ENTRY = KINDS["delete"]
FIRST_LINE = "c2sp.org/tlog-proof@v1"
CHAIN = "session-recorder anchor receipt v1"
OTS_MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01\x08"
SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
SHA256_OID = bytes.fromhex("608648016503040201")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True)
class Proof:
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note


def read_proof(data: bytes) -> Proof:
    """c2sp.org/tlog-proof, without `extra`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("TAMPERED", "a proof that is not UTF-8") from error
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    need(blank and lines[0] == FIRST_LINE and len(lines) > 1, "no tlog-proof")
    index = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[1])
    if index is None:
        raise Problem("TAMPERED", "no index in a tlog-proof")
    hashes = tuple(canonical(line) for line in lines[2:])
    need(all(len(value) == 32 for value in hashes), "a hash that has not 32 bytes")
    return Proof(int(index[1]), hashes, read_note(note.encode()))


def entry_of(opened: Record, kind: int, note: bytes) -> bytes:
    counter: int = opened["session_counter"]
    session = uuid.UUID(opened["session"]).bytes
    return kind.to_bytes(4, "big") + session + counter.to_bytes(8, "big") + sha256(note)


def verify_proof(proof: Proof, opened: Record, entry: bytes) -> None:
    verify_log_checkpoint(proof.checkpoint, opened["recorder"], opened["device_keys"][0][1])
    size = proof.checkpoint.size
    found = root_of_inclusion(entry, proof.index, size, proof.hashes, sha256)
    need(found == proof.checkpoint.root, "the entry is not in the log that its proof names")


# --- receipts ------------------------------------------------------------------------------------


def der(data: bytes) -> list[tuple[int, bytes]]:
    """The elements that stand one behind the other in DER: tag and content."""
    found, source = [], Bytes(data)
    while source.at < len(data):
        tag, size = source.number(1), source.number(1)
        found.append((tag, source.take(source.number(size & 127) if size & 128 else size)))
    return found


def imprint_of_timestamp(data: bytes) -> bytes:
    """What an RFC 3161 response or token is over: messageImprint of its TSTInfo, with SHA-256."""
    try:
        need(len(der(data)) == 1, "bytes behind a time-stamp")
        outer = der(der(data)[0][1])
        content = outer if outer[0][1] == SIGNED_DATA else der(outer[1][1])
        signed_data = der(der(content[1][1])[0][1])
        info = der(der(der(signed_data[2][1])[1][1])[0][1])
        algorithm, imprint = der(der(info[0][1])[2][1])
        need(der(algorithm[1])[0][1] == SHA256_OID, "a time-stamp over another hash")
    except (IndexError, ValueError) as error:
        raise Problem("TAMPERED", "no RFC 3161 time-stamp") from error
    return imprint[1]


def imprint_of_ots(data: bytes) -> bytes:
    need(data.startswith(OTS_MAGIC), "no detached OpenTimestamps proof over SHA-256")
    need(len(data) > len(OTS_MAGIC) + 32, "an OpenTimestamps proof that ends early")
    return data[len(OTS_MAGIC) :][:32]


def imprint_of_chain(data: bytes) -> bytes:
    """Of an entry of an anchor's own chain, once its signature is verified."""
    text, _, line = data.decode().partition("\n\n")
    lines = text.split("\n")
    need(len(lines) == 9 and lines[0] == CHAIN, "no anchor receipt of version 1")
    name, key_id, key = lines[1].split("+", 2)
    typed = base64.b64decode(key, validate=True)
    need(typed[0] == 1 and len(typed) == 33, "no Ed25519 key")
    signed = base64.b64decode(line.removeprefix(f"— {name} ").removesuffix("\n"), validate=True)
    digest = sha256(f"{name}\n".encode() + typed)
    need(signed[:4] == digest[:4] == bytes.fromhex(key_id), "a key id that is not the key's")
    try:
        Ed25519PublicKey.from_public_bytes(typed[1:]).verify(signed[4:], f"{text}\n".encode())
    except InvalidSignature:
        raise Problem("TAMPERED", "an anchor receipt that its key did not sign") from None
    return bytes.fromhex(lines[5])


IMPRINT: dict[str, Callable[[bytes], bytes]] = {
    "tsr": imprint_of_timestamp,
    "ots": imprint_of_ots,
    "chain": imprint_of_chain,
}


# --- what a recording says of the log ------------------------------------------------------------


def check_time_of_open(opened: Record) -> None:
    """The checkpoints in OPEN are the log's, and its time-stamp is over one of them.

    The device may have had another key by then, so it is not held who signed them: OPEN's own
    signatures vouch for their bytes.
    """
    for name in ("beacon", "timestamped"):
        if opened[name]:
            origin = read_note(opened[name]).origin
            need(origin == f"{opened['recorder']}/log", f"OPEN: {name} of another log")
    need(bool(opened["timestamp"]) == bool(opened["timestamped"]), "a time-stamp of nothing")
    if opened["timestamp"]:
        over = imprint_of_timestamp(opened["timestamp"])
        need(over == sha256(opened["timestamped"]), "OPEN: a time-stamp over something else")


def check_proofs(
    folder: Path, opened: Record, notes: Sequence[Note], *, sealed: bool
) -> dict[int, bytes]:
    """The log's checkpoints in `proofs`, by size, once the proofs are verified."""
    found: dict[int, bytes] = {}
    first = [note for note in notes if note.size == 1]
    last = [notes[-1]] if sealed else []
    index = -1
    for name, kind, entered in (("open", OPEN_ENTRY, first), ("seal", SEAL_ENTRY, last)):
        path = folder / "proofs" / name
        if not path.is_file():
            continue
        proof = read_proof(path.read_bytes())
        need(entered, f"proofs/{name}: the checkpoint that it is about is not here")
        verify_proof(proof, opened, entry_of(opened, kind, entered[0].raw))
        need(proof.index > index, "the entry of the seal is not behind that of the begin")
        index = proof.index
        if kind == OPEN_ENTRY and opened["beacon"]:
            need(index >= read_note(opened["beacon"]).size, "OPEN names a log that holds it")
        log, size = proof.checkpoint.raw, proof.checkpoint.size
        same = size not in found or read_note(found[size]).root == proof.checkpoint.root
        need(same, f"two roots of the log for size {size}", "EQUIVOCATION")
        found[size] = log
    return found


def check_statement_proofs(folder: Path, opened: Record, statements: Sequence[Statement]) -> None:
    """Those that are there: each shows that its statement is in the log."""
    for statement in statements:
        path = folder / "proofs" / f"retention-{statement.number:04d}"
        if path.is_file():
            entry = entry_of(opened, KINDS[statement.kind], statement.raw)
            verify_proof(read_proof(path.read_bytes()), opened, entry)


def check_receipts(folder: Path, checkpoints: dict[int, bytes]) -> None:
    """A receipt is over the checkpoint that its name says; where that is not here, over nothing."""
    for path in sorted((folder / "receipts").glob("*")):
        match = re.fullmatch(r"([0-9]{20})\.(?:[0-9a-f]{16}\.)?(tsr|ots|chain)", path.name)
        if match is None or int(match[1]) not in checkpoints:
            continue
        size = int(match[1])
        over = IMPRINT[match[2]](path.read_bytes())
        need(over == sha256(checkpoints[size]), f"receipts/{path.name}: over something else")


# --- the log itself ------------------------------------------------------------------------------


def tile_name(number: int) -> str:
    """1234067 is x001/x234/067."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def read_tile(folder: Path, level: str, number: int, width: int) -> bytes:
    """A tile of `width`; the full one serves where the partial one was deleted."""
    name = folder / "tile" / level / tile_name(number)
    partial = name.parent / f"{name.name}.p" / str(width)
    path = partial if width < 256 and partial.is_file() else name
    need(path.is_file(), f"log: tile {level}/{number} of width {width} is missing")
    return path.read_bytes()


def read_entries(folder: Path, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for number in range(-(-size // 256)):
        source = Bytes(read_tile(folder, "entries", number, min(256, size - number * 256)))
        while source.at < len(source.data):
            entries.append(source.blob())
    need(len(entries) >= size, "log: entries are missing")
    return entries[:size]


def check_tiles(folder: Path, entries: list[bytes]) -> None:
    """MTH(D[i * 256^level : (i + 1) * 256^level]) for each hash of each tile."""
    level, hashes = 0, [sha256(b"\x00" + entry) for entry in entries]
    while hashes:
        for at in range(0, len(hashes), 256):
            expected = b"".join(hashes[at : at + 256])
            found = read_tile(folder, str(level), at // 256, len(expected) // 32)
            need(found[: len(expected)] == expected, f"log: tile {level}/{at // 256}")
        full = 256 ** (level := level + 1)
        hashes = [root(entries[n * full : (n + 1) * full], sha256) for n in range(len(hashes) >> 8)]


def recordings(folder: Path) -> dict[str, tuple[Record, list[Note]]]:
    """OPEN and the notes of every recording, by session id."""
    found = {}
    for path in sorted((folder / "sessions").glob("*")):
        if (path / "records").is_file():
            first = read_framed((path / "records").read_bytes())[0]
            notes = read_notes((path / "checkpoints").read_bytes())
        elif (path / "journal/leaves/0000000000").is_file():
            first = (path / "journal/leaves/0000000000").read_bytes()
            files = sorted((path / "journal/checkpoints").glob("*"))
            notes = [read_note(file.read_bytes()) for file in files]
        else:
            continue
        opened = read_record(first)
        need(opened["type"] == OPEN and opened["session"] == path.name, f"{path.name}: OPEN")
        found[path.name] = (opened, notes)
    return found


def check_statements(
    folder: Path,
    sessions: dict[str, tuple[Record, list[Note]]],
    stated: dict[str, list[tuple[int, bytes]]],
) -> None:
    """The statements in every folder are those in the log, in their order."""
    for session, (opened, _) in sessions.items():
        found = Standing(folder / "sessions" / session, opened).statements
        kept = [(KINDS[statement.kind], sha256(statement.raw)) for statement in found]
        need(kept == stated.get(session, []), f"{session}: other statements than in the log")


def check_entries(
    folder: Path, entries: list[bytes], sessions: dict[str, tuple[Record, list[Note]]]
) -> None:
    opens: dict[int, str] = {}
    seals: dict[str, bytes] = {}
    stated: dict[str, list[tuple[int, bytes]]] = {}
    for place, entry in enumerate(entries):
        need(len(entry) == 60, f"log: entry {place} has not 60 bytes")
        source = Bytes(entry)
        kind, session = source.number(4), str(uuid.UUID(bytes=source.take(16)))
        if kind == AUDIT_ENTRY:
            continue
        counter, note = source.number(8), source.take(32)
        known = {OPEN_ENTRY, SEAL_ENTRY, *KINDS.values()}
        need(kind in known, f"log: entry {place} of kind {kind}", "UNSUPPORTED")
        need(session in sessions, f"the recording {session} was taken away")
        opened, notes = sessions[session]
        need(opened["session_counter"] == counter, f"log: entry {place}: session counter")
        if kind in KINDS.values():
            need(opens.get(counter) == session, f"log: entry {place} of no session")
            need(kind != DELETE_ENTRY or session in seals, f"log: entry {place} deletes unsealed")
            stated.setdefault(session, []).append((kind, note))
            continue
        if kind == OPEN_ENTRY:
            need(counter not in opens, f"log: counter {counter} twice")
            opens[counter] = session
            previous = opened["previous_seal"]
            need(previous in {bytes(32), *seals.values()}, f"{session}: previous seal")
        else:
            need(opens.get(counter) == session and session not in seals, f"log: entry {place}")
            seals[session] = note
        entered = notes[0] if kind == OPEN_ENTRY else notes[-1]
        need(sha256(entered.raw) == note, f"log: entry {place}: {session} has another checkpoint")
    check_statements(folder, sessions, stated)
    holes = set(range(1, max(opens, default=0) + 1)) - opens.keys()
    need(not holes, f"sessions {sorted(holes)} are not in the log")
    need(sessions.keys() <= set(opens.values()), "a recording that is not in the log")


def check_log(folder: Path) -> dict[str, Any]:
    """Hold `log` against `sessions` beside it."""
    try:
        sessions = recordings(folder)
        note = read_note((folder / "log/checkpoint").read_bytes())
        for opened, _ in sessions.values():
            verify_log_checkpoint(note, opened["recorder"], opened["device_keys"][0][1])
        need(sessions, "no recording names the key of the log")
        entries = read_entries(folder / "log", note.size)
        need(root(entries, sha256) == note.root, "log: the root")
        check_tiles(folder / "log", entries)
        check_entries(folder, entries, sessions)
        check_audit(folder, note.origin.removesuffix("/log"), entries)
    except Problem as problem:
        return {"verdict": problem.verdict, "problem": str(problem)}
    return {"verdict": "COMPLETE", "problem": "", "size": note.size, "root_hash": note.root.hex()}


if __name__ == "__main__":
    print(json.dumps(check_log(Path(sys.argv[1])), indent=2))
