"""Verifies a recording: runs the steps and reports what they found."""

from __future__ import annotations

from collections.abc import Sequence

from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.verify.judgement import Judgement
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.progress import Progress
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.summary import summarise
from recorder_worker.core.verify.verification import Verification

WORKERS = 2
"""Where nobody says how many processors there are."""

RUNS = 4


def verify(
    recording: RecordingReader,
    policy: TrustPolicy | None = None,
    progress: Progress | None = None,
    *,
    workers: int = WORKERS,
    seen: Sequence[SignedNote] = (),
    cipher: SessionCipher | None = None,
) -> Report:
    """Verify a recording and report what is proved and what is not.

    Whatever the bytes are, this returns: all that is wrong is in the report. `progress` is called
    with the bytes that are done, and those that there are. `workers` threads check chunks. `seen`
    are checkpoints of this session that were seen elsewhere. `cipher` opens the chunks of an
    encrypted session; without it their stored bytes alone are checked, and the report says so.

    A recording that is being sealed loses its journal while it is read. What is missing then has
    only moved, so it is read again; what is wrong with a folder that stood still is wrong.

    Raises:
        RecorderError: the recording cannot be listed at all.
    """
    for _ in range(RUNS):
        run = Verification(recording, policy, seen, progress, max(1, workers), cipher).run()
        judged = Judgement(run)
        if not run.disturbed:
            break
    return summarise(judged)
