"""`recorder keys`: makes, shows and rotates, and prints no private key, wherever it comes from."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from typer.testing import CliRunner, Result

from recorder_worker.cli import config as config_command
from recorder_worker.cli import keys as keys_command
from recorder_worker.cli.output import EXIT_CODES
from recorder_worker.core.errors import RecorderError, SettingsError
from recorder_worker.core.signing.rotation import parse_rotation, verify_rotation
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify.policy import parse_policy

app = typer.Typer()
keys_command.add_to(app)
config_command.add_to(app)

Private = Ed25519PrivateKey | MLDSA44PrivateKey


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("RECORDER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECORDER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(*words: str, fails: bool = False) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, RecorderError if fails else type(None)), result.exception
    return result


def shown(*words: str) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(run("keys", *words, "--json").stdout)


def refused(*words: str) -> str:
    error = run("keys", *words, fails=True).exception
    assert isinstance(error, SettingsError)
    assert next(code for kind, code in EXIT_CODES if isinstance(error, kind)) == 78
    return str(error)


def device_set(found: dict[str, str]) -> tuple[PublicKey, ...]:
    keys = [PublicKey(KeyKind.ED25519, bytes.fromhex(found["public_key"]))]
    if "ml_dsa_44" in found:
        keys.append(PublicKey(KeyKind.ML_DSA_44, base64.b64decode(found["ml_dsa_44"])))
    return tuple(keys)


def pem(key: Private) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def check_holds_no_private_key(text: str, folder: Path) -> None:
    for path in folder.rglob("*.pem"):
        body = path.read_text(encoding="ascii")
        key = serialization.load_pem_private_key(body.encode(), None)
        assert isinstance(key, Private)
        check_not_shown(text, key)


def check_not_shown(text: str, key: Private) -> None:
    raw = key.private_bytes_raw()
    joined = "".join(text.split())
    for form in (raw.hex(), base64.b64encode(raw).decode().rstrip("=")):
        assert form not in joined
    assert "PRIVATE KEY" not in text
    assert all(line not in text for line in pem(key).splitlines() if line)


def test_init_makes_keys_and_says_what_to_give_away(data_dir: Path) -> None:
    found = shown("init")
    assert found["made"] == [str(data_dir / "keys" / "device.pem")]
    assert found["private_key"] == found["made"][0]
    assert (data_dir / "keys" / "recorder").read_text() == found["recorder"] + "\n"
    assert parse_policy(found["trust"].encode()).name_of(device_set(found)) == found["recorder"]
    name, key_id, key = found["vkey"].split("+", 2)
    assert (name, len(key_id)) == (f"{found['recorder']}/log", 8)
    assert base64.b64decode(key) == b"\x01" + bytes.fromhex(found["public_key"])


def test_init_overwrites_nothing_and_makes_what_is_missing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("keys", "init")
    before = (data_dir / "keys" / "device.pem").read_bytes()
    assert "recorder keys rotate" in refused("init")
    monkeypatch.setenv("RECORDER_KEYS__ML_DSA_44", "true")
    assert shown("init")["made"] == [str(data_dir / "keys" / "device-ml-dsa-44.pem")]
    assert (data_dir / "keys" / "device.pem").read_bytes() == before
    refused("init")


def test_show_shows_what_is_there_and_makes_nothing(data_dir: Path) -> None:
    assert "recorder keys init" in refused("show")
    assert not data_dir.exists()
    made = shown("init")
    del made["made"]
    assert shown("show") == made
    text = run("keys", "show").stdout
    for value in (made["recorder"], made["public_key"], made["vkey"], made["trust"]):
        assert value in text


def test_the_recorder_of_the_settings_is_the_one_that_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECORDER_MERKLE__RECORDER", "lab/7")
    assert shown("init")["recorder"] == "lab/7"
    assert shown("rotate")["statement"].split("\n")[1] == "recorder lab/7"


@pytest.mark.parametrize("ml_dsa_44", ["false", "true"])
def test_rotate_keeps_a_statement_that_a_policy_takes(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, ml_dsa_44: str
) -> None:
    monkeypatch.setenv("RECORDER_KEYS__ML_DSA_44", ml_dsa_44)
    old = shown("init")
    new = shown("rotate")
    assert new["recorder"] == old["recorder"]
    assert not set(device_set(old)) & set(device_set(new))
    statement = (data_dir / "keys" / "rotations" / "1").read_text(encoding="ascii")
    assert (new["statement"], new["statement_in"][-1]) == (statement, "1")
    signed = parse_rotation(statement.encode())
    verify_rotation(signed)
    assert (signed.rotation.old, signed.rotation.new) == (device_set(old), device_set(new))
    # What the text output says to put below the old key, put there.
    text = run("keys", "rotate").stdout
    newest = shown("show")
    lines = text[text.index("rotations:") : text.index("\nRestart")]
    first = "  - |\n" + "".join(f"    {line}\n" for line in statement.split("\n")[:-1])
    policy = parse_policy(
        (old["trust"] + lines.replace("rotations:\n", f"rotations:\n{first}")).encode()
    )
    assert policy.name_of(device_set(old)) == old["recorder"]
    assert policy.name_of(device_set(new)) == f"{old['recorder']}, 1 rotation later"
    assert policy.name_of(device_set(newest)) == f"{old['recorder']}, 2 rotations later"
    assert "Restart all workers" in text


def test_rotate_without_a_key_says_what_to_do(data_dir: Path) -> None:
    assert "recorder keys init" in refused("rotate")
    assert not data_dir.exists()


def test_no_command_prints_a_private_key(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_KEYS__ML_DSA_44", "true")
    text = ""
    for words in (("init",), ("init", "--json"), ("show",), ("show", "--json")):
        result = CliRunner().invoke(app, ["keys", *words])
        text += result.output + str(result.exception)
    check_holds_no_private_key(text, data_dir)
    for words in (("rotate",), ("rotate", "--json"), ("show", "--json")):
        text += run("keys", *words).output
    check_holds_no_private_key(text, data_dir)


# --- the key from the environment -----------------------------------------------------------------


def test_a_key_from_the_environment_is_shown_by_its_public_half(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[Private] = [
        Ed25519PrivateKey.from_private_bytes(b"\x05" * 32),
        MLDSA44PrivateKey.from_seed_bytes(b"\x06" * 32),
    ]
    monkeypatch.setenv("RECORDER_KEYS__ML_DSA_44", "true")
    monkeypatch.setenv("RECORDER_KEYS__DEVICE_KEY_PEM", "".join(pem(key) for key in keys))
    found = shown("show")
    assert [key.data for key in device_set(found)] == [
        key.public_key().public_bytes_raw() for key in keys
    ]
    assert found["private_key"] == "in the environment"
    for words in (("init",), ("rotate",)):
        said = refused(*words)
        assert "RECORDER_KEYS__DEVICE_KEY_PEM" in said
        assert "restart" in said
    assert not data_dir.exists()
    output = run("keys", "show").output + run("config").output + run("config", "--json").output
    assert "(set, not shown)" in output
    for key in keys:
        check_not_shown(output + msgspec.json.encode(found).decode(), key)


def test_a_secret_that_is_no_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDER_KEYS__DEVICE_KEY_PEM", "hunter2")
    said = refused("show")
    assert "hunter2" not in said
    assert "RECORDER_KEYS__DEVICE_KEY_PEM" in said
    monkeypatch.setenv("RECORDER_KEYS__DEVICE_KEY", "a.pem")
    both = refused("show")
    assert "not both" in both
    assert "hunter2" not in both
