"""An RTSP server that FFmpeg has opened through its link."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import av
from av.container import InputContainer

from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.rtsp.link import RtspLink
from recorder_worker.core.errors import SourceError
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.core.sources.urls import bare, shown

PORTS: Final = {"rtsp": 554, "rtsps": 322}
_PROTOCOLS: Final = {"tcp": "rtsp,tcp", "udp": "rtsp,rtp,udp,tcp"}
_ANALYSE_US: Final = 3_000_000
_MICROSECONDS: Final = 1_000_000
LATE: Final = 0.9
"""What takes so much of its time has failed for want of an answer, whatever FFmpeg says of it."""
_TOO_LATE: Final = "expected an answer in time, found none; the server hangs, or sends no stream"


class RtspInput:
    """FFmpeg's container and the link to its server. `name` and `uri` may be shown to anybody.

    Any thread may close the link. The container is for the thread that reads it, to its end.
    """

    def __init__(self, source: RtspSource, guard: SourceGuard) -> None:
        """Connect and ask for the stream, with the login that stands in the URL, if any.

        Raises:
            SourceForbiddenError: the rules do not allow the host, or it sends us elsewhere.
            SourceError: it cannot be reached, refuses, or has no such stream.
        """
        self.name = f"rtsp {shown(source.uri)}"
        self.uri = bare(source.uri)
        try:
            parts = urlsplit(source.uri)
            host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        except ValueError:
            # Without its cause: that says what stands before the host as well.
            raise SourceError(
                f"{self.name}: expected host:port, found another host or port"
            ) from None
        address = guard.host(host, self.name)
        self._source = source
        self.link = RtspLink(host, address, port, tls=parts.scheme == "rtsps", wait_s=source.open_s)
        try:
            self.container = self._opened(parts.netloc.rpartition("@")[0])
            self.link.opened()
        except BaseException:
            self.link.close()
            raise

    def _opened(self, login: str) -> InputContainer:
        source = self._source
        parts = urlsplit(source.uri)
        late = time.monotonic() + source.open_s * LATE
        netloc = f"{login}@" * bool(login) + f"127.0.0.1:{self.link.port}"
        try:
            return av.open(
                urlunsplit(("rtsp", netloc, parts.path, parts.query, "")),
                "r",
                format="rtsp",
                options={
                    "rtsp_transport": source.transport,
                    "protocol_whitelist": _PROTOCOLS[source.transport],
                    "timeout": str(round(source.open_s * _MICROSECONDS)),
                    "analyzeduration": str(_ANALYSE_US),
                    "fpsprobesize": "3",
                },
                timeout=(source.open_s, source.stall_s),
            )
        except (OSError, av.error.FFmpegError, ValueError) as error:
            self.link.check()
            text = _TOO_LATE if time.monotonic() > late else _reason(error)
            raise SourceError(f"{self.name}: {text}") from None  # FFmpeg names the URL


def _reason(error: Exception) -> str:
    """What was expected, found, and what to do; never FFmpeg's own text, which has the login."""
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return (
                "expected to be let in, found that the server asks for another login; give it in "
                "the URL, or with `credentials`"
            )
        case av.error.HTTPNotFoundError():
            return "expected a stream of this path, found none on the server; check the path"
        case av.error.ExitError() | av.error.TimeoutError():
            return _TOO_LATE
        case av.error.InvalidDataError():
            return "expected RTSP, found something else; the server does not speak it on this port"
        case _:
            said = getattr(error, "strerror", "") or type(error).__name__
            return f"expected a stream, found that the server ends the connection ({said})"
