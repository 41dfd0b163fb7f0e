"""The committed recordings and logs: made by the reference, judged by it and by the product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import reference
import reference_log
import reference_logs
import reference_vectors
from blake3 import blake3
from reference_good import VECTORS, Vector
from reference_signing import SignatureStore

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.identities import cipher_of
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.session_log.growth import growth
from recorder_worker.core.verify import verify

OUT = reference_vectors.OUT
RECORDINGS = [vector for vector in VECTORS if vector.folder.startswith("recordings/")]
ENCRYPTED = [vector for vector in VECTORS if vector.opened]
IDENTITY = reference_vectors.IDENTITY
LOGS = [vector for vector in VECTORS if vector.folder.startswith("logs/")]
MOST_BYTES = 10**6
EXIT_CODES = {
    "COMPLETE": 0,
    "COMPLETE_WITH_GAPS": 0,
    "TRUNCATED": 10,
    "CLIP": 11,
    "REDACTED": 12,
    "TAMPERED": 13,
    "EQUIVOCATION": 14,
    "UNSUPPORTED": 15,
}


def named(vector: Vector) -> str:
    return f"{vector.folder}/{vector.name}"


def folder_of(vector: Vector) -> Path:
    return OUT / vector.folder / vector.name


def expected_of(vector: Vector) -> dict[str, Any]:
    text = (folder_of(vector) / reference_vectors.EXPECTED).read_text(encoding="utf-8")
    expected: dict[str, Any] = json.loads(text)
    return expected


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("vector", RECORDINGS, ids=named)
def test_the_reference_gives_the_expected_verdict(vector: Vector) -> None:
    found, expected = reference.check(folder_of(vector)), expected_of(vector)
    assert found["verdict"] == expected["verdict"] == vector.verdict
    assert found["problem"] == expected["reference_says"]
    assert found["root_hash"] == expected["root_hash"]


@pytest.mark.parametrize("vector", RECORDINGS, ids=named)
def test_the_product_gives_the_expected_verdict(vector: Vector) -> None:
    report, expected = verify(FolderRecording(folder_of(vector))), expected_of(vector)
    assert str(report.verdict) == expected["verdict"], report.steps
    assert report.exit_code == EXIT_CODES[expected["verdict"]]
    if vector.folder in {"recordings/good", "recordings/redacted"}:
        assert report.root_hash == expected["root_hash"]


@pytest.mark.parametrize("vector", ENCRYPTED, ids=named)
def test_both_give_the_expected_verdict_with_the_identity(vector: Vector) -> None:
    expected = expected_of(vector)
    found = reference.check(folder_of(vector), IDENTITY)
    assert found["verdict"] == expected["verdict_with_identity"] == vector.opened
    assert found["problem"] == expected["reference_says_with_identity"]
    recording = FolderRecording(folder_of(vector))
    cipher = cipher_of(recording, [IDENTITY])
    report = verify(recording, cipher=cipher)
    assert str(report.verdict) == vector.opened, report.steps
    assert report.closed_count == 0 or cipher is None


def test_both_read_the_same_pictures_out_of_an_encrypted_recording() -> None:
    for name in ("encrypted", "clip-of-encrypted"):
        folder = OUT / "recordings" / "good" / name
        recording = FolderRecording(folder)
        ours = [
            (frame.unit, frame.t_ns, blake3(frame.picture.tobytes()).hexdigest())
            for frame in recording_frames(recording, cipher_of(recording, [IDENTITY]))
        ]
        theirs = reference.check(folder, IDENTITY)["frames"]
        assert ours == [(frame["unit"], frame["t_ns"], frame["pixels"]) for frame in theirs]
        assert len({pixels for *_, pixels in ours}) > 1 or name.startswith("clip")


@pytest.mark.parametrize("vector", LOGS, ids=named)
def test_the_reference_holds_a_log_against_its_recordings(vector: Vector) -> None:
    found, expected = reference_log.check_log(folder_of(vector)), expected_of(vector)
    assert found["verdict"] == expected["verdict"] == vector.verdict
    assert found["problem"] == expected["reference_says"]


@pytest.mark.parametrize("vector", LOGS, ids=named)
def test_the_product_holds_a_log_against_its_recordings(vector: Vector) -> None:
    data = DataDirectory(folder_of(vector))
    report = audit_log(data.read, data, bundles=data)
    assert report.exit_code == EXIT_CODES[vector.verdict], report.problems
    if vector.verdict == "COMPLETE":
        assert report.root_hash == expected_of(vector)["root_hash"]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 700])
def test_both_cut_a_log_into_the_same_tiles(size: int) -> None:
    entries = [n.to_bytes(60, "big") for n in range(size)]
    theirs = reference_logs.tiles(entries)

    def nothing(name: str) -> bytes:
        raise AssertionError(f"{name} is read, and there is nothing yet")

    ours = {name: bytes(data) for name, data in growth(nothing, 0, entries)}
    assert {f"log/{name.removeprefix('log/')}": data for name, data in ours.items()} == theirs


def test_the_committed_bytes_are_those_that_the_reference_makes(tmp_path: Path) -> None:
    store = SignatureStore(reference_vectors.MADE_ONCE)
    known = dict(store.known)
    for vector in VECTORS:
        reference_vectors.write(vector, store, tmp_path)
    assert store.known == known, "something that is made once is not in made-once.json"
    assert store.used == known.keys(), "made-once.json has more than what is used"
    made = files_in(tmp_path)
    kept = {
        f"{part}/{name}": data
        for part in ("recordings", "logs")
        for name, data in files_in(OUT / part).items()
        if name not in {"README.md", reference_vectors.MADE_ONCE.name, IDENTITY.name}
    }
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_names_are_unique_and_the_whole_set_is_small() -> None:
    names = [named(vector) for vector in VECTORS]
    assert len(names) == len(set(names))
    total = sum(map(len, files_in(OUT / "recordings").values()))
    assert total + sum(map(len, files_in(OUT / "logs").values())) < MOST_BYTES


def test_every_tampered_recording_says_why() -> None:
    for vector in VECTORS:
        expected = expected_of(vector)
        good = expected["verdict"] in {"COMPLETE", "COMPLETE_WITH_GAPS", "CLIP"}
        assert good == (expected["reference_says"] == ""), named(vector)
        assert len(expected["what"]) > 10
