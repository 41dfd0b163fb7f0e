"""The demo from beginning to end: record, prove, say what held."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

from recorder_worker.cli.demo.board import Board
from recorder_worker.cli.demo.checklist import Check, CheckFailedError, Checklist
from recorder_worker.cli.demo.clip import find_clip
from recorder_worker.cli.demo.evidence import CLIPPED, PROOF, Evidence
from recorder_worker.cli.demo.folder import LOG, new_folder
from recorder_worker.cli.demo.proof import FLIPPED, Proof
from recorder_worker.cli.demo.recordings import Recorder, Recording
from recorder_worker.cli.output import err, out, print_json
from recorder_worker.core.errors import RecorderError
from recorder_worker.service.observing import logs
from recorder_worker.service.settings.tree import LogSettings

SIGNALLED = 128
"""What is added to a signal's number, in an exit code."""


class EndedBySignalError(RecorderError):
    """Somebody asked us to end; all that was started has been ended."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        super().__init__(f"ended by {number.name}")


def show(into: Path, clip: Path | None, *, desktop: bool, json: bool) -> int:
    """Run the demo; gives the exit code.

    Raises:
        RefusedError: `into` cannot be used.
        RecorderError: there is no clip.
    """
    began_s = time.monotonic()
    board = Board(err if json else out)
    checklist = Checklist(lambda check: _say(board, check))
    found = find_clip(clip)
    folder = new_folder(into)
    recordings: list[Recording] = []
    phase = "recording"
    try:
        recordings = _record(Recorder(folder, board, checklist), found, folder, desktop=desktop)
        phase = "proof"
        proof = Proof(board, checklist, with_reports=not json)
        reports = [proof.verify(recording) for recording in recordings]
        proof.compare_pixels(recordings[0], found)
        proof.flip_one_byte(recordings[0], folder)
        evidence = Evidence(board, checklist, folder)
        evidence.check_log(recordings)
        evidence.cut_clip(recordings[0], reports[0].t_end_ns)
        evidence.prove_chunk(recordings[0])
    except EndedBySignalError as error:
        board.line(f"{error}; what was recorded is in {folder}")
        return SIGNALLED + error.number
    except CheckFailedError as error:
        checklist.add(error.name, error.found, ok=False)
    except RecorderError as error:
        checklist.add(phase, str(error), ok=False)
    except KeyboardInterrupt:
        board.line(f"interrupted; what was recorded is in {folder}")
        raise
    ok = not checklist.failed
    _summary(board, checklist, folder, recordings, time.monotonic() - began_s)
    if json:
        print_json(
            {
                "ok": ok,
                "folder": str(folder),
                "sessions": [recording.sealed for recording in recordings],
                "checks": checklist.checks,
            }
        )
    return 0 if ok else 1


def _record(recorder: Recorder, clip: Path, folder: Path, *, desktop: bool) -> list[Recording]:
    got: list[signal.Signals] = []

    async def go() -> list[Recording]:
        task = asyncio.ensure_future(recorder.record(clip, with_desktop=desktop))

        def end(number: signal.Signals) -> None:
            got.append(number)
            task.cancel()

        # As asyncio does for Ctrl-C: all that was started is ended.
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await task

    # The screen belongs to the story; what the worker has to say of itself is in the file.
    with (folder / LOG).open("a", encoding="utf-8") as file:
        logs.configure(LogSettings(format="json"), stream=file)
        try:
            return asyncio.run(go())
        except asyncio.CancelledError:
            raise EndedBySignalError(got[0]) from None
        finally:
            # Nothing logs from here on but a library that has an afterthought.
            logs.configure(LogSettings(level="error"), stream=None)


def _say(board: Board, check: Check) -> None:
    word, style = ("ok", "green") if check.ok else ("FAILED", "bold red")
    board.line(f"{word}  {check.name}: {check.found}", style=style)


def _summary(
    board: Board,
    checklist: Checklist,
    folder: Path,
    recordings: list[Recording],
    took_s: float,
) -> None:
    board.heading("what was checked")
    for check in checklist.checks:
        _say(board, check)
    if recordings:
        board.heading("look at it yourself")
        program = _program()
        for recording in recordings:
            board.line(f"  {program} verify {_shown(recording.folder)}")
        board.line(f"  {program} frames {_shown(recordings[0].folder)}")
        copy = folder / FLIPPED / recordings[0].folder.name
        if copy.is_dir():
            board.line(f"  {program} verify {_shown(copy)}   # exits with 13, TAMPERED")
        if (folder / CLIPPED).is_dir():
            board.line(f"  {program} verify {_shown(folder / CLIPPED)}   # exits with 11, CLIP")
        if (folder / PROOF).is_file():
            board.line(f"  {program} verify-proof {_shown(folder / PROOF)}")
        board.line(f"  {program} log verify {_shown(folder)}")
    board.line(f"  less {_shown(folder / LOG)}")
    failed = checklist.failed
    if failed:
        board.line(f"\ndemo FAILED: {'; '.join(check.name for check in failed)}", "bold red")
    else:
        board.line(f"\nall {len(checklist.checks)} checks held, in {took_s:.0f} s", "bold green")


def _program() -> str:
    """What to type for `recorder`: in a checkout it is not on the PATH."""
    called = Path(sys.argv[0])
    if called.name != "recorder":
        return "recorder"
    found = shutil.which("recorder")
    on_path = found is not None and Path(found).resolve() == called.resolve()
    return "recorder" if on_path else _shown(called)


def _shown(path: Path) -> str:
    """A path as one would type it."""
    return shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
