"""The audit trail as docs/format.md has it: bundles against the entries of the log of sessions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reference_format import Bytes, need

AUDIT_ENTRY = 4


def digest(previous: bytes, bundle: bytes) -> bytes:
    return hashlib.sha256(previous + hashlib.sha256(bundle).digest()).digest()


def lines_of(bundle: bytes) -> list[dict[str, Any]]:
    """Its head and its lines, each with the place and the digest of the one before."""
    need(bundle.endswith(b"\n"), "audit: a last line without its end")
    texts = bundle[:-1].split(b"\n")
    lines: list[dict[str, Any]] = [json.loads(text) for text in texts]
    head = lines[0]
    need((head["type"], head["v"]) == ("bundle", 1), "audit: a bundle of another version")
    for place, line in enumerate(lines[1:], start=1):
        need(line["n"] == head["first"] + place - 1, f"audit: line {line['n']} is out of place")
        before = hashlib.sha256(texts[place - 1]).hexdigest()
        need(line["after"] == before, f"audit: line {line['n']} does not follow the one before")
    return lines


def check_audit(folder: Path, recorder: str, entries: Sequence[bytes]) -> int:
    """How many lines there are; what is not there must be said to be too old."""
    last, previous, removed = 0, bytes(32), 0
    missing: list[int] = []
    digests: dict[int, str] = {}
    for entry in entries:
        source = Bytes(entry)
        kind, session = source.number(4), source.take(16)
        if kind != AUDIT_ENTRY:
            continue
        count, entered = source.number(8), source.take(32)
        need(session == bytes(16), "log: an AUDIT entry with a session")
        need(count > last, "log: audit events that grow fewer")
        path = folder / "audit" / f"{last + 1:012d}.jsonl"
        if path.is_file():
            bundle = path.read_bytes()
            need(digest(previous, bundle) == entered, f"audit: {path.name} was changed")
            head, *lines = lines_of(bundle)
            said = (head["recorder"], head["first"], head["previous"])
            need(said == (recorder, last + 1, previous.hex()), f"audit: the head of {path.name}")
            need(len(lines) == count - last, f"audit: {path.name} has another number of lines")
            for line in lines:
                if line["type"] == "aged":
                    need(digests.get(line["through"]) == line["digest"], "audit: what is too old")
                    removed = max(removed, line["through"])
        else:
            missing.append(count)
        last, previous = count, entered
        digests[count] = entered.hex()
    gone = [number for number in missing if number > removed]
    need(not gone, f"audit: the bundles up to line {gone} were taken away")
    return last
