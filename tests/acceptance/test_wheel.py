"""`pip install .` gives `recorder`: the wheel, installed by itself, verifies from anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from worker_process import clean_environment

from recorder_worker import __version__
from recorder_worker.cli.output import EXIT_CODES
from recorder_worker.core.errors import SettingsError

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "vectors" / "recordings"


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean_environment(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INDEX="1"),
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip install .` builds it, out of what is under version control."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "recorder_worker", "tests", "docs"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = run(*command, "-w", folder, source, folder=folder)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a fresh environment; what it depends on is that of this one."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    paths = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    # Before: the editable installation of the development environment must not answer instead.
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    ended = run(*command, wheel, folder=place)
    assert ended.returncode == 0, ended.stderr
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return place


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"session_recorder-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"recorder_worker", info}
    assert f"{info}/licenses/LICENSE" in names
    assert "recorder_worker/py.typed" in names
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "recorder_worker").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if name.startswith("recorder_worker/")} == there


def test_the_metadata_is_the_projects(wheel: Path) -> None:
    found = metadata(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (found["Name"], found["Version"]) == ("session-recorder", __version__)
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = {text for text in found.get_all("Requires-Dist", []) if "extra ==" not in text}
    assert len(wanted) == len(project["dependencies"])


def test_the_command_is_there(installed: Path, tmp_path: Path) -> None:
    recorder = installed / "bin" / "recorder"
    ended = run(recorder, "--version", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, f"recorder {__version__}\n"), ended.stderr
    where = run(
        installed / "bin" / "python",
        "-c",
        "import recorder_worker; print(recorder_worker.__file__)",
        folder=tmp_path,
    )
    assert where.stdout.startswith(str(installed)), "the wheel's, not the checkout's"


def test_it_verifies_a_recording_from_anywhere(installed: Path, tmp_path: Path) -> None:
    recorder = installed / "bin" / "recorder"
    found = {}
    for name in ("good/complete", "tampered/chunk-byte-flipped"):
        folder = RECORDINGS / name
        ended = run(recorder, "verify", folder, "--json", folder=tmp_path)
        found[name] = (ended.returncode, json.loads(ended.stdout)["verdict"])
    assert list(found.values()) == [(0, "COMPLETE"), (13, "TAMPERED")]


def test_it_brings_its_data_files(installed: Path, tmp_path: Path) -> None:
    recorder = installed / "bin" / "recorder"
    ended = run(recorder, "schemas", "made", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (ROOT / "schemas").iterdir()}


def test_a_wrong_setting_ends_it_with_its_code(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("nats: {port: banana}\n")
    recorder = installed / "bin" / "recorder"
    ended = run(recorder, "run", "--config", "wrong.yaml", folder=tmp_path)
    assert ended.returncode == dict(EXIT_CODES)[SettingsError]
    assert "nats.port" in ended.stderr
