"""Logins that an operator keeps for sources, each in a file of its own."""

from __future__ import annotations

from pathlib import Path

from recorder_worker.core.errors import SourceError
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.core.sources.logins import kept_login, with_login

MAX_BYTES = 4096


def with_kept_login(source: RtspSource, directory: str) -> RtspSource:
    """A source with the login that its `credentials` name; the file is read each time.

    Raises:
        SourceError: there is none of this name, or it is for another host.
    """
    name = source.credentials
    if name is None:
        return source
    if not directory:
        raise SourceError(
            f"credentials {name}: expected a directory of logins, found that this worker has none; "
            "set sources.credentials_dir, or write the login into the URL"
        )
    try:
        with (Path(directory) / name).open("rb") as file:
            text = file.read(MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SourceError(
            f"credentials {name}: expected a file of this name in sources.credentials_dir of the "
            f"worker, which it can read, found: {reason}"
        ) from error
    return with_login(source, kept_login(text, source.uri, name))
