"""A video file, decoded by OpenCV's FFmpeg."""

from __future__ import annotations

import math
import os
from typing import Final

import cv2

from recorder_worker.adapters.sources.decoding import as_bgr
from recorder_worker.adapters.sources.guard import OpenFile, SourceGuard
from recorder_worker.adapters.sources.mp4_tables import check_tables
from recorder_worker.core.errors import FormatError, SourceError, SourceLostError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import FileSource
from recorder_worker.ports import Frame

CONTAINERS: Final = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,flv,mpegts,mpeg,mpegvideo,h264,hevc,vvc,m4v,obu,av1,"
    "ivf,ogg,asf,gif,apng,mjpeg,png_pipe,jpeg_pipe,mxf,yuv4mpegpipe,nut,dv"
)
"""What FFmpeg may take a file for. Not among them: whatever names other files or hosts (hls, dash,
concat, sdp, image2, imf), so that a file is only itself."""

_OPTIONS: Final = f"protocol_whitelist;file|format_whitelist;{CONTAINERS}"
_STEP_BACK_MS: Final = 1000.0
"""A file whose times step back by more begins anew in its middle, as files do that were joined."""
_LARGEST_COUNT: Final = 2**53
"""Where a container declares no length, FFmpeg's count comes out as garbage far above this."""


class VideoFile:
    """A video file that is read from its beginning to its end, frame by frame.

    Frames that FFmpeg cannot decode are not among the units: compare `facts.frame_count`, which
    the container declares, with what was read. Where the picture size changes in mid-file,
    OpenCV scales what follows to the size of the first frame and does not tell.
    """

    def __init__(self, source: FileSource, guard: SourceGuard, *, first_unit: int = 0) -> None:
        """Open the file and go to `first_unit` by decoding, which is exact where seeking is not.

        Raises:
            SourceForbiddenError: the rules do not allow the file.
            SourceError: it cannot be read as a video, or has fewer frames than `first_unit`.
        """
        with guard.open(source) as file:
            self._path = file.path
            check_tables(file)
            self._capture: cv2.VideoCapture | None = _open_capture(file, guard.max_pixels)
        self._unit = 0
        self._base_ms = self._last_ms = 0.0
        self._t_ns = 0
        self._ahead: Frame | None = None
        try:
            first = self._first()
            self._facts = self._describe(source.uri, first.picture)
            if first_unit == 0:
                self._ahead = first
            else:
                self._skip_to(first_unit)
        except BaseException:
            self.close()
            raise

    @property
    def facts(self) -> SourceFacts:
        """As declared by the container; the size is that of the first frame."""
        return self._facts

    def read(self) -> Frame | None:
        """The next frame, with its position in the file; None behind the last.

        Raises:
            SourceLostError: the source is closed, or the decoder failed.
        """
        if self._ahead is not None:
            frame, self._ahead = self._ahead, None
            return frame
        return self._decode()

    def close(self) -> None:
        """Let go of the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        self._ahead = None

    def _opened(self) -> cv2.VideoCapture:
        if self._capture is None:
            raise SourceLostError(f"file {self._path}: expected an open source, found it closed")
        return self._capture

    def _decode(self) -> Frame | None:
        capture = self._opened()
        try:
            if not capture.grab():
                return None
            decoded, picture = capture.retrieve()
        except cv2.error as error:
            raise SourceLostError(
                f"file {self._path}: expected frame {self._unit}, found that the decoder failed "
                f"({error}); check the file with ffprobe"
            ) from error
        t_ns = self._advance()
        if not decoded or picture is None:
            raise SourceLostError(
                f"file {self._path}: expected the pixels of frame {self._unit - 1}, found a pixel "
                "format that OpenCV cannot convert; convert the file to 8-bit video"
            )
        try:
            return Frame(picture=as_bgr(picture), t_ns=t_ns)
        except FormatError as error:
            raise SourceLostError(f"file {self._path}: {error}") from error

    def _first(self) -> Frame:
        frame = self._decode()
        if frame is None:
            raise SourceError(
                f"file {self._path}: expected at least one frame that FFmpeg can decode, found "
                "none; play it with ffplay to see whether it is damaged or unfinished"
            )
        return frame

    def _skip_to(self, first_unit: int) -> None:
        while self._unit < first_unit:
            if not self._opened().grab():
                raise SourceError(
                    f"file {self._path}: expected at least {first_unit} frames, of which were "
                    f"recorded already, found {self._unit}; it was changed since, so start a new "
                    "session"
                )
            self._advance()

    def _advance(self) -> int:
        """Count the frame that was grabbed: its time, in ns since the first, never stepping back.

        Elementary streams carry no timestamps and have a position of 0 throughout; there the
        frame rate tells the time.
        """
        position_ms = self._opened().get(cv2.CAP_PROP_POS_MSEC)
        rate = self._opened().get(cv2.CAP_PROP_FPS)
        if not math.isfinite(position_ms):
            position_ms = 0.0
        if self._unit == 0:
            self._base_ms = position_ms
        elif position_ms == 0 and rate > 0:
            position_ms = self._base_ms + self._unit * 1e3 / rate
        elif position_ms < self._last_ms - _STEP_BACK_MS:
            # Else all that follows would be of one moment, until its times are ahead again.
            period_ms = 1e3 / rate if rate > 0 else 0.0
            self._base_ms += position_ms - self._last_ms - period_ms
        self._last_ms = position_ms
        self._t_ns = max(self._t_ns, round((position_ms - self._base_ms) * 1e6))
        self._unit += 1
        return self._t_ns

    def _describe(self, uri: str, picture: Picture) -> SourceFacts:
        capture = self._opened()
        height, width, _ = picture.shape
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if math.isfinite(rate) and rate > 0 else 0.0
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(8, "little", signed=True)[:4]
        name = "".join(chr(byte) for byte in codec if 32 < byte < 127) or "unknown codec"
        return SourceFacts(
            kind="file",
            uri=uri,
            description=f"video file, {name}, {width}x{height} at {rate:g} fps",
            width=width,
            height=height,
            clock=SourceClock.MEDIA,
            frame_rate=rate,
            frame_count=int(count) if 0 < count < _LARGEST_COUNT else None,
        )


def _open_capture(file: OpenFile, max_pixels: int) -> cv2.VideoCapture:
    """A capture of pictures that are not larger; in mid-file OpenCV neither tells nor bounds it."""
    # FFmpeg writes to stderr by itself, past every log setting; what it would say is said by the
    # errors here. OpenCV reads the variable once, in the first capture that a process opens.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # This one is read at every opening, and there is no other way to say it.
    os.environ.update(OPENCV_FFMPEG_CAPTURE_OPTIONS=_OPTIONS)
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(file.name, cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(before)
    if not capture.isOpened():
        capture.release()
        raise SourceError(
            f"file {file.path}: expected a video that FFmpeg can open, found none in its "
            f"{file.size} bytes; try ffprobe on it: it may be of another kind, a list of other "
            "files, or cut short before its index was written"
        )
    sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    width, height = (int(capture.get(side)) for side in sides)
    if width * height > max_pixels:
        capture.release()
        raise SourceError(
            f"file {file.path}: expected pictures of at most {max_pixels} pixels "
            f"(sources.max_pixels), found {width}x{height}; make them smaller, or raise it"
        )
    return capture
