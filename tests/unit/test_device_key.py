"""The device's keys are made once, are for their owner alone, and never show themselves."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.core.errors import SettingsError, StoreError
from recorder_worker.core.signing.origins import default_recorder
from recorder_worker.core.signing.signing_keys import KeyKind, verify_signature

AnyKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | MLDSA44PrivateKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "device.pem"


def pem(key: AnyKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


ED25519_PEM = pem(Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)).decode()
ML_DSA_PEM = pem(MLDSA44PrivateKey.from_seed_bytes(b"\x06" * 32)).decode()


def modes(folder: Path) -> dict[str, int]:
    return {
        str(each.relative_to(folder)): stat.S_IMODE(each.stat().st_mode)
        for each in folder.rglob("*")
    }


def test_a_key_is_made_on_first_use_and_found_again(path: Path) -> None:
    first, second = FileSigner(path), FileSigner(path)
    assert first.device_keys() == second.device_keys()
    assert [(key.kind, len(key.data)) for key in first.device_keys()] == [(KeyKind.ED25519, 32)]
    assert first.recorder == second.recorder == default_recorder(first.device_keys()[0].data)
    assert sorted(p.name for p in path.parent.iterdir()) == ["device.pem", "epochs", "recorder"]


def test_an_ml_dsa_key_stands_beside_where_that_is_on(path: Path) -> None:
    before = FileSigner(path).device_keys()
    signer = FileSigner(path, ml_dsa_44=True)
    assert signer.device_keys()[:1] == before
    assert [(k.kind, len(k.data)) for k in signer.device_keys()[1:]] == [(KeyKind.ML_DSA_44, 1312)]
    assert FileSigner(path, ml_dsa_44=True).device_keys() == signer.device_keys()
    assert FileSigner(path).device_keys() == before
    for key in signer.device_keys():
        verify_signature(key, b"message", signer.sign_device(key.kind, b"message"))
    assert path.with_name("device-ml-dsa-44.pem").exists()


def test_all_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys" / "device.pem"
    before = os.umask(0)
    try:
        signer = FileSigner(path, ml_dsa_44=True)
        signer.session_secret("session-1")
        signer.open_epoch("session-1", 0)
        signer.open_epoch("session-1", 1)
        signer.close_epoch("session-1", 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes(path.parent) == {
        "device.pem": 0o600,
        "device-ml-dsa-44.pem": 0o600,
        "recorder": 0o600,
        "epochs": 0o700,
        "epochs/session-1": 0o700,
        "epochs/session-1/0.erased": 0o600,
        "epochs/session-1/1.key": 0o600,
        "epochs/session-1/secret": 0o600,
    }


def test_the_data_folder_itself_stays_open_to_who_verifies(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        FileSigner(tmp_path / "data" / "keys" / "device.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o755


def test_signatures_verify_and_are_deterministic(path: Path) -> None:
    signer = FileSigner(path)
    signature = signer.sign_device(KeyKind.ED25519, b"message")
    verify_signature(signer.device_keys()[0], b"message", signature)
    assert signer.sign_device(KeyKind.ED25519, b"message") == signature
    with pytest.raises(ValueError, match="expected a key of ed25519"):
        signer.sign_device(KeyKind.ML_DSA_44, b"message")


def test_a_session_secret_is_the_same_again_and_another_for_every_session(path: Path) -> None:
    signer = FileSigner(path)
    secrets = {signer.session_secret(f"session-{n}") for n in range(10)}
    assert len(secrets) == 10
    assert {len(secret) for secret in secrets} == {32}
    assert FileSigner(path).session_secret("session-1") == signer.session_secret("session-1")


def test_a_session_secret_outlives_the_device_key(path: Path) -> None:
    secret = FileSigner(path).session_secret("session-1")
    path.unlink()
    signer = FileSigner(path)
    assert signer.session_secret("session-1") == secret
    assert signer.session_secret("session-2") != secret


def test_the_recorder_outlives_the_device_key(path: Path) -> None:
    first = FileSigner(path)
    path.unlink()
    second = FileSigner(path)
    assert second.device_keys() != first.device_keys()
    assert second.recorder == first.recorder


def test_a_recorder_file_that_holds_something_else_is_refused(path: Path) -> None:
    FileSigner(path)
    for text in ("a b\n", "one\ntwo\n", "\xff\n"):
        path.with_name("recorder").write_text(text, encoding="latin-1")
        with pytest.raises(SettingsError, match="expected the id in one line"):
            FileSigner(path)


def test_the_other_files_may_stand_apart_from_the_key(path: Path, tmp_path: Path) -> None:
    signer = FileSigner(path, folder=tmp_path / "data" / "keys")
    signer.open_epoch("session-1", 0)
    assert [p.name for p in path.parent.iterdir()] == ["device.pem"]
    names = sorted(p.name for p in (tmp_path / "data" / "keys").iterdir())
    assert names == ["epochs", "recorder"]


# --- from the environment -------------------------------------------------------------------------


@pytest.mark.parametrize("change", [str, lambda text: text.replace("\n", "\\n"), str.strip])
def test_keys_from_the_environment_make_no_key_file(path: Path, change: object) -> None:
    assert callable(change)
    signer = FileSigner(path, pem=change(ED25519_PEM + ML_DSA_PEM), ml_dsa_44=True)
    expected = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32).public_key().public_bytes_raw()
    assert signer.device_keys()[0].data == expected
    for key in signer.device_keys():
        verify_signature(key, b"message", signer.sign_device(key.kind, b"message"))
    assert sorted(p.name for p in path.parent.iterdir()) == ["epochs", "recorder"]


@pytest.mark.parametrize(
    ("text", "ml_dsa_44", "words"),
    [
        ("hunter2", False, "expected 1 private keys in PEM, of ed25519 in this order, found 0"),
        (ED25519_PEM, True, "of ed25519 and ml-dsa-44 in this order, found 1"),
        (ED25519_PEM + ML_DSA_PEM, False, "found 2; keys.ml_dsa_44 says"),
        (ML_DSA_PEM + ED25519_PEM, True, "expected an Ed25519 key"),
        (ML_DSA_PEM, False, "expected an Ed25519 key"),
        (ED25519_PEM.replace("MC4", "AAA"), False, "expected an Ed25519 private key"),
        (pem(Ed25519PrivateKey.generate(), b"password").decode(), False, "without a password"),
    ],
)
def test_a_secret_that_is_no_key_is_refused_and_not_shown(
    path: Path, text: str, ml_dsa_44: bool, words: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        FileSigner(path, pem=text, ml_dsa_44=ml_dsa_44)
    assert words in str(raised.value)
    assert raised.value.__cause__ is None
    for line in text.splitlines():
        assert line.startswith("-----") or line not in str(raised.value)
    assert not path.parent.exists()


# --- nothing shows, nothing is replaced -----------------------------------------------------------


def test_nothing_of_the_key_is_shown(path: Path) -> None:
    signer = FileSigner(path, ml_dsa_44=True)
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, Ed25519PrivateKey)
    private = loaded.private_bytes_raw()
    for shown in (repr(signer), str(signer), f"{signer}", repr(vars(signer))):
        assert private.hex() not in shown
        assert repr(private)[2:-1] not in shown
        assert signer.device_keys()[0].data.hex() in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
@pytest.mark.parametrize("name", ["device.pem", "device-ml-dsa-44.pem"])
def test_a_key_that_others_can_reach_is_refused_with_what_to_do(
    path: Path, mode: int, name: str
) -> None:
    FileSigner(path, ml_dsa_44=True)
    path.with_name(name).chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        FileSigner(path, ml_dsa_44=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(Ed25519PrivateKey.generate(), b"password"),
        ML_DSA_PEM.encode(),
    ],
    ids=["empty", "text", "another kind", "encrypted", "the other kind"],
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


def test_a_file_system_without_hard_links_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    first = FileSigner(path)
    keys = first.open_epoch("session-1", 0)
    second = FileSigner(path)
    assert second.device_keys() == first.device_keys()
    assert second.open_epoch("session-1", 0) == keys
    second.close_session("session-1")
    assert not list((path.parent / "epochs").iterdir())


def test_processes_that_race_for_the_first_key_agree_on_one(path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from recorder_worker.adapters.device_key import FileSigner\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "signer = FileSigner(pathlib.Path(sys.argv[1]), ml_dsa_44=True)\n"
        "keys = (*signer.device_keys(), *signer.open_epoch('session-1', 3))\n"
        "print(signer.recorder, *(key.data.hex() for key in keys))\n"
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
    printed = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    signer = FileSigner(path, ml_dsa_44=True)
    keys = (*signer.device_keys(), *signer.open_epoch("session-1", 3))
    assert printed == {" ".join((signer.recorder, *(key.data.hex() for key in keys)))}
    assert not list(path.parent.rglob("*.new"))
