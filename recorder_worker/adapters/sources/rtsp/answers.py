"""What a server answers before it plays, taken apart as FFmpeg does: it must send nobody elsewhere.

FFmpeg reads leniently and goes where it is sent: any version, any blanks and signs before the
number make a redirect, and data between two lines hide a header from whoever looks for it line by
line. So heads are framed here as there, and what is not written as RTSP has it (RFC 2326 §7.1) is
carried no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from recorder_worker.core.errors import FormatError, SourceForbiddenError

MAX_LINE: Final = 4096
"""Bytes: of longer ones FFmpeg drops the end."""
MAX_LINES: Final = 200
MAX_BODY: Final = 1 << 20

_STATUS: Final = re.compile(rb"RTSP/1\.[0-9] ([1-6])[0-9][0-9](?: |$)")
_LENGTH: Final = re.compile(rb"[0-9]{1,7}")
_NAMES: Final = (b"location", b"content-length", b"transport")
_SOURCE: Final = re.compile(rb";[ \t]*source=[^;,]*", re.IGNORECASE)


class Answers:
    """Takes what a server sends, in pieces of any size, and gives what FFmpeg may see of it.

    `address` is the server's, from which datagrams are to come: FFmpeg would answer them at any
    other that the server names.
    """

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._source = f";source={address}".encode()
        self._pending = bytearray()
        self._lines = 0
        self._length = 0
        self._body = 0

    def feed(self, data: bytes) -> bytes:
        """Whole lines of heads, and bodies as they come.

        Raises:
            SourceForbiddenError: it sends us to another place.
            FormatError: it is no answer.
        """
        self._pending += data
        return b"".join(self._taken())

    def rest(self) -> bytes:
        """What was kept back: from now on the server plays, and FFmpeg goes nowhere any more."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest

    def _taken(self) -> Iterator[bytes]:
        while self._pending:
            if self._body:
                body = bytes(self._pending[: self._body])
                del self._pending[: len(body)]
                self._body -= len(body)
                yield body
                continue
            end = self._pending.find(b"\n")
            if end < 0:
                if len(self._pending) > MAX_LINE:
                    raise self._none("a line without an end")
                return
            line = bytes(self._pending[: end + 1])
            del self._pending[: end + 1]
            yield self._checked(line)

    def _checked(self, line: bytes) -> bytes:
        text = line.strip(b"\r\n")
        if b"\r" in text or b"\0" in text or text.startswith(b"$") or len(text) >= MAX_LINE:
            raise self._none("bytes that are none of a head")
        if not text:
            self._lines, self._body, self._length = 0, self._length, 0
            return line
        self._lines += 1
        if self._lines > MAX_LINES:
            raise self._none("a head without an end")
        name, _, value = text.partition(b":")
        if name != name.strip() and name.strip().lower() in _NAMES:
            raise self._none("a header that FFmpeg would not know by this name")
        match name.lower():
            case b"location":
                raise self._elsewhere()
            case b"content-length":
                self._length = self._length_of(value.strip())
            case b"transport":
                return _SOURCE.sub(b"", text) + self._source + b"\r\n"
            case _ if self._lines == 1 and text.lstrip().upper().startswith(b"RTSP/"):
                self._check_status(text)
        return line

    def _check_status(self, text: bytes) -> None:
        status = _STATUS.match(text)
        if status is None:
            raise self._none("another first line")
        if status[1] == b"3":
            raise self._elsewhere()

    def _length_of(self, value: bytes) -> int:
        if self._length or not _LENGTH.fullmatch(value) or int(value) > MAX_BODY:
            raise self._none(f"a body whose length is not one number up to {MAX_BODY}")
        return int(value)

    def _none(self, found: str) -> FormatError:
        return FormatError(f"{self._name}: expected the head of an answer of RTSP, found {found}")

    def _elsewhere(self) -> SourceForbiddenError:
        return SourceForbiddenError(
            "source.uri",
            f"{self._name}: expected it to serve the stream itself, found that it redirects; "
            "name the server that has the stream",
        )
