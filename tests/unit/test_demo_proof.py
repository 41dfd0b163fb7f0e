"""What the demo asks of a recorded display: what a busy machine adds to it is no fault."""

from __future__ import annotations

import msgspec
import pytest
from memory_store import MemoryStore
from recordings import Recording

from recorder_worker.cli.demo.proof import is_as_asked, overload
from recorder_worker.core.verify import Report, Verdict, verify
from recorder_worker.core.verify.report import GapFound, MarkFound
from recorder_worker.stages.stored_recording import StoredRecording

SESSION = "0192f0c1-2b3c-7d4e-8f50-000000000001"


def gap(reason: str) -> GapFound:
    return GapFound(
        index=2,
        stream=0,
        first_unit=1,
        lost_units=1,
        t0_ns=1,
        t1_ns=2,
        wall0_ns=1,
        wall1_ns=2,
        reason=reason,
        detail=f"because of {reason}",
    )


def mark(kind: str) -> MarkFound:
    return MarkFound(index=3, t_ns=1, wall_ns=1, kind=kind, by="kim", says=f"of kind {kind}")


@pytest.fixture(scope="module")
def verified() -> Report:
    recording, store = Recording(SESSION).open(), MemoryStore()
    recording.chunk(1)
    for name, data in recording.seal().sealed().items():
        store.put(f"sessions/{SESSION}/{name}", data)
    return verify(StoredRecording(store, SESSION))


@pytest.mark.parametrize(
    ("gaps", "marks", "ok"),
    [
        (["pause"], ["demo"], True),
        (["pause", "back_pressure"], ["demo", "recorder.rate"], True),
        (["back_pressure", "pause"], ["recorder.rate", "demo", "recorder.rate"], True),
        ([], ["demo"], False),
        (["pause", "pause"], ["demo"], False),
        (["pause", "source_lost"], ["demo"], False),
        (["pause"], [], False),
        (["pause"], ["recorder.rate"], False),
        (["pause"], ["demo", "demo"], False),
        (["pause"], ["demo", "of somebody"], False),
    ],
)
def test_the_display_has_its_pause_and_its_mark_whatever_a_busy_machine_adds(
    verified: Report, gaps: list[str], marks: list[str], *, ok: bool
) -> None:
    report = msgspec.structs.replace(
        verified,
        verdict=Verdict.COMPLETE_WITH_GAPS,
        gaps=tuple(map(gap, gaps)),
        marks=tuple(map(mark, marks)),
    )
    assert is_as_asked(report) is ok
    busy = gaps.count("back_pressure") + marks.count("recorder.rate")
    assert len(list(overload(report))) == busy
    assert not is_as_asked(msgspec.structs.replace(report, verdict=Verdict.TAMPERED))
