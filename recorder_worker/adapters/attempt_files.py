"""The book of attempts: a file of one line for each message that is in trouble.

A line has one length and is written by one `pwrite` over the one before, so a process that dies in
between leaves the old or the new one. Nothing is synced: what the kernel has outlives the process,
and a machine that lost its power has no message to blame. A damaged line is no line.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

import structlog

from recorder_worker.ports import AttemptBook, MessagePlace, Tally
from recorder_worker.ports.attempts import NOTHING

log = structlog.get_logger(__name__)

FOLDER = "attempts"
MODE = 0o600
KEPT_MAX = 10_000
"""Of what the disk does not take, no more is kept in memory."""

_LINE = re.compile(rb"(\d{20}) (\d{6}) (\d{6})\n")
_MOST = 999_999
_NAME = re.compile(r"([a-z]+)\.(\d+)")


class AttemptFiles(AttemptBook):
    """Files `<consumer>.<sequence>` in a folder, which is made with the first of them.

    Processes that share the folder share what is counted. Where the disk takes no file, this
    process counts in memory, which finds no killer but what fails again and again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory: dict[MessagePlace, Tally] = {}
        self._lock = Lock()
        self._told = False

    def read(self, place: MessagePlace) -> Tally:
        """As the port says."""
        with self._lock:
            kept = self._memory.get(place)
            if kept is not None:
                return kept
            try:
                line = self._path(place).read_bytes()
            except OSError:
                return NOTHING
            return _read(line, place.stored_ns)

    def write(self, place: MessagePlace, tally: Tally) -> None:
        """As the port says."""
        with self._lock:
            try:
                self._write(place, tally)
            except OSError as error:
                self._keep(place, tally)
                self._tell(error)
            else:
                self._memory.pop(place, None)

    def clear_old(self, max_age_s: float) -> int:
        """Remove files of messages that no stream can have any more; how many."""
        removed = 0
        with suppress(OSError):
            for path in self._folder.iterdir():
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > max_age_s:
                        path.unlink()
                        removed += 1
        return removed

    def _write(self, place: MessagePlace, tally: Tally) -> None:
        path = self._path(place)
        if tally == NOTHING:
            path.unlink(missing_ok=True)
            return
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, MODE)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT, MODE)
        try:
            os.pwrite(file, _line(place, tally), 0)
        finally:
            os.close(file)

    def _path(self, place: MessagePlace) -> Path:
        return self._folder / f"{place.consumer}.{place.sequence}"

    def _keep(self, place: MessagePlace, tally: Tally) -> None:
        # Also that nothing is known any more, for the file may be there still.
        self._memory.pop(place, None)
        self._memory[place] = tally
        while len(self._memory) > KEPT_MAX:
            del self._memory[next(iter(self._memory))]

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("AttemptsUncounted", folder=str(self._folder), error=str(error))


def suspects(folder: Path, least: int) -> list[tuple[str, int, Tally]]:
    """Consumer, sequence and tally of messages that were begun so often, and never ended.

    Raises:
        OSError: the folder is there, and cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        named = _NAME.fullmatch(path.name)
        with suppress(FileNotFoundError):  # its message has just ended
            tally = _read(path.read_bytes(), None)
            if named is not None and tally.begun >= least:
                found.append((named[1], int(named[2]), tally))
    return found


def _line(place: MessagePlace, tally: Tally) -> bytes:
    begun, failed = min(tally.begun, _MOST), min(tally.failed, _MOST)
    return f"{place.stored_ns:020d} {begun:06d} {failed:06d}\n".encode()


def _read(line: bytes, stored_ns: int | None) -> Tally:
    found = _LINE.match(line)  # what is behind it is of another version, or damage
    if found is None or stored_ns not in {None, int(found[1])}:
        return NOTHING
    return Tally(begun=int(found[2]), failed=int(found[3]))
