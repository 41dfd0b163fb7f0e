"""Statements of retention, as docs/format.md has them: who held what, and what was removed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_format import ED25519, Problem, Record, need
from reference_notes import SIGNATURE, key_id, verifies

TITLE = "session-recorder retention v1"
KINDS = {"hold": 5, "release": 6, "delete": 7, "tombstone": 8}
HOLD_FIELDS = ["kind", "name", "by", "reason", "command_id", "wall_ns"]
REMOVAL_FIELDS = [
    *("kind", "by", "reason", "rule", "limit", "command_id", "begun_ns", "tree_size"),
    *("root_hash", "chunk_count", "chunk_bytes", "key_removed"),
]
FIELDS = {
    "hold": HOLD_FIELDS,
    "release": HOLD_FIELDS,
    "delete": REMOVAL_FIELDS,
    "tombstone": [*REMOVAL_FIELDS, "wall_ns"],
}
RULES = {"command", "max_age_s", "max_total_bytes", "retain_s"}
NUMBERS = {"limit", "begun_ns", "tree_size", "chunk_count", "chunk_bytes", "wall_ns"}


@dataclass(frozen=True)
class Statement:
    number: int
    says: dict[str, Any]
    text: bytes
    signed: bytes
    key_id: bytes
    raw: bytes

    @property
    def kind(self) -> str:
        return str(self.says["kind"])


def json_line(says: dict[str, Any]) -> str:
    return json.dumps(says, separators=(",", ":"), ensure_ascii=False)


def read_statement(data: bytes, opened: Record) -> Statement:
    """One statement about this session, in its one encoding; not verified yet."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("TAMPERED", "a statement that is not UTF-8") from error
    lines = text.split("\n")
    title = "TAMPERED" if not lines[0].startswith(TITLE[:-1]) else "UNSUPPORTED"
    need(lines[0] == TITLE, f"a statement that begins {lines[0]!r}", title)
    need(len(lines) == 9 and not lines[6] and not lines[8], "no statement of six lines")
    need(lines[1] == opened["recorder"], "a statement of another recorder")
    need(lines[2] == opened["session"], "a statement about another session")
    need(re.fullmatch(r"[1-9][0-9]{0,3}", lines[3]), "the number of a statement")
    need(re.fullmatch(r"[0-9a-f]{64}", lines[4]), "the digest of the statement before")
    says = read_saying(lines[5])
    name = f"{opened['recorder']}/log"
    mark, found, encoded = (*lines[7].split(" "), "", "")[:3]
    try:
        signature = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise Problem("TAMPERED", "bad base64 in a statement") from error
    need(base64.b64encode(signature).decode() == encoded, "base64 that is not canonical")
    need((mark, found, len(signature)) == ("—", name, 68), "the signature line of a statement")
    need(lines[7] == f"— {name} {encoded}", "bytes behind a signature")
    signed_text = "".join(f"{line}\n" for line in lines[:6]).encode()
    return Statement(
        number=int(lines[3]),
        says=says,
        text=signed_text,
        signed=signature[4:],
        key_id=signature[:4],
        raw=data,
    )


def read_saying(line: str) -> dict[str, Any]:
    try:
        says: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise Problem("TAMPERED", "a statement without JSON") from error
    need(isinstance(says, dict) and says.get("kind") in FIELDS, "a statement of unknown kind")
    need(list(says) == FIELDS[says["kind"]], "the fields of a statement")
    need(json_line(says) == line, "JSON that is not in its one encoding")
    for name, value in says.items():
        if name in NUMBERS:
            need(type(value) is int and 0 <= value < 2**63, f"a statement's {name}")
        elif name == "key_removed":
            need(type(value) is bool, "a statement's key_removed")
        else:
            need(isinstance(value, str), f"a statement's {name}")
    need(1 <= len(says["reason"]) <= 1024, "a statement without a reason")
    need(1 <= len(says.get("name", "x")) <= 64, "a hold without a name")
    need(len(says["by"]) <= 256 and len(says["command_id"]) <= 256, "a long name")
    if "rule" in says:
        need(says["rule"] in RULES and says["tree_size"] > 0, "the rule of a deletion")
        need(re.fullmatch(r"[0-9a-f]{64}", says["root_hash"]), "the root of a deletion")
    return says


class Standing:
    """What the statements of a recording come to; `removal` is a tombstone, or a deletion."""

    def __init__(self, folder: Path, opened: Record) -> None:
        self.holds: dict[str, dict[str, Any]] = {}
        self.removal: dict[str, Any] | None = None
        self.statements: list[Statement] = []
        inside = folder / "retention"
        files = [] if inside.is_symlink() else sorted(inside.glob("*"))
        files = [path for path in files if re.fullmatch(r"[0-9]{4}", path.name)]
        names = [path.name for path in files if path.is_symlink() or not path.is_dir()]
        expected = [f"{number:04d}" for number in range(1, len(names) + 1)]
        need(names == expected, f"statements {names}")
        for name in names:
            need(not (inside / name).is_symlink(), f"{name}: a link, which carries no statement")
            self.add(read_statement((inside / name).read_bytes(), opened), opened)

    def add(self, statement: Statement, opened: Record) -> None:
        before = self.statements[-1].raw if self.statements else None
        digest = hashlib.sha256(before).hexdigest() if before else "0" * 64
        need(statement.number == len(self.statements) + 1, "the number of a statement")
        need(statement.text.decode().split("\n")[4] == digest, "a statement behind another one")
        public = opened["device_keys"][0][1]
        name = f"{opened['recorder']}/log"
        right = statement.key_id == key_id(name, SIGNATURE, public)
        right = right and verifies(ED25519, public, statement.text, statement.signed)
        need(right, f"statement {statement.number}: not signed by the device")
        getattr(self, statement.kind)(statement.says)
        self.statements.append(statement)

    def hold(self, says: dict[str, Any]) -> None:
        need(self.removal is None, "a hold behind a deletion")
        need(says["name"] not in self.holds, "a hold that holds already")
        self.holds[says["name"]] = says

    def release(self, says: dict[str, Any]) -> None:
        need(self.removal is None and says["name"] in self.holds, "a release of nothing")
        del self.holds[says["name"]]

    def delete(self, says: dict[str, Any]) -> None:
        need(self.removal is None and not self.holds, "a deletion of what is held or deleted")
        self.removal = says

    def tombstone(self, says: dict[str, Any]) -> None:
        ends = {**says, "kind": "delete"}
        del ends["wall_ns"]
        need(ends == self.removal, "a tombstone of no deletion before it")
        self.removal = says

    @property
    def gone(self) -> bool:
        """All of it is said to be gone."""
        return self.removal is not None and self.removal["kind"] == "tombstone"
