"""Removed recordings with a wound or two: both implementations say the same of each."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import reference
import reference_vectors
from recording_files import write
from reference_good import VECTORS, base
from reference_signing import SignatureStore
from reference_writer import Files

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.verify import verify

STORE = SignatureStore(reference_vectors.MADE_ONCE)
HELD = ("held-and-released", "deletion-ordered", "removed-under-hold")
BASES = [
    vector.make(STORE)
    for vector in VECTORS
    if vector.folder == "recordings/redacted" or vector.name in HELD
]
WHOLE = base(STORE).sealed()
ROUNDS = 40


def wounded(random: Random) -> Files:
    """One of them, in which somebody has done something to some files."""
    files = dict(random.choice(BASES))
    for _ in range(random.randint(1, 2)):
        stated = sorted(name for name in files if name.startswith(("retention", "proofs/ret")))
        name = random.choice(stated if stated and random.random() < 0.7 else sorted(files))
        data = files[name]
        match random.choice(["delete", "flip", "copy", "bring back", "cut", "swap", "text"]):
            case "delete":
                del files[name]
            case "flip" if data:
                at = random.randrange(len(data))
                wound = bytes([data[at] ^ 1 << random.randrange(8)])
                files[name] = data[:at] + wound + data[at + 1 :]
            case "copy":
                files[f"retention/{random.randint(1, 5):04d}"] = data
            case "bring back":
                chunk = random.choice([name for name in WHOLE if name.startswith("chunks/")])
                files[chunk] = WHOLE[chunk]
            case "cut":
                files[name] = data[: random.randrange(len(data) + 1)]
            case "swap" if len(stated) > 1:
                one, other = random.sample(stated, 2)
                files[one], files[other] = files[other], files[one]
            case _:
                files[name] = data.replace(b"tombstone", b"delete").replace(b"kim", b"bob")
    return files


@pytest.mark.parametrize("seed", range(8))
def test_both_say_the_same_of_a_wounded_folder(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    for number in range(ROUNDS):
        folder = write(tmp_path / str(number), wounded(random))
        report = verify(FolderRecording(folder), workers=1)
        theirs = reference.check(folder)
        assert report.verdict == theirs["verdict"], (number, report.steps, theirs["problem"])
