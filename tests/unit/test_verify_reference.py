"""The verifier and a second program, written from the document alone, come to the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import reference
from blake3 import blake3
from recording_files import FilesReader, write
from recordings import Recording, whole, with_gap

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.evidence.clip import clip_files, plan_of
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.model import GapReason
from recorder_worker.core.verify import Report, verify


def dead_lettered() -> Recording:
    """A chunk that could not be stored became a gap; the one behind it was planned by then."""
    recording = Recording().open().chunk().gap(reason=GapReason.DEAD_LETTER)
    return recording.chunk(keyframe=False).chunk().seal()


def resized() -> Recording:
    return Recording().open().chunk(size=(130, 65)).chunk(size=(1, 1)).chunk().seal()


def nothing_recorded() -> Recording:
    return Recording().open().seal()


def to_clip() -> Recording:
    """Two epochs, deltas, a mark and a beat; it has all checkpoints, and ends with deltas."""
    recording = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False).mark().epoch()
    recording.chunk(2).chunk(1, codec="stored").beat().epoch()
    return recording.chunk(2).chunk(keyframe=False)


SESSIONS = [whole, with_gap, dead_lettered, resized, nothing_recorded]


def checked(folder: Path) -> tuple[Report, dict[str, object]]:
    return verify(FolderRecording(folder)), reference.check(folder)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("make", SESSIONS)
def test_both_find_the_same_tree_and_verdict(
    make: Callable[[], Recording], tmp_path: Path, *, sealed: bool
) -> None:
    recording = make()
    folder = write(tmp_path, recording.sealed() if sealed else recording.journal())
    ours, theirs = checked(folder)
    assert (ours.root_hash, ours.tree_size, str(ours.verdict)) == (
        theirs["root_hash"],
        theirs["tree_size"],
        theirs["verdict"],
    )
    assert ours.exit_code == 0
    assert ours.root_hash == recording.state.frontier.root().hex()


@pytest.mark.parametrize("make", [whole, with_gap, resized])
def test_the_reference_decodes_every_pixel_that_was_recorded(
    make: Callable[[], Recording], tmp_path: Path
) -> None:
    recording = make()
    frames = reference.check(write(tmp_path, recording.sealed()))["frames"]
    assert [frame["pixels"] for frame in frames] == [
        blake3(picture.tobytes()).hexdigest() for picture in recording.pictures
    ]


def test_frames_behind_a_dead_letter_are_whole_but_cannot_be_played(tmp_path: Path) -> None:
    ours, theirs = checked(write(tmp_path, dead_lettered().sealed()))
    assert any("cannot be played" in warning for warning in ours.warnings)
    frames = theirs["frames"]
    assert isinstance(frames, list)
    assert [f["pixels"] is None for f in frames] == [False] * 3 + [True] * 3 + [False] * 3


def test_the_reference_is_a_program_that_prints_json(tmp_path: Path) -> None:
    write(tmp_path, with_gap().sealed())
    program = Path(reference.__file__)
    done = subprocess.run(
        [sys.executable, program, tmp_path], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["verdict"] == "COMPLETE_WITH_GAPS"
    assert len(found["frames"]) == 5


def test_the_reference_imports_no_product_code() -> None:
    modules = sorted(Path(reference.__file__).parent.glob("reference*.py"))
    assert len(modules) > 1
    assert [path.name for path in modules if "recorder_worker" in path.read_text()] == []


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("begin", range(0, 1400, 175))
def test_the_reference_reads_every_clip_that_the_product_makes(
    begin: int, tmp_path: Path, *, sealed: bool
) -> None:
    recording = to_clip()
    reader = FilesReader(recording.seal().sealed() if sealed else recording.journal())
    plan = plan_of(reader, Window(begin_ns=begin * 10**6, end_ns=(begin + 150) * 10**6))
    files = {name: b"".join(data) for name, data in clip_files(reader, plan)}
    ours, theirs = checked(write(tmp_path, files))
    assert (str(ours.verdict), ours.root_hash) == ("CLIP", theirs["root_hash"])
    assert theirs["verdict"] == "CLIP", theirs["problem"]
    frames = theirs["frames"]
    assert isinstance(frames, list)
    assert {frame["pixels"] for frame in frames} <= {
        blake3(picture.tobytes()).hexdigest() for picture in recording.pictures
    }
    assert frames
