"""`recorder verify`, as a person calls it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from called_recorder import Run
from recording_files import write
from recordings import Recording, device_key, with_gap

from recorder_worker.core import keys

REDACTED = Path(__file__).parents[1] / "vectors" / "recordings" / "redacted" / "removed"


def recording(*, pause: bool = False) -> Recording:
    made = Recording(checkpoint_every=1).open().chunk().chunk()
    return (made.gap() if pause else made).seal()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "session", recording().sealed())


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, "verify")


def policy(tmp_path: Path, rules: str = "", seed: int = 1) -> Path:
    key = device_key(seed).public_key().public_bytes_raw().hex()
    path = tmp_path / "trust.yaml"
    path.write_text(f'keys:\n  - name: lab 7\n    public_key: "{key}"\n{rules}')
    return path


def test_a_good_recording(run: Run, folder: Path, tmp_path: Path) -> None:
    code, said, err = run(folder, "--trust", policy(tmp_path), "--jobs", 3)
    assert (code, err) == (0, "")
    assert "trusted as lab 7" in said
    assert said.rstrip().endswith("COMPLETE")
    assert "14  -      " in said
    assert "(not reached: there is no log proof)" in said
    assert "time       not before (unproved), not after (unproved)" in said


def test_an_untrusted_key_and_a_broken_rule_stand_beside_the_verdict(
    run: Run, tmp_path: Path
) -> None:
    folder = write(tmp_path / "session", with_gap().sealed())
    rules = "rules:\n  max_gap_s: 0.1\n  allowed_gap_reasons: [pause]\n"
    code, said, _ = run(folder, "--trust", policy(tmp_path, rules, seed=2))
    assert code == 20
    assert "rule max_gap_s: BROKEN: at most 0.1 s; the longest gap has 0.200 s (record 2)" in said
    assert "rule allowed_gap_reasons: held" in said
    last = said.rstrip().splitlines()[-1]
    assert last == "COMPLETE_WITH_GAPS, but the key is not trusted; rules broken: max_gap_s"


def test_json_has_every_field(run: Run, folder: Path, tmp_path: Path) -> None:
    rules = "rules:\n  require_receipt: true\n"
    code, said, _ = run(folder, "--json", "--trust", policy(tmp_path, rules))
    found = json.loads(said)
    assert (code, found["exit_code"], found["verdict"], found["chunks"]) == (20, 20, "COMPLETE", 2)
    assert [step["number"] for step in found["steps"]] == list(range(1, 18))
    assert found["rules"][0]["held"] is False
    assert found["cadence"]["promised_records"] == 64
    assert found["window"] == {"not_before_ns": None, "opened_by_ns": None, "not_after_ns": None}
    assert (found["clip"], found["damaged_count"], found["session_counter"]) == (None, 0, 1)


def test_what_was_recorded_is_told(run: Run, folder: Path) -> None:
    code, said, _ = run(folder)
    recorded = json.loads(run(folder, "--json")[1])["recorded"]
    assert (code, recorded["profile"], recorded["mask_count"]) == (0, "screen", 1)
    source = f"{recorded['kind']} {recorded['uri']} on {recorded['node']}"
    assert f"source     {source}: {recorded['description']}\n" in said
    assert f"profile    screen, {recorded['fps']:g} frames a second\n" in said
    assert "masked     3x4 at 1,2, from the begin\n" in said


def test_marks_are_told_with_what_they_say(run: Run, tmp_path: Path) -> None:
    body = '{"session_id":"0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0b","text":"valve 7\\u001b[2J"}'
    made = Recording(checkpoint_every=1).open().chunk().mark(body).mark("[").chunk().seal()
    folder = write(tmp_path / "session", made.sealed())
    code, said, _ = run(folder)
    first, second = (line for line in said.splitlines() if line.startswith("  mark"))
    assert (code, first.startswith("  mark note by tester: ")) == (0, True)
    assert first.endswith(r"Z: valve 7\x1b[2J")
    assert second.endswith("Z: [")
    marks = json.loads(run(folder, "--json")[1])["marks"]
    assert [(mark["index"], mark["says"]) for mark in marks] == [(2, r"valve 7\x1b[2J"), (3, "[")]


def test_of_a_mark_whose_body_was_changed_nothing_is_believed(run: Run, tmp_path: Path) -> None:
    made = Recording(checkpoint_every=1).open().chunk().mark().seal()
    folder = write(tmp_path / "session", made.sealed())
    (folder / keys.mark(2)).write_text('{"type":"note","text":"olleh"}')
    code, said, _ = run(folder, "--json")
    found = json.loads(said)
    assert (code, found["failed_step"]) == (13, 13)
    assert [(mark["by"], mark["says"]) for mark in found["marks"]] == [("tester", "")]


def test_checkpoints_that_were_seen_elsewhere(run: Run, folder: Path, tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.write_bytes(b"".join(recording().notes.values()))
    other.write_bytes(recording(pause=True).notes[4])
    assert run(folder, "--seen", ours)[0] == 0
    code, said, _ = run(folder, "--seen", ours, "--seen", other)
    assert (code, said.rstrip().splitlines()[-1]) == (14, "EQUIVOCATION")


@pytest.mark.parametrize("data", [b"", b"nonsense\n", recording().notes[2][:-1]])
def test_what_is_no_checkpoint_is_wrong_usage(run: Run, folder: Path, data: bytes) -> None:
    file = folder.parent / "seen"
    file.write_bytes(data)
    code, _, err = run(folder, "--seen", file)
    assert code == 2
    assert "checkpoint" in err


def test_a_folder_of_something_else_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    code, _, err = run(tmp_path)
    assert code == 2
    assert "holds no recording" in err


def test_a_damaged_chunk_is_named(run: Run, folder: Path) -> None:
    chunk = folder / keys.chunk(1, compressed=True)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    code, said, _ = run(folder)
    assert code == 13
    assert f"damaged: {keys.chunk(1, compressed=True)}" in said
    assert "\n  X.\n" in said


def test_what_its_owner_removed_is_no_failure(run: Run) -> None:
    code, said, _ = run(REDACTED)
    assert code == 12
    assert " 7  removed stored bytes of every chunk have their digests: 3 of 3 chunks" in said
    assert (
        "17  removed what was held, or removed by its owner, is said in signed statements" in said
    )
    assert "FAILED" not in said
    assert said.rstrip().endswith("REDACTED")
