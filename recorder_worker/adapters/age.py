"""The age format (age-encryption.org/v1), by pyrage: for whom keys are wrapped, and who unwraps.

A recipient is a public key: `age1…`, or one of SSH (`ssh-ed25519 …`, `ssh-rsa …`). An identity is
the private half: a file as `age-keygen` makes it, or a private SSH key without a password. Nothing
here puts an identity into an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyrage

from recorder_worker.core.errors import FormatError, RefusedError, SettingsError

_SECRET = "AGE-SECRET-KEY-"  # noqa: S105  (how a secret begins, not one)
_SSH = ("ssh-ed25519 ", "ssh-rsa ")
MAX_IDENTITY_SIZE = 1 << 20

# Of `pyrage.x25519` or `pyrage.ssh`, which have no types.
Recipient = Any
Identity = Any


class AgeRecipients:
    """Those who may read; satisfies `KeyWrap`.

    Args:
        texts: their public keys; empty lines and those that begin with `#` are left out.
        where: which setting or file they are from, for the error.

    Raises:
        SettingsError: one of them is no recipient, or there is none.
    """

    def __init__(self, texts: Iterable[str], where: str) -> None:
        lines = (text.strip() for text in texts)
        self.recipients = tuple(
            dict.fromkeys(line for line in lines if line and not line.startswith("#"))
        )
        if not self.recipients:
            raise SettingsError(
                f"{where}: expected at least one recipient, age1… or an SSH public key, found none"
            )
        self._parsed = [_recipient(text, where) for text in self.recipients]

    def wrap(self, key: bytes) -> str:
        """A key for all recipients, as an armored age file."""
        return str(pyrage.encrypt(key, self._parsed, armored=True), "ascii")


def _recipient(text: str, where: str) -> Recipient:
    if text.upper().startswith(_SECRET):
        raise SettingsError(
            f"{where}: expected a recipient, which is public (age1…), found an identity, which is "
            "secret; take it out of there, make a new one, and give its recipient: recorder "
            "identity new"
        )
    kind = pyrage.ssh if text.startswith(_SSH) else pyrage.x25519
    try:
        found: Recipient = kind.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise SettingsError(
            f"{where}: expected recipients of the form age1…, ssh-ed25519 … or ssh-rsa …, found "
            f"{text[:100]!r}: {error}; recorder identity new makes one, or age-keygen"
        ) from error
    return found


def unwrap(wrapped: str, identities: Sequence[Identity]) -> bytes:
    """What was wrapped for one of the identities.

    Raises:
        RefusedError: for none of them.
        FormatError: it is no age file.
    """
    try:
        return bytes(pyrage.decrypt(wrapped.encode(), list(identities)))
    except pyrage.DecryptError as error:
        if "matching keys" not in str(error):
            raise FormatError(
                f"session.json: expected its wrapped_key to be an age file, found: {error}; see "
                "what `recorder verify` says of this recording"
            ) from error
        raise RefusedError(
            field="--identity",
            expected="an identity of one of the session's recipients",
            got="none that the session's key was wrapped for",
            hint="session.json names the recipients under `encryption`; recorder identity show "
            "prints that of an identity",
        ) from error


def read_identities(path: Path) -> list[Identity]:
    """The identities in a file: lines AGE-SECRET-KEY-1…, or a private SSH key.

    Raises:
        RefusedError: it holds none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_IDENTITY_SIZE)
    except OSError as error:
        raise _no_identity(path, str(error)) from error
    if b"-----BEGIN " in data:
        return [_ssh_identity(path, data)]
    # Errors without their cause, here and below: nothing of what was read may show in a log.
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    try:
        found: list[Identity] = [
            pyrage.x25519.Identity.from_str(line)
            for line in lines
            if line and not line.startswith("#")
        ]
    except pyrage.IdentityError:
        raise _no_identity(path, "a line that is something else") from None
    if not found:
        raise _no_identity(path, "no line that is one")
    return found


def _ssh_identity(path: Path, data: bytes) -> Identity:
    try:
        identity: Identity = pyrage.ssh.Identity.from_buffer(data)
    except pyrage.IdentityError:
        raise _no_identity(
            path, "a file in armor that is no SSH key of these kinds without a password"
        ) from None
    return identity


def _no_identity(path: Path, got: str) -> RefusedError:
    return RefusedError(
        field=f"--identity {path}",
        expected="a file with AGE-SECRET-KEY-1… lines, or a private SSH key (Ed25519 or RSA) "
        "without a password",
        got=got,
        hint="decrypt one that is protected first (age -d)",
    )


def new_identity() -> tuple[str, str]:
    """A fresh identity, and its recipient."""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())


def recipient_of(identity: Identity) -> str:
    """The recipient of an identity; empty for one of SSH, whose public key stands beside it."""
    return str(identity.to_public()) if isinstance(identity, pyrage.x25519.Identity) else ""
