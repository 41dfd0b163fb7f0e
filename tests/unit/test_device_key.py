"""The device key is made once, is for its owner alone, and never shows itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.core.errors import SettingsError, StoreError
from recorder_worker.core.origins import default_recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "device.pem"


def pem(
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def test_a_key_is_made_on_first_use_and_found_again(path: Path) -> None:
    first, second = FileSigner(path), FileSigner(path)
    assert first.public_key == second.public_key
    assert len(first.public_key) == 32
    assert first.recorder == default_recorder(first.public_key)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_key_and_folder_are_for_their_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        FileSigner(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_signatures_verify_and_are_deterministic(path: Path) -> None:
    signer = FileSigner(path)
    signature = signer.sign(b"message")
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, b"message")
    assert signer.sign(b"message") == signature


def test_a_session_secret_is_the_same_again_and_another_for_every_session(path: Path) -> None:
    signer = FileSigner(path)
    secrets = {signer.session_secret(f"session-{n}") for n in range(10)}
    assert len(secrets) == 10
    assert {len(secret) for secret in secrets} == {32}
    assert FileSigner(path).session_secret("session-1") == signer.session_secret("session-1")


def test_nothing_of_the_key_is_shown(path: Path) -> None:
    signer = FileSigner(path)
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, Ed25519PrivateKey)
    private = loaded.private_bytes_raw()
    for shown in (repr(signer), str(signer), f"{signer}"):
        assert private.hex() not in shown
        assert repr(private) not in shown
        assert signer.public_key.hex() in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_reach_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    FileSigner(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        FileSigner(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(Ed25519PrivateKey.generate(), b"password"),
    ],
    ids=["empty", "text", "another kind", "encrypted"],
)
def test_a_file_that_is_no_such_key_is_refused_and_kept(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="expected an Ed25519"):
        FileSigner(path)
    assert path.read_bytes() == data


def test_a_place_where_no_key_can_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="device key"):
        FileSigner(tmp_path / "file" / "device.pem")


def test_processes_that_race_for_the_first_key_agree_on_one(path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from recorder_worker.adapters.device_key import FileSigner\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(FileSigner(pathlib.Path(sys.argv[1])).public_key.hex())\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    keys = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert keys == {FileSigner(path).public_key.hex()}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
