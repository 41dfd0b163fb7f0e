"""Recipients and identities: what is taken, what is refused, and that no secret is told."""

from __future__ import annotations

import stat
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from worker_process import run_recorder

from recorder_worker.adapters.age import (
    AgeRecipients,
    new_identity,
    read_identities,
    recipient_of,
    unwrap,
)
from recorder_worker.core.errors import FormatError, RefusedError, SettingsError

KEY = bytes(range(32))
PROTECTED = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAczTFAdX
N2omD7AT3Xw4pWAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIIGnW/KFPsHX7S7f
TAdqoZgKvRwrPzltzuC44RYu8ddVAAAAkG42Jyx8DQ2xUBe4SKwF/fodyAcw015HbuCueO
3lFMkSfXrBhaCyPOkv+ULLpxvhlN6CE1Gq0FzzNFdPzecJjRCljHdibgklUYlal0AVp+ti
MD53/ZYYiDJmIy7KOjEZ0aNRxQqr9b+s4LME6D7bQNSCeLToTH9CgGLG3t1HGk1Ba5wU10
hR2e92a3ps4Ky6iw==
-----END OPENSSH PRIVATE KEY-----
"""
"""Of `ssh-keygen -N password`: nobody's."""


def ssh_key(folder: Path, kind: str) -> tuple[Path, str]:
    """A private SSH key in a file, and its public line."""
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
    path = folder / f"id_{kind}"
    openssh, lock = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, openssh, lock))
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return path, public.decode()


def test_each_of_several_recipients_unwraps_and_nobody_else_does(tmp_path: Path) -> None:
    one, to_one = new_identity()
    two, to_two = new_identity()
    ssh, to_ssh = ssh_key(tmp_path, "ed25519")
    rsa, to_rsa = ssh_key(tmp_path, "rsa")
    wrap = AgeRecipients([to_one, "", "# a comment", to_two, to_ssh, to_rsa, to_one], "here")
    assert wrap.recipients == (to_one, to_two, to_ssh, to_rsa)
    wrapped = wrap.wrap(KEY)
    assert wrapped.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert wrap.wrap(KEY) != wrapped
    (tmp_path / "one").write_text(f"# created: now\n{one}\n")
    (tmp_path / "two").write_text(f"{two}\n\n{new_identity()[0]}\n")
    for path in (tmp_path / "one", tmp_path / "two", ssh, rsa):
        assert unwrap(wrapped, read_identities(path)) == KEY
    with pytest.raises(RefusedError, match="none that the session's key was wrapped for"):
        unwrap(wrapped, [pyrage.x25519.Identity.generate()])


@pytest.mark.parametrize(
    "text", ["age1", "age1qqqqqqqq", "nobody", "ssh-ed25519 AAAA", "ssh-dss AAAA", "age1tag1qqqq"]
)
def test_what_is_no_recipient_is_refused_with_its_setting(text: str) -> None:
    with pytest.raises(SettingsError, match=r"encryption\.recipients: expected recipients") as said:
        AgeRecipients([text], "encryption.recipients")
    assert repr(text) in str(said.value)


def test_no_recipient_at_all_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one recipient"):
        AgeRecipients(["", "# nobody"], "encryption.recipients_file x")


def test_an_identity_among_recipients_is_refused_and_not_told() -> None:
    secret, _ = new_identity()
    for text in (secret, secret.lower()):
        with pytest.raises(SettingsError, match="found an identity, which is secret") as said:
            AgeRecipients([text], "encryption.recipients")
        assert secret[20:] not in str(said.value).upper()


def test_what_is_no_identity_is_refused_and_not_told(tmp_path: Path) -> None:
    secret = new_identity()[0]
    places = {
        "empty": "# nothing\n",
        "broken": secret[:-1] + "\n",
        "recipient": new_identity()[1],
        "protected": PROTECTED,
    }
    for name, text in places.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for path in (*(tmp_path / name for name in places), tmp_path / "binary", tmp_path):
        with pytest.raises(RefusedError, match="expected a file with AGE-SECRET-KEY-1") as said:
            read_identities(path)
        assert secret[20:40] not in str(said.value)
        assert said.value.__cause__ is None or path == tmp_path


def test_what_is_no_age_file_is_told_apart_from_one_for_others() -> None:
    identity, recipient = new_identity()
    held = [pyrage.x25519.Identity.from_str(identity)]
    wrapped = AgeRecipients([recipient], "here").wrap(KEY)
    for text in ("", "nonsense", wrapped[: len(wrapped) // 2], wrapped.replace("YWdl", "YWdm")):
        with pytest.raises(FormatError, match="expected its wrapped_key to be an age file"):
            unwrap(text, held)


def test_identity_new_makes_a_file_that_show_and_age_read(tmp_path: Path) -> None:
    made = run_recorder("identity", "new", "auditor.txt", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    path = tmp_path / "auditor.txt"
    recipient = made.stdout.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (identity,) = read_identities(path)
    assert recipient_of(identity) == recipient
    assert f"# public key: {recipient}\n" in path.read_text()
    assert run_recorder("identity", "show", "auditor.txt", folder=tmp_path).stdout == made.stdout
    secret = path.read_text().split()[-1]
    assert secret not in made.stdout + made.stderr
    again = run_recorder("identity", "new", "auditor.txt", folder=tmp_path)
    assert again.returncode == 74
    assert "expected to make a new file" in again.stderr
    assert read_identities(path)
