"""The last part of docs/audit.md, run line by line, on true and on changed audit trails."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "tests/vectors/logs"
TOOLS = ("openssl", "sha256sum", "python3")

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS),
    reason="needs openssl: scripts/setup-system.sh installs it",
)


def by_hand(folder: Path, vector: str) -> str:
    """What the document's lines print about a log of the vectors. AssertionError: one fails."""
    shutil.copytree(LOGS / vector, folder / "recorder-data")
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8").split("## By hand", 1)[1]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    said = ""
    for language, lines in blocks:
        if language == "python":
            (folder / "log.py").write_text(lines)
            continue
        assert language == "sh"
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", lines],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        said += ended.stdout + ended.stderr
        assert ended.returncode == 0, said
    return said


@pytest.mark.parametrize(
    ("name", "bundles"),
    [("audit-trail", "3 of 3"), ("audit-trail-whose-begin-is-too-old", "3 of 4")],
)
def test_a_true_trail_verifies_by_hand(tmp_path: Path, name: str, bundles: str) -> None:
    said = by_hand(tmp_path, f"good/{name}")
    assert f"{bundles} bundles, entered in the log" in said
    assert "Signature Verified Successfully" in said
    assert said.count(".jsonl") == 3


def test_that_the_first_bundle_is_not_there_is_said_by_hand(tmp_path: Path) -> None:
    """Whether that is for its age says a line, which is looked for, and not there."""
    assert "2 of 3 bundles, entered in the log" in by_hand(
        tmp_path, "tampered/audit-bundle-removed"
    )
    kept = (tmp_path / "recorder-data/audit").glob("*.jsonl")
    assert not any('"type":"aged"' in path.read_text() for path in kept)


CHANGED = {path.name for path in (LOGS / "tampered").glob("audit-*")} - {"audit-bundle-removed"}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_a_changed_trail_fails_by_hand(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError, match="not those in the log"):
        by_hand(tmp_path, f"tampered/{name}")


def test_a_log_that_another_key_signed_fails_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(LOGS / "good/audit-trail", folder)
    path = folder / "log/checkpoint"
    lines = path.read_text().split("\n")
    lines[-2] = lines[-2][:-6] + ("AAAA==" if lines[-2][-6:] != "AAAA==" else "BBBB==")
    path.write_text("\n".join(lines))
    with pytest.raises(AssertionError, match="Signature Verification Failure"):
        by_hand(tmp_path, str(folder))


def test_it_needs_the_standard_library_alone() -> None:
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    imported = re.findall(r"^(?:import|from) (.+)$", program, re.MULTILINE)
    assert imported == ["base64, hashlib, json, pathlib"]
