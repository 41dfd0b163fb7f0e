"""Logins in the URLs of sources: taken out at the door, so that nothing but an opener has them."""

from __future__ import annotations

import msgspec

from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import SourceError
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.core.sources.urls import LOGIN, bare, host_of, shown


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a URL before its `@`, as it stands there. It shows itself to nobody."""

    text: str

    def __repr__(self) -> str:
        return "Login(...)"

    __str__ = __repr__


def without_login(command: StartSession) -> tuple[StartSession, Login | None]:
    """A start as it may be told to everybody, and what was taken out of it."""
    source = command.source
    if not isinstance(source, RtspSource):
        return command, None
    found = LOGIN.match(source.uri)
    if found is None:
        return command, None
    public = msgspec.structs.replace(source, uri=bare(source.uri))
    return msgspec.structs.replace(command, source=public), Login(text=found["login"])


def with_login(source: RtspSource, login: Login | None) -> RtspSource:
    """A source as its opener needs it."""
    if login is None:
        return source
    scheme, rest = source.uri.split("://", 1)
    return msgspec.structs.replace(source, uri=f"{scheme}://{login.text}@{rest}")


def kept_login(text: str, uri: str, name: str) -> Login:
    """The login in a URL that an operator keeps, for a source of the same host.

    A client chooses the source; without the host in it, any that it names would get the password.

    Raises:
        SourceError: it is no URL with a login, or one for another host. The text shows neither.
    """
    lines = text.strip().splitlines()
    kept = lines[0].strip() if len(lines) == 1 else ""
    found = LOGIN.match(kept)
    try:
        same = found is not None and host_of(kept) == host_of(uri)
    except ValueError:
        same = False
    if found is None or not same:
        raise SourceError(
            f"credentials {name}: expected one line rtsp://user:password@host with the host of "
            f"{shown(uri)}, found another; correct the file, or name other credentials"
        )
    return Login(text=found["login"])
