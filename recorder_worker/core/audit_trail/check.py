"""The bundles of an audit trail against the entries of the log of sessions.

The log says how many events there are and what the digest over them is, entry by entry. So each
bundle is checked alone: it must give its entry's digest out of that of the entry before. What is
missing is missing, unless a bundle that was entered later says that it was too old.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import (
    MAX_BUNDLE_SIZE,
    START,
    Bundle,
    chained,
    parse_bundle,
)
from recorder_worker.core.audit_trail.diagnosis import diagnose
from recorder_worker.core.audit_trail.lines import AgedLine, GapLine
from recorder_worker.core.errors import BlobMissingError, FormatError, RecorderError
from recorder_worker.core.session_log.entries import EntryKind, LogEntry

SHOWN = 20
"""So many missing bundles are named one by one."""


class Bundles(Protocol):
    """The files of a trail."""

    def bundle_keys(self) -> Iterable[str]:
        """The keys of all files that are there (core/keys.py), in any order."""
        ...

    def read_bundle(self, key: str, limit: int) -> bytes:
        """The bytes of one of at most `limit`. Raises BlobMissingError or another RecorderError."""
        ...


class TrailProblem(StrEnum):
    """What can be wrong."""

    MISSING = "audit events missing"
    CHANGED = "audit events changed"


class TrailFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    problem: TrailProblem
    detail: str


class TrailReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found.

    Attributes:
        entries: of the trail in the log; `last` is the number of its last line.
        bundles: those that are there, and are the ones that were entered.
        events: messages in them; `gaps` are losses that the recorder itself wrote down.
        aged: the last number of what was removed because of its age, and said to be; 0: nothing.
        device_keys: the public keys that the bundles name as those that sign the log.
    """

    entries: int = 0
    last: int = 0
    bundles: int = 0
    events: int = 0
    gaps: int = 0
    aged: int = 0
    device_keys: tuple[str, ...] = ()
    findings: tuple[TrailFinding, ...] = ()
    warnings: tuple[str, ...] = ()


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of one bundle: the numbers of its lines, and the digests around it."""

    index: int
    numbers: range
    previous: bytes
    digest: bytes

    @property
    def key(self) -> str:
        return keys.audit_bundle(self.numbers.start)

    @property
    def named(self) -> str:
        last = self.numbers.stop - 1
        return f"{self.key} (events {self.numbers.start} to {last}, log entry {self.index})"


def check_trail(entries: Sequence[LogEntry], bundles: Bundles, recorder: str) -> TrailReport:
    """Check all bundles that are there, and find those that are not."""
    return _Check(bundles, recorder).report(list(_places(entries)))


def _places(entries: Sequence[LogEntry]) -> Iterator[_Place]:
    """A log whose numbers do not grow is broken in itself: its rules say so, not this."""
    last, digest = 0, START
    for index, entry in enumerate(entries):
        if entry.kind is EntryKind.AUDIT and entry.counter > last:
            numbers = range(last + 1, entry.counter + 1)
            yield _Place(index=index, numbers=numbers, previous=digest, digest=entry.note_sha256)
            last, digest = entry.counter, entry.note_sha256


class _Check:
    def __init__(self, bundles: Bundles, recorder: str) -> None:
        self._bundles = bundles
        self._recorder = recorder
        self._findings: list[TrailFinding] = []
        self._missing: list[_Place] = []
        self._aged: list[AgedLine] = []
        self._keys: dict[str, None] = {}
        self._good = self._events = self._gaps = 0

    def report(self, places: list[_Place]) -> TrailReport:
        for place in places:
            bundle = self._read(place)
            if bundle is not None:
                self._good += 1
                self._keys[bundle.head.device_key] = None
                self._events += sum(1 for _ in bundle.events)
                self._gaps += sum(isinstance(line, GapLine) for line in bundle.lines)
                self._aged += [line for line in bundle.lines if isinstance(line, AgedLine)]
        digests = {place.numbers.stop - 1: place.digest.hex() for place in places}
        aged = [line.through for line in self._aged if digests.get(line.through) == line.digest]
        removed = max(aged, default=0)
        self._find_missing([p for p in self._missing if p.numbers.stop - 1 > removed])
        last = places[-1].numbers.stop - 1 if places else 0
        return TrailReport(
            entries=len(places),
            last=last,
            bundles=self._good,
            events=self._events,
            gaps=self._gaps,
            aged=removed,
            device_keys=tuple(self._keys),
            findings=tuple(self._findings),
            warnings=tuple(self._strange({place.key for place in places}, last + 1)),
        )

    def _read(self, place: _Place) -> Bundle | None:
        """The bundle, if it is the one that was entered."""
        try:
            data = self._bundles.read_bundle(place.key, MAX_BUNDLE_SIZE)
        except BlobMissingError:
            self._missing.append(place)
            return None
        except RecorderError as error:
            self._find(TrailProblem.CHANGED, f"{place.named}: {error}")
            return None
        if chained(place.previous, data) != place.digest:
            found = diagnose(
                data, recorder=self._recorder, previous=place.previous, numbers=place.numbers
            )
            for text in found:
                self._find(TrailProblem.CHANGED, f"{place.named}: {text}")
            return None
        try:
            bundle = parse_bundle(data)
        except FormatError as error:
            self._find(TrailProblem.CHANGED, f"{place.named}: it was entered, and is none: {error}")
            return None
        said = (bundle.head.recorder, bundle.head.first, bundle.last)
        wanted = (self._recorder, place.numbers.start, place.numbers.stop - 1)
        if said != wanted:
            self._find(TrailProblem.CHANGED, f"{place.named}: it says {said}, the log {wanted}")
            return None
        return bundle

    def _find_missing(self, places: Sequence[_Place]) -> None:
        for place in places[:SHOWN]:
            self._find(
                TrailProblem.MISSING,
                f"{place.named} is not there, and no later bundle says that it was too old",
            )
        if len(places) > SHOWN:
            self._find(TrailProblem.MISSING, f"and {len(places) - SHOWN} bundles more")

    def _find(self, problem: TrailProblem, detail: str) -> None:
        self._findings.append(TrailFinding(problem=problem, detail=detail))

    def _strange(self, known: set[str], following: int) -> Iterator[str]:
        proofs = f"{keys.AUDIT}/{keys.AUDIT_PROOFS}/"
        for key in sorted(self._bundles.bundle_keys()):
            if key == keys.audit_bundle(following):
                yield f"{key}: not entered in the log yet; a recorder that runs will do so"
            elif key not in known and not key.startswith(proofs):
                yield f"{key}: no part of the audit trail; it proves nothing"
