"""`recorder nats-conf` as a command: what it writes, keeps, overwrites and never prints."""

from __future__ import annotations

import re
import stat
import subprocess
from functools import partial
from pathlib import Path

import bcrypt
import pytest
from worker_process import run_recorder

from recorder_worker.adapters.nats_server.binary import find_program
from recorder_worker.bus.rights import permissions

USERS = [grant.user for grant in permissions.grants(["alice"])]


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def passwords(folder: Path) -> dict[str, str]:
    return {
        path.stem: re.findall(r"PASSWORD=(\S+)", path.read_text(encoding="utf-8"))[0]
        for path in (folder / "users").iterdir()
    }


def hashes(folder: Path) -> dict[str, str]:
    text = (folder / "accounts.conf").read_text(encoding="utf-8")
    return dict(re.findall(r'user: "(\S+)", password: "(\S+)"', text))


def opens(folder: Path) -> bool:
    """Whether every password fits the hash that the server has, and no other does."""
    known, given = hashes(folder), passwords(folder)
    return all(
        bcrypt.checkpw(given[user].encode(), known[user].encode()) for user in given
    ) and len(set(given.values())) == len(given)


def test_passwords_are_random_private_and_never_printed(tmp_path: Path) -> None:
    make = partial(run_recorder, "nats-conf", "--out", "conf", "--client", "alice", folder=tmp_path)
    made = make()
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "conf"
    found = passwords(folder)
    assert sorted(found) == sorted(USERS)
    assert min(map(len, found.values())) >= 43  # 256 bits
    assert opens(folder)
    servers = (folder / "accounts.conf").read_text() + (folder / "nats-server.conf").read_text()
    for secret in found.values():
        assert secret not in made.stdout + made.stderr + servers
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    checked = subprocess.run(
        [str(find_program()), "-t", "-c", str(folder / "nats-server.conf")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr

    # Again: nothing is overwritten without being told to.
    before = contents(folder)
    again = make()
    assert again.returncode == 78
    assert "--keep writes the rights anew and keeps the passwords" in again.stderr
    assert contents(folder) == before


def test_an_upgrade_keeps_the_passwords_and_renews_the_rights(tmp_path: Path) -> None:
    make = partial(run_recorder, "nats-conf", "--out", "conf", folder=tmp_path)
    assert make("--client", "alice").returncode == 0
    folder = tmp_path / "conf"
    before, known = passwords(folder), hashes(folder)
    accounts = folder / "accounts.conf"
    rights = accounts.read_text(encoding="utf-8")
    # As an older release wrote it, with a right too few; and one user's file was carried away.
    accounts.write_text(rights.replace('"session.chunked.*", ', ""), encoding="utf-8")
    (folder / "users" / "chunk.env").unlink()
    kept = make("--client", "alice", "--client", "bob", "--keep")
    assert kept.returncode == 0, kept.stderr
    del before["chunk"]
    bob = passwords(folder).pop("bob")
    assert passwords(folder) == before | {"bob": bob}
    assert hashes(folder) == known | {"bob": hashes(folder)["bob"]}
    assert opens(folder)
    assert '"session.chunked.*", ' in accounts.read_text(encoding="utf-8")

    # A client that is not named any more has no rights any more.
    assert make("--client", "alice", "--keep").returncode == 0
    assert "bob" not in {*hashes(folder), *passwords(folder)}

    forced = make("--client", "alice", "--force")
    assert forced.returncode == 0
    assert not set(passwords(folder).values()) & set(before.values())
    assert opens(folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "0.0.0.0:4222"), "expected a loopback address where there is no TLS"),
        (("--listen", "nats.example:4222"), "expected a loopback address where there is no TLS"),
        (("--listen", "4222"), "expected HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "expected HOST:PORT"),
        (("--tls-cert", "a.pem"), "--tls-cert, --tls-key and --tls-ca together"),
        (("--client", "deploy"), "not one of"),
        (("--client", "recorder"), "not one of"),
        (("--client", "Alice"), "small letters"),
        (("--client", "a.b"), "small letters"),
        (("--client", "a", "--client", "a"), "not given twice"),
        (("--out", "/proc/nowhere"), "expected to write"),
    ],
)
def test_wrong_wishes_are_refused_and_nothing_is_written(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = run_recorder("nats-conf", *arguments, folder=tmp_path)
    assert refused.returncode == 78
    assert words in refused.stderr
    assert contents(tmp_path) == {}


def test_an_open_address_needs_a_word(tmp_path: Path) -> None:
    made = run_recorder("nats-conf", "--listen", "0.0.0.0:4222", "--plain", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert 'listen: "0.0.0.0:4222"' in contents(tmp_path)["nats-conf/nats-server.conf"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "nats-conf"
    folder.mkdir()
    (folder / "accounts.conf").write_text("accounts {}\n")
    kept = run_recorder("nats-conf", "--keep", folder=tmp_path)
    assert kept.returncode == 78
    assert "found no user in it" in kept.stderr
    assert contents(folder) == {"accounts.conf": "accounts {}\n"}
