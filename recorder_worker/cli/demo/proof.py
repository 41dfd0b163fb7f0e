"""Proves the recordings offline: verified, bit for bit the clip, one flipped byte caught."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from recorder_worker.cli.demo.board import Board
from recorder_worker.cli.demo.checklist import CheckFailedError, Checklist
from recorder_worker.cli.demo.clip import digests_by_opencv, digests_in_recording
from recorder_worker.cli.demo.recordings import DESKTOP, MARK_KIND, Recording
from recorder_worker.cli.report import print_report
from recorder_worker.cli.verify import checked
from recorder_worker.core import keys
from recorder_worker.core.model import GapReason
from recorder_worker.core.notes import RESERVED_PREFIX
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import EXIT_CODES, Verdict

FLIPPED = "one-byte-flipped"
VERIFY = "from recorder_worker.cli.main import main; main()"


def is_as_asked(report: Report) -> bool:
    """Whether the display has the one pause and the one mark that we asked for.

    A machine that is too slow may add gaps of its own, and a mark for a lower rate: no fault.
    """
    gaps = [gap.reason for gap in report.gaps if gap.reason != GapReason.BACK_PRESSURE]
    marks = [mark.kind for mark in report.marks if not mark.kind.startswith(RESERVED_PREFIX)]
    return (report.verdict, gaps, marks) == (
        Verdict.COMPLETE_WITH_GAPS,
        [GapReason.PAUSE],
        [MARK_KIND],
    )


def overload(report: Report) -> Iterator[str]:
    """What a machine that was too slow has added, in words."""
    yield from (gap.detail for gap in report.gaps if gap.reason == GapReason.BACK_PRESSURE)
    yield from (mark.says for mark in report.marks if mark.kind.startswith(RESERVED_PREFIX))


class Proof:
    """The checks on what was recorded. No worker, no NATS and no network takes part."""

    def __init__(self, board: Board, checklist: Checklist, *, with_reports: bool) -> None:
        self._board = board
        self._checklist = checklist
        self._with_reports = with_reports

    def verify(self, recording: Recording) -> Report:
        """Verify a recording and compare it with what was said on the bus."""
        name = recording.name
        self._board.heading(f"recorder verify {recording.folder}")
        report = checked(recording.folder, None)
        if self._with_reports:
            print_report(report)
        self._board.line("")
        self._checklist.add(
            f"{name}: the verified root is the one that session.sealed told",
            report.root_hash,
            ok=report.root_hash == recording.sealed.root_hash,
        )
        if name == DESKTOP:
            self._verify_desktop(report)
        else:
            found = report.verdict.value
            self._checklist.add(f"{name}: verified", found, ok=report.verdict is Verdict.COMPLETE)
        return report

    def _verify_desktop(self, report: Report) -> None:
        for text in overload(report):
            self._board.line(f"note: this machine was busy; that is in the record: {text}")
        self._checklist.add(
            f"{DESKTOP}: verified, its pause is its gap, and its mark is in it",
            f"{report.verdict.value}; gaps: {', '.join(gap.reason for gap in report.gaps)}; "
            f"marks: {', '.join(mark.kind for mark in report.marks)}",
            ok=is_as_asked(report),
        )

    def compare_pixels(self, recording: Recording, clip: Path) -> None:
        """Compare every frame of the recording with what OpenCV alone reads from the clip."""
        self._board.heading(f"every pixel: recorder frames {recording.folder}, and OpenCV alone")
        name = f"{recording.name}: bit for bit what OpenCV reads from {clip.name}"
        count = 0
        pairs = itertools.zip_longest(
            digests_in_recording(recording.folder), digests_by_opencv(clip)
        )
        for index, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                found = f"frame {index} differs: {ours or 'not recorded'}, {theirs or 'no frame'}"
                self._checklist.add(name, found, ok=False)
                return
            count += 1
        self._checklist.add(name, f"{count} frames, all equal", ok=count > 0)

    def flip_one_byte(self, recording: Recording, beside: Path) -> Path:
        """Flip one byte in a copy, and let the verifier find it: as a process, as anyone would.

        Raises:
            CheckFailedError: the verifier gave no report.
        """
        copy = beside / FLIPPED / recording.folder.name
        shutil.copytree(recording.folder, copy)
        chunks = sorted((copy / keys.CHUNKS).iterdir())
        victim = chunks[len(chunks) // 2]
        offset = _flip(victim)
        name = victim.relative_to(copy).as_posix()
        self._board.heading(f"one byte flipped: byte {offset} of {victim}")
        code, report = _verified_by_a_process(copy)
        self._board.line(f"$ recorder verify {copy}")
        for step in report["steps"]:
            if step["status"] == "failed":
                self._board.line(f"{step['number']:>2}  FAILED {step['title']}: {step['detail']}")
        self._board.line(f"chunks, in order (. good, X damaged): {report['chunk_map']}")
        self._board.line(f"damaged: {', '.join(report['damaged'])}", style="bold red")
        self._board.line(f"{report['verdict']}, exit code {code}\n", style="bold red")
        self._checklist.add(
            "one flipped byte is caught, and the damaged chunk is named",
            f"{report['verdict']}, exit code {code}, damaged: {', '.join(report['damaged'])}",
            ok=code == EXIT_CODES[Verdict.TAMPERED]
            and report["verdict"] == Verdict.TAMPERED
            and report["damaged"] == [name],
        )
        return copy


def _flip(file: Path) -> int:
    """Flip one bit of the byte in the middle; its offset."""
    data = bytearray(file.read_bytes())
    offset = len(data) // 2
    data[offset] ^= 0x01
    file.write_bytes(data)
    return offset


def _verified_by_a_process(folder: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-P", "-c", VERIFY, "verify", "--json", str(folder)]
    ended = subprocess.run(command, check=False, capture_output=True)  # noqa: S603  (ourselves)
    try:
        return ended.returncode, msgspec.json.decode(ended.stdout, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise CheckFailedError(
            "the verifier looks at the copy with one flipped byte",
            f"recorder verify {folder}: expected a report, found exit code {ended.returncode} and "
            f"{ended.stderr.decode(errors='replace').strip() or 'no word'}",
        ) from error
