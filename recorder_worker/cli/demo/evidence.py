"""What leaves the recorder: its log of sessions, a clip, and the proof of one chunk.

Every command runs as a process, as anyone would run it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from recorder_worker.cli.demo.board import Board
from recorder_worker.cli.demo.checklist import CheckFailedError, Checklist
from recorder_worker.cli.demo.recordings import Recording
from recorder_worker.core import keys
from recorder_worker.core.log_audit.report import Problem
from recorder_worker.core.verify.verdicts import EXIT_CODES, Verdict

DELETED = "one-session-deleted"
CLIPPED = "clip"
PROOF = "chunk.proof"
PROGRAM = "from recorder_worker.cli.main import main; main()"


class Evidence:
    """The checks on what is given to others. `folder` is the data directory of the demo."""

    def __init__(self, board: Board, checklist: Checklist, folder: Path) -> None:
        self._board = board
        self._checklist = checklist
        self._folder = folder

    def check_log(self, recordings: list[Recording]) -> None:
        """Hold the log of sessions against the folders; then against a copy that lacks one.

        Raises:
            CheckFailedError: a command gave no answer. So do the others.
        """
        self._board.heading("the log of sessions, in which every session stands")
        code, told = self._run("log", "verify", str(self._folder))
        counts = (told["opened"], told["sealed"])
        self._checklist.add(
            "every session is in the log, opened and sealed",
            f"{told['tree_size']} entries, {len(told['problems'])} problems",
            ok=code == 0 and counts == (len(recordings), len(recordings)),
        )
        copy = self._folder / DELETED
        shutil.copytree(self._folder / keys.LOG, copy / keys.LOG)
        (copy / keys.SESSIONS).mkdir()
        for kept in others(recordings):
            shutil.copytree(kept.folder, copy / keys.SESSIONS / kept.folder.name)
        code, told = self._run("log", "verify", str(copy))
        missed = [
            found["session_id"]
            for found in told["problems"]
            if found["problem"] == Problem.SESSION_MISSING
        ]
        self._checklist.add(
            "a session that was deleted is missed",
            f"exit code {code}, missing: {', '.join(missed)}",
            ok=code == EXIT_CODES[Verdict.TAMPERED] and missed == [recordings[0].folder.name],
        )

    def cut_clip(self, recording: Recording, length_ns: int) -> None:
        """Cut a clip out of the middle, and verify it."""
        self._board.heading("a clip: some chunks, and the proof that they are part of the whole")
        clip = self._folder / CLIPPED
        begin, end = (f"{length_ns * tenths / 1e10:.3f}" for tenths in (5, 6))
        made, _ = self._run("clip", str(recording.folder), str(clip), "--from", begin, "--to", end)
        code, told = self._run("verify", str(clip))
        shown = told["clip"] or {"shown": 0, "tree_size": 0}
        self._checklist.add(
            "a clip verifies as a part of its recording",
            f"{told['verdict']}, exit code {code}, {shown['shown']} of {shown['tree_size']} "
            f"records shown",
            ok=(made, code) == (0, EXIT_CODES[Verdict.CLIP])
            and told["root_hash"] == recording.sealed.root_hash,
        )

    def prove_chunk(self, recording: Recording) -> None:
        """Write the proof of the last chunk, and check it with the chunk's file."""
        self._board.heading("one chunk alone, proved by a small file")
        chunk = max((recording.folder / keys.CHUNKS).iterdir())
        proof = self._folder / PROOF
        number = str(int(chunk.stem))
        self._run("proof", str(recording.folder), "--chunk", number, "--out", str(proof))
        code, told = self._run("verify-proof", str(proof), "--chunk-file", str(chunk))
        self._checklist.add(
            "the proof of one chunk holds",
            f"exit code {code}, {told.get('detail') or told['proved'][-1]}",
            ok=code == 0 and told["root_hash"] == recording.sealed.root_hash,
        )

    def _run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and JSON of a command; nothing where it writes a file and says so."""
        self._board.line(f"$ recorder {shlex.join(words)}")
        json = () if "--out" in words else ("--json",)
        command = [sys.executable, "-P", "-c", PROGRAM, *words, *json]
        ended = subprocess.run(command, check=False, capture_output=True)  # noqa: S603  (ourselves)
        try:
            told = msgspec.json.decode(ended.stdout, type=dict[str, Any]) if json else {}
        except msgspec.DecodeError as error:
            said = ended.stderr.decode(errors="replace").strip() or "no word"
            raise CheckFailedError(
                f"recorder {words[0]} answers",
                f"expected JSON, found exit code {ended.returncode} and {said}",
            ) from error
        return ended.returncode, told


def others(recordings: list[Recording]) -> list[Recording]:
    """All but the one that is deleted."""
    return recordings[1:]
