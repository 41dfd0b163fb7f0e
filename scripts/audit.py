#!/usr/bin/env python3
"""What the locked packages are, under which licences, and what is known against them.

    .venv/bin/python scripts/audit.py                    or: make audit
    .venv/bin/python scripts/audit.py --no-vulnerabilities    asks nobody

Writes `dist/sbom.cdx.json` (CycloneDX, of the runtime lock, with hashes and licences) and
`dist/licences.txt`. Asks OSV about known vulnerabilities. Exit codes: 0 nothing is known against
any package; 1 something is; 65 a licence is not among those that are allowed; 69 nobody answered,
for all packages or for some: that is no good news.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from recorder_worker import __version__

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.txt"
BIN = Path(sys.executable).parent
OSV = "https://api.osv.dev/v1/query"

FOUND, BAD_LICENCE, NO_ANSWER = 1, 65, 69

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0"),
    *("MPL-2.0", "PSF-2.0", "Zlib"),
}
"""Nothing here binds whoever uses the recorder; MPL-2.0 binds changes to its own files."""

SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""How packages that name no SPDX expression call it."""

UNSAID = {"pyrage": "MIT"}
"""What packages do not say in their metadata, as their repositories have it."""


class Package(NamedTuple):
    """A package of the lock, and the licence that it names; empty: none that we understand."""

    name: str
    version: str
    licence: str


# --- licences -------------------------------------------------------------------------------------


def packages(lock: Path = LOCK) -> list[Package]:
    """Every package of the lock, with what its installed metadata say."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE)
    return [Package(name, version, licence_of(name)) for name, version in pins]


def licence_of(name: str) -> str:
    """The SPDX expression of an installed package."""
    try:
        told = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return UNSAID.get(name, "")
    if expression := told["License-Expression"]:
        return str(expression)
    short = str(told["License"] or "").strip()
    classified = [
        line.rsplit(" :: ", 1)[-1]
        for line in told.get_all("Classifier", [])
        if line.startswith("License :: ")
    ]
    for text in (short, *classified):
        known: str = SPDX.get(text, text)
        if known and set(_parts(known)) <= ALLOWED:
            return known
    return UNSAID.get(name, short.split("\n", 1)[0][:60])


def _parts(expression: str) -> Iterator[str]:
    for part in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression):
        if name := part.strip():
            yield name


def forbidden(found: list[Package]) -> list[Package]:
    """Those whose licence is unknown, or none that we allow."""
    return [p for p in found if not p.licence or not set(_parts(p.licence)) <= ALLOWED]


# --- bill of materials ----------------------------------------------------------------------------


def sbom(found: list[Package]) -> dict[str, Any]:
    """The CycloneDX document of the runtime lock. Raises ValueError where its schema refuses it."""
    command = [str(BIN / "cyclonedx-py"), "requirements", "--pyproject", f"{ROOT}/pyproject.toml"]
    options = ["--output-reproducible", "--short-PURLs", "--sv", "1.6", str(LOCK)]
    made = subprocess.run(  # noqa: S603  (a program of this environment)
        [*command, *options],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    document: dict[str, Any] = json.loads(made.stdout)
    document["metadata"]["component"]["version"] = __version__
    root = document["metadata"]["component"]["bom-ref"]
    licences = {package.name: package.licence for package in found}
    for component in document["components"]:
        # Neither the lock's line nor an index that nobody asked: the hashes say what is meant.
        component.pop("description", None)
        references = component.pop("externalReferences", [])
        component["hashes"] = [h for one in references for h in one.get("hashes", [])]
        if licence := licences.get(component["name"]):
            component["licenses"] = [{"expression": licence}]
    document["dependencies"] = [
        {"ref": root, "dependsOn": sorted(c["bom-ref"] for c in document["components"])},
        *({"ref": c["bom-ref"]} for c in document["components"]),
    ]
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if fault is not None:
        raise ValueError(f"expected a document of CycloneDX 1.6, found: {fault}")
    return document


# --- vulnerabilities ------------------------------------------------------------------------------


def vulnerabilities(lock: Path, url: str) -> int:
    """Ask about every package; says what came, and gives the exit code."""
    command = [str(BIN / "pip-audit"), "-r", str(lock), "--require-hashes", "--disable-pip"]
    options = ["-s", "osv", "--osv-url", url, "-f", "json", "--progress-spinner", "off"]
    ended = subprocess.run(  # noqa: S603  (a program of this environment)
        [*command, *options], check=False, capture_output=True, text=True
    )
    try:
        answered = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        _say(f"NOT AUDITED: {url} did not answer about known vulnerabilities: {why}")
        return NO_ANSWER
    hit = [one for one in answered if one.get("vulns")]
    # pip-audit ends well when it could ask about no package at all: silence is not an answer.
    unasked = [one for one in answered if "skip_reason" in one]
    for one in hit:
        for known in one["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            _say(f"{one['name']} {one['version']}: {known['id']}, mended in {fixed}")
    for one in unasked:
        _say(f"NOT AUDITED: {one['name']}: {one['skip_reason']}")
    if hit:
        return FOUND
    if unasked or not answered:
        return NO_ANSWER
    _say(f"nothing is known against {len(answered)} packages")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(arguments: list[str]) -> int:
    """Write the files, look at licences, ask; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where to write")
    parser.add_argument("--osv-url", default=OSV, help="whom to ask")
    parser.add_argument("--no-vulnerabilities", action="store_true", help="ask nobody")
    given = parser.parse_args(arguments)
    found = packages()
    given.dist.mkdir(parents=True, exist_ok=True)
    made = json.dumps(sbom(found), indent=1, sort_keys=True)
    (given.dist / "sbom.cdx.json").write_text(made + "\n", encoding="utf-8")
    listed = "".join(f"{p.name} {p.version}: {p.licence or 'unknown'}\n" for p in found)
    (given.dist / "licences.txt").write_text(listed, encoding="utf-8")
    _say(f"{given.dist / 'sbom.cdx.json'}, {given.dist / 'licences.txt'}: {len(found)} packages")
    bad = forbidden(found)
    for package in bad:
        _say(f"licence of {package.name} {package.version}: {package.licence or 'unknown'}")
    if bad:
        return BAD_LICENCE
    return 0 if given.no_vulnerabilities else vulnerabilities(LOCK, given.osv_url)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
