"""Verifies a recording: runs the steps and reports what they found."""

from __future__ import annotations

from recorder_worker.core.verify.chunks import Progress
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.reader import RecordingReader
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.summary import summarise
from recorder_worker.core.verify.verification import Verification

WORKERS = 2


def verify(
    recording: RecordingReader,
    policy: TrustPolicy | None = None,
    progress: Progress | None = None,
    *,
    workers: int = WORKERS,
) -> Report:
    """Verify a recording and report what is proved and what is not.

    Whatever the bytes are, this returns: all that is wrong is in the report. `progress` is called
    with the number of checked chunks and of all chunks.

    Raises:
        RecorderError: the recording cannot be listed at all.
    """
    return summarise(Verification(recording, policy, progress, workers).run())
