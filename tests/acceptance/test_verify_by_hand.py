"""docs/verify-by-hand.md, run line by line, on true and on changed recordings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recording_files import write
from recordings import whole

DOCUMENT = Path(__file__).parents[2] / "docs/verify-by-hand.md"
BIN = Path(sys.executable).parent
TOOLS = ("b3sum", "zstd", "openssl", "sha256sum")

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS),
    reason="needs b3sum, zstd and openssl: scripts/setup-system.sh installs them",
)


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks of the document: language and text."""
    return re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


class Reader:
    """Somebody who follows the document in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recording = whole()
        write(folder / "RECORDING", self.recording.sealed())
        (self.make, self.digests, self.walk, self.signatures) = [
            text for language, text in blocks() if language == "sh"
        ]
        (program,) = [text for language, text in blocks() if language == "python"]
        (folder / "walk.py").write_text(program)
        self.run(self.make)

    def run(self, lines: str) -> str:
        found = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", lines],
            cwd=self.folder,
            env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            raise AssertionError(found.stdout + found.stderr)
        return found.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_a_true_chunk_verifies_by_hand(reader: Reader) -> None:
    assert reader.run(reader.digests).count("OK") == 3
    device = reader.recording.keys.device_keys()[0].data.hex()
    assert reader.run(reader.walk) == f"device key {device}\n"
    verified = reader.run(reader.signatures).count("Signature Verified Successfully")
    epochs = len(list(reader.folder.glob("epoch-*.key")))
    assert (verified, epochs) == (2 + epochs, 2)


def test_another_chunk_fails_its_digest(reader: Reader) -> None:
    shutil.copy(reader.folder / "RECORDING/chunks/0000000002.zst", reader.folder / "chunk.zst")
    with pytest.raises(AssertionError, match="FAILED"):
        reader.run(reader.digests)


def test_another_record_is_not_in_the_tree(reader: Reader) -> None:
    proof = reader.folder / "chunk.proof"
    text = proof.read_text()
    record = re.findall(r'"record": "([^"]+)"', text)
    proof.write_text(text.replace(record[0], record[1], 1))
    with pytest.raises(AssertionError, match=r"another place|not in the tree"):
        reader.run(reader.walk)


@pytest.mark.parametrize("name", ["device", "epoch-1", "epoch-2", "newest"])
def test_a_forged_signature_fails(reader: Reader, name: str) -> None:
    reader.run(reader.walk)
    path = reader.folder / f"{name}.message"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(AssertionError, match="Signature Verification Failure"):
        reader.run(reader.signatures)


def test_it_needs_the_standard_library_alone() -> None:
    (program,) = [text for language, text in blocks() if language == "python"]
    imported = re.findall(r"^(?:import|from) (.+)$", program, re.MULTILINE)
    assert imported == ["base64, json, subprocess"]
    code = [line for line in program.splitlines() if line.strip()]
    assert len(code) <= 45
