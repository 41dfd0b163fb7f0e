"""What a run left: the streams, the store as a folder, and the keys that were not erased."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from reference_format import Problem, read_framed, read_record
from reference_notes import Note, read_notes

from faults.port_effects import kind_of
from faults.witness import Leaving
from recorder_worker.core.events import Event
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.patrol.place import Place

SPARES = ".tmp"


class Told(NamedTuple):
    """An event as its stream has it."""

    fact: Fact
    sequence: int
    key: str
    event: Any


class LetterFound(NamedTuple):
    """A dead letter that somebody was asked about: `retry`, `drop`, or, by two people, both."""

    letter: str
    stage: str
    asked: str
    settled: list[Any]
    sent: int


@dataclass
class Evidence:
    """Of one run.

    Attributes:
        folder: the data directory.
        identity: a file with the private key of a recipient; None where nothing is encrypted.
        told: every event of every stream but the dead letters and copies.
        waiting: for each consumer, messages that were not delivered, or not acknowledged.
        dead: reasons of dead letters that nobody has asked for.
        copies: what the owner was told, by fact.
        private_keys: the sessions of which a private key is left, whoever keeps it.
        pixels: for each unit that the source gave, BLAKE3 of its pixels.
        lost: the units that the source did not give.
        entries: the newest entry of the table of sessions for each session.
        second: the second store; None: there is none.
        before_hold, under_hold: files of sessions, when a hold began and when it was to end.
        removed: the sessions that were to be deleted.
        commands: how many were to be obeyed, and how many to be refused.
        uncopied: of whose facts those who copy never heard: what is copied, was found by the sweep.
        offloaded: the sessions whose chunks were to leave the first store for the second.
        refused: chunks that were here when a copy was not what was signed, and their time was over.
        damaged: chunks that were damaged on purpose, and who was to tell so.
        left: chunks that were deleted here, as the second store had them then.
        letters: what became of the dead letters that somebody was asked about.
        stamped: whether an authority was to stamp every checkpoint of the log.
    """

    folder: Path
    identity: Path | None
    told: list[Told]
    pixels: dict[int, str]
    lost: frozenset[int] = frozenset()
    waiting: dict[str, int] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    copies: dict[str, list[Fact]] = field(default_factory=dict)
    private_keys: list[str] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)
    second: Path | None = None
    before_hold: dict[str, bytes] = field(default_factory=dict)
    under_hold: dict[str, bytes] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    commands: tuple[int, int] = (2, 1)
    uncopied: bool = False
    offloaded: frozenset[str] = frozenset()
    refused: list[str] = field(default_factory=list)
    damaged: tuple[Any, ...] = ()
    left: list[Leaving] = field(default_factory=list)
    letters: list[LetterFound] = field(default_factory=list)
    stamped: bool = False

    def of(self, fact: Fact, session_id: str = "") -> list[Told]:
        """The events of a fact, in the order of their stream."""
        return [
            told
            for told in self.told
            if told.fact is fact
            and (not session_id or getattr(told.event, "session_id", "") == session_id)
        ]

    @cached_property
    def sessions(self) -> list[str]:
        """Every session that was started."""
        return sorted({told.event.session_id for told in self.of(Fact.STARTED)})

    def session(self, session_id: str) -> Path:
        return self.folder / "sessions" / session_id

    def shown(self, session_id: str) -> Path:
        """Where all of a session is: its folder, or its copy where its chunks have left."""
        if session_id in self.offloaded - self.removed and self.second is not None:
            return self.second / "sessions" / session_id
        return self.session(session_id)

    @property
    def place(self) -> Place | None:
        """Where the patrol is, and what it knows; None: there was none."""
        path = self.folder / "patrol" / "place"
        return msgspec.json.decode(path.read_bytes(), type=Place) if path.is_file() else None

    def records(self, session_id: str) -> list[dict[str, Any]]:
        """The records of a session, out of `records` or out of its journal; none: []."""
        folder = self.session(session_id)
        try:
            if (folder / "records").is_file():
                raw = read_framed((folder / "records").read_bytes())
            else:
                raw = [path.read_bytes() for path in sorted((folder / "journal/leaves").glob("*"))]
            return [{**read_record(data), "raw": data} for data in raw]
        except Problem:
            return []

    def notes(self, session_id: str) -> list[Note]:
        folder = self.session(session_id)
        files = [folder / "checkpoints", *sorted((folder / "journal/checkpoints").glob("*"))]
        return [note for path in files if path.is_file() for note in read_notes(path.read_bytes())]

    def files(self) -> dict[str, bytes]:
        """Every file by its key."""
        return _files(self.folder)

    def copied_files(self) -> dict[str, bytes]:
        """Every file of the second store by its key."""
        return _files(self.second) if self.second else {}


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def units_of(spans: Iterable[Any]) -> list[int]:
    """Every unit of spans, as often as it is in one."""
    return [
        unit for span in spans for unit in range(span.first_unit, span.first_unit + span.unit_count)
    ]


def chunk_name(record: dict[str, Any]) -> str:
    """The name of a chunk in its session's folder, by its record."""
    name = f"chunks/{record['index']:010d}." + ("zst" if record["codec"] == 1 else "raw")
    return name + (".enc" if record["cipher"] == 2 else "")


def is_event(found: object, *kinds: type[Event]) -> bool:
    return isinstance(found, kinds)


__all__ = [
    "SPARES",
    "Evidence",
    "LetterFound",
    "Told",
    "chunk_name",
    "is_event",
    "kind_of",
    "units_of",
]
