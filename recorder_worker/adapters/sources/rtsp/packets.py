"""A camera or another RTSP server, whose packets are recorded as they are."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import av
import msgspec

from recorder_worker.adapters.sources.guard import SourceGuard
from recorder_worker.adapters.sources.rtsp.input import RtspInput
from recorder_worker.adapters.sources.stamps import Stamped, Stamps
from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.errors import SourceError, SourceLostError
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.packets.slices import goes_on
from recorder_worker.core.sources.kinds import RtspSource
from recorder_worker.ports import Coding, Packet

MAX_WAITING: Final = 64 << 20
"""Bytes of packets that wait for their reader; then the server waits too."""
MAX_PICTURE: Final = 16 << 20
"""Bytes of one, all its slices together."""


class RtspPackets:
    """Satisfies `ports.PacketSource`. A thread reads, so that nobody else waits for FFmpeg."""

    def __init__(self, source: RtspSource, guard: SourceGuard) -> None:
        """Connect, and wait for the first keyframe.

        Raises:
            SourceForbiddenError: the rules do not allow the host.
            SourceError: there is no stream, none that can be copied, or no keyframe in time.
        """
        self._input = RtspInput(source, guard)
        self._stall_s = source.stall_s
        self._ready: deque[Packet] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._end: SourceLostError | None = None
        self._closed = False
        try:
            self._tracks = Tracks(self._input.container, self._input.name)
        except BaseException:
            self.close()
            self._input.container.close()
            raise
        self._stamps = (Stamps(self._input.name), Stamps(self._input.name))
        self._begun = False
        self._held: Stamped | None = None
        self._came = time.monotonic()
        self._facts = self._describe()
        threading.Thread(target=self._pump, name="rtsp packets", daemon=True).start()
        self._wait_for_keyframe(source.open_s, max(0, self._input.link.left_s))

    @property
    def facts(self) -> SourceFacts:
        """As the server declares them."""
        return self._facts

    @property
    def tick(self) -> tuple[int, int]:
        """As `PacketSource.tick`."""
        return self._tracks.tick.numerator, self._tracks.tick.denominator

    @property
    def skipped(self) -> int:
        """None: what a server sent before its first keyframe was before the session."""
        return 0

    @property
    def coding(self) -> Coding:
        """As `PacketSource.coding`."""
        return self._tracks.coding

    def read(self, wait_s: float) -> tuple[Packet, ...]:
        """The packets that have come. A server that sends none for `stall_s` is lost."""
        with self._changed:
            if not self._ready and self._end is None:
                self._changed.wait(wait_s)
            if self._ready:
                packets = tuple(self._ready)
                self._ready.clear()
                self._size = 0
                self._changed.notify_all()
                return packets
            if self._end is not None:
                raise self._end
            if time.monotonic() - self._came > self._stall_s:
                self.close()
                raise SourceLostError(
                    f"{self._input.name}: expected packets, found none for {self._stall_s:g} s"
                )
            return ()

    def piece(self, packets: Sequence[Packet], shift: int) -> tuple[bytes, bytes]:
        """As `PacketSource.piece`."""
        return self._tracks.piece(packets, shift)

    def close(self) -> None:
        """Hang up. The thread ends by that, and lets go of FFmpeg."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._end = self._end or SourceLostError(f"{self._input.name}: it is closed")
            self._changed.notify_all()
        self._input.link.close()

    def _wait_for_keyframe(self, open_s: float, left_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._end is not None, left_s)
            if self._ready:
                return
            # Where time was over before FFmpeg had opened it, the link ended it, not the server.
            end = self._end if self._input.link.left_s > 0 else None
        self.close()
        raise SourceError(
            str(end)
            if end is not None
            else f"{self._input.name}: expected a keyframe within {open_s:g} s, found none; have "
            "the camera send them more often, or raise open_s"
        )

    def _pump(self) -> None:
        container, tracks = self._input.container, self._tracks
        chosen = [index for index in (tracks.video, tracks.audio) if index is not None]
        reason = "it ended the stream"
        try:
            for packet in container.demux([container.streams[index] for index in chosen]):
                if self._closed:
                    break
                if packet.size:
                    self._take(packet)
        except SourceLostError as error:
            reason = str(error).removeprefix(f"{self._input.name}: ")
        except (OSError, ValueError, av.error.FFmpegError) as error:
            said = getattr(error, "strerror", "") or type(error).__name__
            reason = f"the connection broke ({said})"
        finally:
            # What is held back is not recorded: nothing shows that it is whole, and where the
            # connection broke off in the midst of it, it is not.
            with self._changed:
                self._end = self._end or SourceLostError(f"{self._input.name}: {reason}")
                self._changed.notify_all()
            self._input.link.close()
            container.close()

    def _take(self, packet: av.Packet[Any]) -> None:
        video = packet.stream_index == self._tracks.video
        stamped = Stamped(
            pts=packet.pts,
            dts=packet.dts,
            duration=packet.duration or 0,
            keyframe=packet.is_keyframe,
            came_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            data=bytes(packet),
        )
        if not video:
            self._stamp(stamped, video=False)
            return
        # One is held back until the next shows that it is whole.
        held, self._held = self._held, stamped
        if held is not None and goes_on(self._tracks.codec, stamped.data):
            if len(held.data) + len(stamped.data) > MAX_PICTURE:
                self._held = None
                raise SourceLostError(
                    f"{self._input.name}: expected pictures of at most {MAX_PICTURE} bytes, found "
                    "one that does not end"
                )
            self._held = msgspec.structs.replace(held, data=held.data + stamped.data)
        elif held is not None:
            self._stamp(held, video=True)

    def _stamp(self, stamped: Stamped, *, video: bool) -> None:
        for each, pts, dts in self._stamps[0 if video else 1].feed(stamped):
            self._put(
                Packet(
                    video=video,
                    keyframe=each.keyframe,
                    pts=pts,
                    dts=dts,
                    duration=each.duration,
                    t_ns=each.came_ns,
                    data=each.data,
                )
            )

    def _put(self, packet: Packet) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._size < MAX_WAITING or self._closed)
            if packet.video:
                self._came = time.monotonic()
            self._begun = self._begun or (packet.video and packet.keyframe)
            if self._begun and not self._closed:
                self._ready.append(packet)
                self._size += len(packet.data)
                self._changed.notify_all()

    def _describe(self) -> SourceFacts:
        tracks = self._tracks
        left = f"; not recorded: {tracks.left_out}" if tracks.left_out else ""
        return SourceFacts(
            kind="rtsp",
            uri=self._input.uri,
            description=f"RTSP, {tracks.description} at {tracks.rate:g} fps{left}",
            width=tracks.width,
            height=tracks.height,
            clock=SourceClock.LIVE,
            frame_rate=tracks.rate,
        )
