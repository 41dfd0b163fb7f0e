"""The locks: complete, hashed, in step with pyproject.toml, and tied to no package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ["requirements.txt", "requirements-dev.txt"]


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {
        canonicalize_name(found[1]): found[2]
        for found in re.finditer(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_nothing_else_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    entry = r"[A-Za-z0-9._-]+==[^\s;]+(?: ; [^\\\n]+)?(?: \\\n {4}--hash=sha256:[0-9a-f]{64})+"
    assert re.sub(entry, "", code).strip() == ""
    assert "://" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_satisfies_pyproject(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    if lock == "requirements-dev.txt":
        wanted += project["optional-dependencies"]["dev"]
    found = pins(lock)
    for text in wanted:
        requirement = Requirement(text)
        pinned = found.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{text} is not in {lock}: run `make lock`"
        assert requirement.specifier.contains(pinned), f"{text}, pinned {pinned}: run `make lock`"


def test_the_development_lock_has_the_same_versions() -> None:
    runtime, development = (pins(lock) for lock in LOCKS)
    assert {name: development.get(name) for name in runtime} == runtime
