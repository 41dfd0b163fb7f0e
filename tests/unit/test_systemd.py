"""The systemd units: what systemd says of them, and that they are about this program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recorder_worker.cli.output import EXIT_CODES
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.pipeline import STAGES
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.rule import rules
from recorder_worker.service.worker import STOP_S

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ["session-recorder.service", "session-recorder@.service"]
DROP_IN = FOLDER / "credentials.conf"
EXPOSURE_MAX = 2.0
"""Of ten; below this systemd calls a service OK. docs/systemd.md has the figure."""

units = pytest.mark.parametrize("unit", UNITS)
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here"
)


def lines(path: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def installed(tmp_path: Path, unit: str) -> Path:
    """The unit, with a program where it looks for one, and with the drop-in for secrets."""
    program = tmp_path / "recorder"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (FOLDER / unit).read_text(encoding="utf-8")
    here = tmp_path / unit
    here.write_text(text.replace("/opt/session-recorder/bin/recorder", str(program)))
    drop_ins = tmp_path / f"{unit}.d"
    drop_ins.mkdir()
    shutil.copy(DROP_IN, drop_ins)
    return here


@needs_systemd
@units
def test_systemd_has_no_complaint(tmp_path: Path, unit: str) -> None:
    path = installed(tmp_path, unit)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    complaints = [line for line in ended.stderr.splitlines() if "session-recorder" in line]
    assert (ended.returncode, complaints) == (0, []), ended.stderr


@needs_systemd
@units
def test_systemd_would_complain(tmp_path: Path, unit: str) -> None:
    path = installed(tmp_path, unit)
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystem=mostly"))
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Failed to parse protect system value" in ended.stderr


@needs_systemd
@units
def test_it_is_exposed_to_little(tmp_path: Path, unit: str) -> None:
    path = installed(tmp_path, unit)
    limit = f"--threshold={round(EXPOSURE_MAX * 10)}"
    ended = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", limit, str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    shown = re.search(r"exposure level for \S+: ([\d.]+)", ended.stdout)
    assert shown, ended.stdout + ended.stderr
    assert ended.returncode == 0
    assert float(shown[1]) <= EXPOSURE_MAX
    document = (FOLDER.parents[1] / "docs" / "systemd.md").read_text(encoding="utf-8")
    assert f"{shown[1]} of 10" in document


@units
def test_every_variable_is_a_setting(unit: str) -> None:
    known = {variable_name(path) for path in rules()}
    for path in (FOLDER / unit, DROP_IN):
        given = [
            word.partition("=")[0] for line in lines(path, "Environment") for word in line.split()
        ]
        assert given
        assert set(given) <= known


@units
def test_a_wrong_setting_is_not_tried_again(unit: str) -> None:
    (codes,) = lines(FOLDER / unit, "RestartPreventExitStatus")
    assert str(dict(EXIT_CODES)[SettingsError]) in codes.split()
    (wait,) = lines(FOLDER / unit, "TimeoutStopSec")
    assert float(wait) > STOP_S
    assert lines(FOLDER / unit, "KillMode") == ["mixed"]


def test_the_template_takes_a_stage() -> None:
    (command,) = lines(FOLDER / UNITS[1], "ExecStart")
    assert command.endswith("recorder run %i")
    named = re.findall(
        r"session-recorder@(\w+)", (FOLDER.parents[1] / "docs" / "systemd.md").read_text()
    )
    assert {stage.name for stage in STAGES} <= set(named)


def test_both_are_confined_alike() -> None:
    def confinement(unit: str) -> list[str]:
        text = (FOLDER / unit).read_text(encoding="utf-8")
        kept = text.split("ProtectSystem=", 1)[1].split("[Install]", 1)[0]
        return [line for line in kept.splitlines() if not line.startswith("#")]

    assert confinement(UNITS[0]) == confinement(UNITS[1])
    assert len(confinement(UNITS[0])) > 20
