"""Trust in a key is apart from integrity, and a report says what it does not prove."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
from edited_recordings import report
from recording_files import FilesReader
from recordings import Recording, device_key, whole, with_gap

from recorder_worker.core.verify import (
    EXIT_CODES,
    EXIT_UNTRUSTED,
    Status,
    TrustedKey,
    TrustPolicy,
    TrustStatus,
    Verdict,
    verify,
)
from recorder_worker.core.verify.steps import OPTIONAL

KEY = device_key().public_key().public_bytes_raw()
POLICY = TrustPolicy(keys=(TrustedKey(name="lab 7", public_key=KEY),))
OTHERS = TrustPolicy(
    keys=(TrustedKey(name="b", public_key=device_key(2).public_key().public_bytes_raw()),)
)


def test_a_trusted_key_is_named() -> None:
    found = report(whole(), POLICY)
    assert (found.trust.status, found.trust.name) == (TrustStatus.TRUSTED, "lab 7")
    assert (found.verdict, found.exit_code) == (Verdict.COMPLETE, 0)
    assert not any("nobody vouches" in text for text in found.not_proved)


def test_a_key_that_is_not_in_the_policy_has_an_exit_code_of_its_own() -> None:
    found = report(whole(), OTHERS)
    assert (found.verdict, found.failed_step) == (Verdict.COMPLETE, None)
    assert found.trust.status is TrustStatus.UNTRUSTED
    assert found.exit_code == EXIT_UNTRUSTED
    assert found.steps[1].status is Status.FAILED
    assert any("not in the policy" in text for text in found.not_proved)


def test_integrity_is_said_before_trust() -> None:
    files = whole().sealed()
    files["session.json"] += b" "
    found = verify(FilesReader(files), OTHERS)
    assert found.exit_code == EXIT_CODES[Verdict.TAMPERED]


def test_a_recording_made_with_another_key_is_whole_but_not_trusted() -> None:
    """A forger makes everything anew: only the policy can tell."""
    forged = Recording(key=device_key(9)).open().chunk().seal()
    assert report(forged).exit_code == 0
    assert report(forged, POLICY).exit_code == EXIT_UNTRUSTED


def test_without_a_policy_nobody_vouches_and_nothing_is_skipped() -> None:
    found = report(whole())
    assert found.trust.status is TrustStatus.NO_POLICY
    assert found.trust.public_key == KEY.hex()
    assert [s.number for s in found.steps] == list(range(1, 17))
    assert {s.number for s in found.steps if s.status is not Status.OK} == OPTIONAL
    assert any(KEY.hex() in text for text in found.not_proved)
    assert any("time unproven" in text for text in found.not_proved)
    assert any("before capture" in text for text in found.not_proved)


def test_exit_codes_tell_the_verdicts_apart_and_leave_2_to_usage() -> None:
    bad = [EXIT_CODES[v] for v in Verdict if EXIT_CODES[v]]
    assert set(EXIT_CODES) == set(Verdict)
    assert len({*bad, EXIT_UNTRUSTED}) == len(bad) + 1
    assert all(code >= 10 for code in [*bad, EXIT_UNTRUSTED])


def test_a_report_has_the_facts_and_is_json() -> None:
    found = report(with_gap(), POLICY)
    data = json.loads(msgspec.json.encode(found))
    assert data["verdict"] == "COMPLETE_WITH_GAPS"
    assert data["chunk_map"] == ".."
    assert data["end_reason"] == "source_ended"
    assert data["totals"]["frame_count"] == 5
    assert data["t_end_ns"] == 700_000_000
    assert data["gaps"][0] == {
        "index": 2,
        "stream": 0,
        "first_unit": 3,
        "lost_units": 2,
        "t0_ns": 300_000_000,
        "t1_ns": 500_000_000,
        "wall0_ns": 1_760_000_000_300_000_000,
        "wall1_ns": 1_760_000_000_500_000_000,
        "reason": "pause",
        "detail": "for the test",
    }
    assert data["root_hash"] == with_gap().state.frontier.root().hex()


def test_progress_counts_to_the_last_byte_and_workers_change_nothing() -> None:
    told: list[tuple[int, int]] = []
    files = whole().sealed()
    reader = FilesReader(files)
    one = verify(reader, progress=lambda done, total: told.append((done, total)), workers=1)
    total = sum(map(len, files.values()))
    assert told == sorted(told)
    assert {whole_ for _, whole_ in told} == {total}
    assert told[-1] == (total, total)
    assert len(told) > 6
    assert verify(reader, workers=5) == one


def test_the_verifier_needs_neither_nats_nor_opencv_nor_faststream() -> None:
    program = (
        "import sys, recorder_worker.core.verify, recorder_worker.adapters.folder\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert "recorder_worker" in loaded
    assert not loaded & {"nats", "faststream", "cv2", "aiohttp", "structlog", "dynaconf", "asyncio"}
