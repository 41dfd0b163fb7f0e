"""`recorder identity`: the private keys of those who may read encrypted recordings."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recorder_worker.cli.output import JsonOption, out, print_json
from recorder_worker.core.errors import StoreError

identity = typer.Typer(
    no_args_is_help=True,
    help="Identities: the private keys of those who may read encrypted recordings. Make and keep "
    "them where nobody records.",
)


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(identity, name="identity")


@identity.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="The file to make.", metavar="FILE")],
    json: JsonOption = False,
) -> None:
    """Make an identity in a new file, for its owner alone, and print its recipient.

    The file is as `age-keygen` makes it, and `age` reads it. The recipient is public: it goes into
    `encryption.recipients`. Without the file nobody can read what is recorded for it: keep a copy.
    """
    from recorder_worker.adapters.age import new_identity  # noqa: PLC0415  (starts at once)

    secret, recipient = new_identity()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    text = f"# created: {created}\n# public key: {recipient}\n{secret}\n"
    _write(file, text.encode())
    if json:
        print_json({"file": str(file), "recipient": recipient})
    else:
        out.print(recipient, markup=False)


@identity.command("show")
def show(
    file: Annotated[
        Path,
        typer.Argument(help="A file with identities.", metavar="FILE", exists=True, dir_okay=False),
    ],
    json: JsonOption = False,
) -> None:
    """Print the recipient of each identity in a file. Of an SSH key see its `.pub` file."""
    from recorder_worker.adapters.age import (  # noqa: PLC0415  (starts at once)
        read_identities,
        recipient_of,
    )

    found = [recipient_of(each) or f"(SSH: see {file}.pub)" for each in read_identities(file)]
    if json:
        print_json({"file": str(file), "recipients": found})
    else:
        for recipient in found:
            out.print(recipient, markup=False)


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: expected to make a new file, got {error}") from error
