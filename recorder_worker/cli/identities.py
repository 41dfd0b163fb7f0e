"""`--identity`: from the files of an auditor to what opens an encrypted recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.core import keys
from recorder_worker.core.cipher.declared import (
    MAX_DECLARED_SIZE,
    Encryption,
    declared_encryption,
)
from recorder_worker.core.cipher.names import CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.reading.frames import recording_records
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.verify.reader import RecordingReader, read_bounded

IdentityOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity",
        "-i",
        help="File with an identity (private key) of a recipient, to decrypt an encrypted "
        "recording with. May be given several times.",
        metavar="FILE",
        exists=True,
        dir_okay=False,
    ),
]


def encryption_of(recording: RecordingReader) -> Encryption | None:
    """What a recording's manifest declares; None where it is not encrypted. Raises FormatError."""
    return declared_encryption(read_bounded(recording, keys.MANIFEST, MAX_DECLARED_SIZE))


def cipher_of(recording: RecordingReader, identities: list[Path] | None) -> SessionCipher | None:
    """What opens a recording's chunks; None where it is not encrypted, or no identity is given.

    The manifest is not verified by then, and need not be: a key that is not the session's opens
    nothing, and step 13 of a verification holds the manifest against OPEN.

    Raises:
        RefusedError: the key was wrapped for none of the identities, or a file holds none.
        FormatError: what the manifest says of encryption is not of the format.
    """
    if not identities:
        return None
    # Only here: a verification without identities loads nothing that could decrypt.
    from recorder_worker.adapters.age import read_identities, unwrap  # noqa: PLC0415  (as above)

    found = [identity for path in identities for identity in read_identities(path)]
    said = encryption_of(recording)
    if said is None:
        return None
    if said.cipher != CIPHER_SEALED:
        raise UnsupportedError(
            f"{keys.MANIFEST}: expected cipher {CIPHER_SEALED}, found {said.cipher!r}; use a "
            "program that knows it"
        )
    cipher = SessionCipher(session_of(recording), unwrap(said.wrapped_key, found))
    if cipher.key_id != said.key_id:
        raise FormatError(
            f"{keys.MANIFEST}: expected its wrapped_key to be key {said.key_id}, found "
            f"{cipher.key_id}: it is the key of another session"
        )
    return cipher


def session_of(recording: RecordingReader) -> str:
    """The id of the session, from its first record. Raises FormatError."""
    first = next(iter(recording_records(recording)), None)
    if first is None:
        raise FormatError("there is no record that names the session")
    return decode_record(first).session_id
