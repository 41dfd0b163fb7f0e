"""Holds a source against the rules, and opens nothing but what was held against them.

A path that is checked and then opened by its name can be another file by then; so a file is opened
first, and what was opened is checked. Its decoder gets that very file, by its descriptor and
without a name: a name can also be a protocol (`concat:`, `subfile:`), a pattern of other files, or
an extension that makes a playlist of the contents. A host is looked up once, and connected to by
the address that was checked.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from recorder_worker.core.errors import SourceError, SourceForbiddenError
from recorder_worker.core.sources.kinds import FileSource, NatsSource, V4l2Source, X11Source
from recorder_worker.core.sources.rules import (
    SourceRules,
    check_device,
    check_display,
    check_file,
    check_host,
    check_kind,
    check_subject,
)

SYSTEM = ("/proc", "/sys", "/dev")
"""Nothing there is a recording of anything, and much of it is secret."""

_LOCAL_HOSTS = ("", "unix")


class OpenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file that is open and allowed. `path` is for people, `name` for the decoder."""

    path: Path
    name: str
    size: int


class SourceGuard:
    """The rules of one worker."""

    def __init__(self, rules: SourceRules) -> None:
        self._rules = msgspec.structs.replace(
            rules,
            file_roots=tuple(map(os.path.realpath, rules.file_roots)),
            hidden=(*SYSTEM, *map(os.path.realpath, rules.hidden)),
        )

    def check_kind(self, kind: str) -> None:
        """Raises SourceForbiddenError where sources of a kind are not allowed."""
        check_kind(self._rules, kind)

    @property
    def max_pixels(self) -> int:
        """The largest picture that may be decoded."""
        return self._rules.max_pixels

    @contextmanager
    def open(self, source: FileSource, *, what: str = "video") -> Iterator[OpenFile]:
        """The file of a source, open for as long as the context lasts.

        Raises:
            SourceForbiddenError: the rules do not allow it.
            SourceError: it is not there, cannot be read, or is no regular file.
        """
        path = self._allowed_path(source.uri)
        with _opened(path, what) as descriptor:
            name = f"/proc/self/fd/{descriptor}"
            check_file(self._rules, str(Path(name).readlink()), source.uri)
            found = os.fstat(descriptor)
            if found.st_size == 0:
                raise SourceError(
                    f"file {path}: expected a {what}, found 0 bytes; was it copied whole?"
                )
            yield OpenFile(path=path, name=name, size=found.st_size)

    def names_in(self, directory: str, uri: str, most: int) -> list[str]:
        """The names of what lies in a directory, in no order.

        Raises:
            SourceForbiddenError: the rules do not allow it.
            SourceError: it is not there, cannot be read, or holds more than `most` entries.
        """
        path = self._allowed_path(directory)
        names: list[str] = []
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"images {uri}: expected the directory {path}, found {error.strerror}; it is that "
                f"of the worker's machine or container, and user id {os.geteuid()} must be let in"
            ) from error
        try:
            check_file(self._rules, str(Path(f"/proc/self/fd/{descriptor}").readlink()), uri)
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if len(names) > most:
                        raise SourceError(
                            f"images {uri}: expected at most {most} entries in {path}, found more; "
                            "record a directory for each part"
                        )
        finally:
            os.close(descriptor)
        return names

    def _allowed_path(self, uri: str) -> Path:
        path = path_of(uri)
        if ".." in path.parts:
            raise SourceForbiddenError(
                "source.uri",
                f"file {uri}: expected a path without '..', found one; write it out",
            )
        # Before anything is opened: a pipe or a device may do things when it is.
        check_file(self._rules, os.path.realpath(path), uri)
        return path

    def device(self, source: V4l2Source) -> str:
        """The path of a device. Raises SourceForbiddenError: the rules do not allow it."""
        check_device(self._rules, source.uri)
        return source.uri

    def subject(self, source: NatsSource) -> str:
        """The subject of a source. Raises SourceForbiddenError: the rules do not allow it."""
        check_subject(self._rules, source.uri)
        return source.uri

    def display(self, source: X11Source) -> str:
        """The name to connect to: the source's own, or with the address that was checked.

        Raises:
            SourceForbiddenError: the rules do not allow it.
            SourceError: the host is not known.
        """
        host, _, screen = source.uri.rpartition(":")
        check_display(self._rules, f":{screen.split('.')[0]}")
        if host in _LOCAL_HOSTS:
            return source.uri
        address = self.host(host, f"display {source.uri}")
        return f"[{address}]:{screen}" if ":" in address else f"{address}:{screen}"

    def host(self, host: str, name: str) -> str:
        """The address of a host to connect to; `name` is what is said of the source.

        Raises:
            SourceForbiddenError: the rules do not allow it.
            SourceError: the host is not known.
        """
        return check_host(self._rules, host, _addresses(host, name))


def _addresses(host: str, name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{name}: expected a host that can be looked up, found: {error}"
        ) from error
    return [str(entry[4][0]).split("%")[0] for entry in found]


@contextmanager
def _opened(path: Path, what: str) -> Iterator[int]:
    """A descriptor of a regular file. It is looked at before: to open a pipe lets its writer go."""
    try:
        _check_regular(path, path.stat().st_mode, what)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise SourceError(
            f"file {path}: expected a {what} file, found nothing; the path is that of the worker's "
            "machine or container: check it there, and what is mounted"
        ) from error
    except (OSError, ValueError) as error:
        raise SourceError(
            f"file {path}: expected to read it, found {error}; "
            f"let user id {os.geteuid()} read the file and the directories above it"
        ) from error
    try:
        _check_regular(path, os.fstat(descriptor).st_mode, what)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_regular(path: Path, mode: int, what: str) -> None:
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a device, socket or pipe"
        raise SourceError(
            f"file {path}: expected a regular file, found {kind}; name one {what} file"
        )


def path_of(uri: str) -> Path:
    """The absolute path that a source's URI names. Raises SourceError."""
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise SourceError(
                f"file {uri}: expected a file on this machine, found host {parts.netloc!r}; "
                "write file:///path"
            )
        text = unquote(parts.path)
    else:
        text = uri
    if "\0" in text or ("://" in uri and not uri.startswith("file:")):
        found = "a null byte in it" if "\0" in text else "a URL of another kind"
        raise SourceError(
            f"file {uri!r}: expected a path or a file:// URI, found {found}; "
            "this source reads files of the worker's machine only"
        )
    path = Path(text)
    if not path.is_absolute():
        raise SourceError(
            f"file {uri}: expected an absolute path or a file:// URI, found neither; "
            "the worker's directory is not yours, so write the whole path"
        )
    return path
