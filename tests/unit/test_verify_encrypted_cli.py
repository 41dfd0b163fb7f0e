"""`recorder verify --identity` where the manifest itself is signed, and of no use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reference_vectors
from recording_files import write
from reference_format import h
from reference_sealed import IDENTITY_FILE, SealedWriter, sealed_base
from reference_signing import SignatureStore
from typer.testing import CliRunner

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.main import app
from recorder_worker.core.verify import Verdict, verify


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "identity"
    path.write_text(IDENTITY_FILE)
    return path


def written(writer: SealedWriter, folder: Path, **changed: object) -> Path:
    """A sealed recording whose signed manifest says something else of its encryption."""
    manifest = json.loads(writer.attached["session.json"])
    manifest["encryption"] |= changed
    data = json.dumps(manifest).encode()
    writer.attached["session.json"] = data
    return write(folder, writer.edit(0, manifest_blake3=h(data)).seal().sealed())


def base() -> SealedWriter:
    return sealed_base(SignatureStore(reference_vectors.MADE_ONCE))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"wrapped_key": "nonsense"}, "expected its wrapped_key to be an age file"),
        ({"key_id": "0" * 32}, "it is the key of another session"),
    ],
    ids=["no age file", "another key"],
)
def test_a_key_that_nobody_can_use_is_never_a_clean_exit(
    tmp_path: Path, identity: Path, changed: dict[str, str], said: str
) -> None:
    folder = written(base(), tmp_path / "recording", **changed)
    assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
    ended = CliRunner().invoke(app, ["verify", str(folder), "--identity", str(identity)])
    assert ended.exit_code == 65
    assert said in ended.stderr.replace("\n", " ")
    assert "COMPLETE" in ended.stdout
    assert "their plain bytes were not looked at" in ended.stdout.replace("\n", " ")


def test_files_of_an_encrypted_recording_are_part_of_it_and_those_in_the_clear_beside_are_not(
    tmp_path: Path,
) -> None:
    folder = written(base(), tmp_path / "recording")
    assert verify(FolderRecording(folder)).warnings == ()
    (folder / "chunks" / "0000000001.raw").write_bytes(b"in the clear")
    report = verify(FolderRecording(folder))
    assert report.warnings == ("not part of the record: chunks/0000000001.raw",)
    journal = base()
    files = {**journal.journal(), "chunks/0000000009.zst.enc": b"to come"}
    report = verify(FolderRecording(write(tmp_path / "journal", files)))
    assert (report.verdict, report.warnings) == (Verdict.TRUNCATED, ())
