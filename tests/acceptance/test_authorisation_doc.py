"""What docs/authorisation.md tells to type under "Try it" works, as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from worker_process import DEADLINE_S, WorkerProcess, clean_environment

DOCUMENT = Path(__file__).parents[2] / "docs" / "authorisation.md"
SESSION = re.compile(r"[0-9a-f-]{36}")
WORKER = "RECORDER_AUTH__MODE=jwt RECORDER_AUTH__JWKS_FILE=jwks.json recorder run"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the key")


def try_it() -> list[list[str]]:
    """The lines of each shell block of the section."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## Try it\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in blocks]


def test_what_is_to_be_tried_works_as_it_stands_there(tmp_path: Path) -> None:
    before, meanwhile = try_it()
    assert before[-1] == WORKER
    assert meanwhile[0] == "export RECORDER_AUTH__JWKS_FILE=jwks.json"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"

    def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=tmp_path,
            env=clean_environment(PATH=path, **variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    for line in before[:-1]:
        ended = shell(line)
        assert ended.returncode == 0, (line, ended.stderr)
    variables = dict(word.split("=") for word in WORKER.split()[:-2])
    with WorkerProcess(tmp_path, env=variables) as worker:
        here = {"RECORDER_NATS__URL": worker.nats_url, "RECORDER_AUTH__JWKS_FILE": "jwks.json"}
        session, codes = "", []
        for line in meanwhile[1:]:
            ended = shell(line.replace("SESSION", session), **here)
            codes.append(ended.returncode)
            if line.startswith("recorder start"):
                session = ended.stdout.strip()
                assert SESSION.fullmatch(session), ended.stderr
            if ended.returncode:
                says = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
                said = ended.stderr.strip().removeprefix("recorder: ").split(";")[0]
                assert f"`{said}`" in says
        assert codes == [0, 0, 0, 0, 65, 0]
