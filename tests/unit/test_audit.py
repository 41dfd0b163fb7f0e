"""`make audit`: a bill of materials that is one, licences that are known, and no silent well."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "audit.py"
LOCKED = dict(
    re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
)
KNOWN = {
    "id": "OSV-2026-1",
    "summary": "a fault",
    "details": "a fault",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "msgspec"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


sys.path.insert(0, str(SCRIPT.parent))
script = importlib.import_module("audit")


def audit(dist: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--dist", str(dist), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@contextmanager
def osv(answers: dict[str, Any], *, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A service that knows what it is told, and remembers what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["package"]["name"]
            asked.append(name)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(name, {})).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", asked
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dist = tmp_path_factory.mktemp("dist")
    ended = audit(dist, "--no-vulnerabilities")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return dist


def test_the_bill_of_materials_is_one(written: Path) -> None:
    text = (written / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert document["metadata"]["component"]["name"] == "session-recorder"
    found = {c["name"]: c["version"] for c in document["components"]}
    assert found == LOCKED
    for component in document["components"]:
        assert component["licenses"], component["name"]
        digests = {h["content"] for h in component["hashes"]}
        assert digests, component["name"]
        assert all(f"sha256:{d}" in (ROOT / "requirements.txt").read_text() for d in digests)
    assert "/simple" not in text, "no index is named"


def test_every_licence_is_known(written: Path) -> None:
    lines = (written / "licences.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split(" ", 1)[0] for line in lines} == set(LOCKED)
    assert not [line for line in lines if "unknown" in line or "GPL" in line]


SHORT = ("msgspec", "zstandard")


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages of the lock, with their hashes."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    path = tmp_path_factory.mktemp("lock") / "requirements.txt"
    path.write_text("".join(e for e in entries if e.partition("==")[0] in SHORT))
    return path


def test_nothing_known_is_said_when_everything_was_asked(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv({}) as (url, asked):
        assert script.vulnerabilities(lock, url) == 0
    assert "nothing is known against 2 packages" in capsys.readouterr().out
    assert sorted(asked) == sorted(SHORT)


def test_what_is_known_is_said_with_the_version_that_mends_it(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv({"msgspec": {"vulns": [KNOWN]}}) as (url, _):
        assert script.vulnerabilities(lock, url) == 1
    told = capsys.readouterr().out
    assert f"msgspec {LOCKED['msgspec']}: OSV-2026-1, mended in 99.1" in told
    assert "nothing is known" not in told


@pytest.mark.parametrize("status", [500, None], ids=["failing", "away"])
def test_a_service_that_does_not_answer_is_no_good_news(
    lock: Path, status: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if status is None:
        code = script.vulnerabilities(lock, "http://127.0.0.1:9/v1/query")
    else:
        with osv({}, status=status) as (url, _):
            code = script.vulnerabilities(lock, url)
    told = capsys.readouterr().out
    assert code == 69
    assert "NOT AUDITED" in told
    assert "nothing is known" not in told


def test_a_licence_that_is_not_allowed_is_found() -> None:
    found = [
        script.Package("good", "1", "Apache-2.0 AND (MIT OR Zlib)"),
        script.Package("bound", "1", "MIT AND GPL-3.0-only"),
        script.Package("silent", "1", ""),
    ]
    assert [package.name for package in script.forbidden(found)] == ["bound", "silent"]
