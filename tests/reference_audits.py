"""Logs in `tests/vectors/logs` with an audit trail: good ones, and what is done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from reference_audit import AUDIT_ENTRY, digest
from reference_format import ED25519
from reference_good import vector
from reference_logs import files_of, sessions
from reference_signing import Key, SignatureStore
from reference_writer import RECORDER, Files, Writer

MADE_NS = 1_764_000_000_000_000_000
MINUTE_NS = 60 * 10**9
Bundle = tuple[str, bytes]


def text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(number: int, session: str) -> dict[str, Any]:
    """A message: somebody was let in."""
    body = {
        "type": "command_accepted",
        "v": 1,
        "actor": f"kim-{number}",
        "role": "USER",
        "token_id": "",
        "session_id": session,
        "node": "vm",
        "wall_ns": MADE_NS + number,
        "command": "session.stop",
        "command_id": f"c{number}",
        "command_blake3": f"{number:064x}",
    }
    return {
        "type": "event",
        "subject": "audit.command.accepted",
        "sequence": number,
        "stored_ns": MADE_NS + number,
        "message_id": f"m{number}",
        "event": body,
    }


class Trail:
    """The bundles of a recorder, and their entries."""

    def __init__(self, store: SignatureStore, recorder: str = RECORDER) -> None:
        self.bundles: list[Bundle] = []
        self.entries: list[bytes] = []
        self.last, self.digest = 0, bytes(32)
        self._recorder = recorder
        self._key = Key("device", ED25519, store).public.hex()

    def bind(self, lines: Sequence[dict[str, Any]]) -> Trail:
        """One more bundle."""
        head = {
            "type": "bundle",
            "v": 1,
            "recorder": self._recorder,
            "first": self.last + 1,
            "previous": self.digest.hex(),
            "made_ns": MADE_NS + MINUTE_NS * len(self.bundles),
            "device_key": self._key,
        }
        data = linked(head, self.last + 1, lines)
        self.bundles.append((f"audit/{self.last + 1:012d}.jsonl", data))
        self.last += len(lines)
        self.digest = digest(self.digest, data)
        counter = self.last.to_bytes(8, "big")
        self.entries.append(AUDIT_ENTRY.to_bytes(4, "big") + bytes(16) + counter + self.digest)
        return self

    def change(self, number: int, data: bytes) -> None:
        self.bundles[number] = (self.bundles[number][0], data)


def linked(head: dict[str, Any], first: int, lines: Sequence[dict[str, Any]]) -> bytes:
    """The text of a bundle: each line has its number and the digest of the line before."""
    texts = [text(head)]
    for number, line in enumerate(lines, start=first):
        after = hashlib.sha256(texts[-1]).hexdigest()
        kind, rest = line["type"], {name: line[name] for name in line if name != "type"}
        texts.append(text({"type": kind, "n": number, "after": after, **rest}))
    return b"".join(line + b"\n" for line in texts)


def audited(
    store: SignatureStore, recorder: str = RECORDER
) -> tuple[list[Writer], list[bytes], Trail]:
    """Two sessions, three bundles, and the entries of both in the order in which they came."""
    writers = sessions(store, (1, 2))
    trail = Trail(store, recorder)
    for begin in (1, 4, 6):
        count = 3 if begin == 1 else 2
        trail.bind([event(n, writers[0].session) for n in range(begin, begin + count)])
    opened, sealed = writers[0].entries()
    one, two, three = trail.entries
    return writers, [one, opened, two, sealed, *writers[1].entries(), three], trail


def with_trail(store: SignatureStore, trail: Trail, entries: Sequence[bytes]) -> Files:
    return {**files_of(store, sessions(store, (1, 2)), entries), **dict(trail.bundles)}


@vector("logs/good", "COMPLETE")
def audit_trail(store: SignatureStore) -> Files:
    """Two sessions, and three bundles of audit events among their entries."""
    _, entries, trail = audited(store)
    return with_trail(store, trail, entries)


@vector("logs/good", "COMPLETE")
def audit_trail_whose_begin_is_too_old(store: SignatureStore) -> Files:
    """The first bundle is gone, and a later one says that it was too old."""
    _, entries, trail = audited(store)
    aged = {"type": "aged", "through": 3, "digest": trail.entries[0][-32:].hex()}
    gap = {"reason": "stream_cut", "missing": 0, "from_ns": 1, "to_ns": 2, "resume": 0}
    trail.bind([{"type": "gap", **gap}, {**aged, "max_age_s": 7_776_000}])
    files = with_trail(store, trail, [*entries, trail.entries[-1]])
    del files[trail.bundles[0][0]]
    return files


@vector("logs/tampered", "TAMPERED")
def audit_event_changed(store: SignatureStore) -> Files:
    """Somebody else is said to have stopped the session."""
    _, entries, trail = audited(store)
    trail.change(1, trail.bundles[1][1].replace(b"kim-4", b"bob-4"))
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_event_changed_and_linked_anew(store: SignatureStore) -> Files:
    """The same, and all links of the bundle fit again: only its digest does not."""
    writers, entries, trail = audited(store)
    other = Trail(store).bind([event(n, writers[0].session) for n in (1, 2, 3)])
    other.bind([event(9, writers[0].session), event(5, writers[0].session)])
    trail.change(1, other.bundles[1][1])
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_event_removed(store: SignatureStore) -> Files:
    """A line is not there."""
    _, entries, trail = audited(store)
    lines = trail.bundles[0][1].splitlines(keepends=True)
    trail.change(0, b"".join([*lines[:2], *lines[3:]]))
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_events_reordered(store: SignatureStore) -> Files:
    """Two lines have changed places."""
    _, entries, trail = audited(store)
    head, one, two, three = trail.bundles[0][1].splitlines(keepends=True)
    trail.change(0, head + two + one + three)
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_bundle_removed(store: SignatureStore) -> Files:
    """The first bundle is not there, and nothing says that it was too old."""
    _, entries, trail = audited(store)
    del trail.bundles[0]
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_bundle_of_another_recorder(store: SignatureStore) -> Files:
    """A bundle of another recorder is in the place of this one's."""
    _, entries, trail = audited(store)
    _, _, theirs = audited(store, "another-recorder")
    trail.change(0, theirs.bundles[0][1])
    return with_trail(store, trail, entries)


@vector("logs/tampered", "TAMPERED")
def audit_entry_left_out(store: SignatureStore) -> Files:
    """The log was signed anew without the entry of the second bundle."""
    _, entries, trail = audited(store)
    return with_trail(store, trail, [entry for entry in entries if entry != trail.entries[1]])
