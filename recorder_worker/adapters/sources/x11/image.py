"""Two ways to get pixels of the root window: through shared memory, or through the connection.

Both give BGRX, four bytes a pixel. The fourth is whatever the server had there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import sysv_ipc
import xcffib.shm
import xcffib.xproto
from numpy.typing import NDArray

from recorder_worker.adapters.sources.x11.link import REPLY_HEAD_SIZE, RequestError, X11Link
from recorder_worker.core.errors import SourceLostError
from recorder_worker.core.frames.pictures import Region

_ALL_PLANES: Final = 0xFFFFFFFF
_PIXEL_SIZE: Final = 4
_STRIP_SIZE: Final = 4 * 2**20
_ONE_PIXEL: Final = Region(x=0, y=0, width=1, height=1)


class RootImage(Protocol):
    """Grabs parts of the root window."""

    @property
    def name(self) -> str:
        """For the source's description."""
        ...

    def grab(self, parts: Sequence[Region]) -> list[NDArray[np.uint8]]:
        """Pixels of each part, of shape (height, width, 4), valid until the next grab.

        Raises:
            RequestError: a part is not inside of the root window.
            SourceLostError: the display has gone.
        """
        ...

    def close(self) -> None:
        """Let go of memory; harmless when repeated."""
        ...


def open_image(link: X11Link, width: int, height: int) -> RootImage:
    """Shared memory, for so many pixels at first, where server and recorder share it.

    Else plain GetImage.
    """
    try:
        if link.first_event(xcffib.shm.key) is not None:
            return ShmImage(link, width * height * _PIXEL_SIZE)
    except (RequestError, sysv_ipc.Error, OSError):
        pass  # a remote server, another IPC namespace, or no shared memory left: GetImage works
    return StripImage(link)


class ShmImage:
    """MIT-SHM: the server copies parts of the screen into memory of ours, one behind the other."""

    name = "MIT-SHM"

    def __init__(self, link: X11Link, size: int) -> None:
        """Attach `size` bytes, and see that the server's memory is really ours.

        Raises:
            RequestError: the server cannot attach our memory.
            sysv_ipc.Error: there is no shared memory to be had.
        """
        self._link = link
        self._memory: Any = None
        self._segment = 0
        try:
            self._attach(size)
            self._prove()
        except BaseException:
            self.close()
            raise

    def grab(self, parts: Sequence[Region]) -> list[NDArray[np.uint8]]:
        """See `RootImage.grab`."""
        size = sum(map(_size, parts))
        if self._memory is None or self._memory.size < size:
            self._grow(size)
        cookies, begin = [], 0
        for part in parts:
            cookies.append(self._ask(part, begin))
            begin += _size(part)
        refused: RequestError | None = None
        for cookie in cookies:  # all of them: a reply that nobody takes is kept for ever
            try:
                self._link.reply(cookie, xcffib.shm.GetImageReply)
            except RequestError as error:
                refused = error
        if refused is not None:
            raise refused
        return self._pixels(parts)

    def close(self) -> None:
        """See `RootImage.close`."""
        self._release()

    def _ask(self, part: Region, begin: int) -> Any:  # noqa: ANN401  (xcffib is generated and has no types)
        return self._link.extension(xcffib.shm.key).GetImage(
            self._link.screen.root,
            *(part.x, part.y, part.width, part.height),
            _ALL_PLANES,
            xcffib.xproto.ImageFormat.ZPixmap,
            self._segment,
            begin,
        )

    def _grow(self, size: int) -> None:
        self._release()
        try:
            self._attach(size)
        except (RequestError, sysv_ipc.Error, OSError) as error:
            raise SourceLostError(
                f"display {self._link.display}: expected {size} bytes of shared memory for a "
                f"larger screen, found {error}; open it again, which does without, or raise "
                "kernel.shmmax"
            ) from error

    def _attach(self, size: int) -> None:
        memory = sysv_ipc.SharedMemory(None, sysv_ipc.IPC_CREX, mode=0o600, size=size)
        try:
            segment = self._link.new_id()
            shm = self._link.extension(xcffib.shm.key)
            self._link.check(shm.AttachChecked(segment, memory.id, read_only=False))
        except BaseException:
            memory.detach()
            raise
        finally:
            # Both sides are attached, or never will be. Removed now, the kernel frees the memory
            # with the last of the two, also after a kill -9.
            memory.remove()
        self._memory, self._segment = memory, segment

    def _release(self) -> None:
        if self._memory is None:
            return
        with contextlib.suppress(SourceLostError):
            self._link.extension(xcffib.shm.key).Detach(self._segment)
        self._memory.detach()
        self._memory = None

    def _pixels(self, parts: Sequence[Region]) -> list[NDArray[np.uint8]]:
        # Made anew for every grab: nothing may keep a view of memory that is detached later.
        found, begin = [], 0
        for part in parts:
            pixels = np.frombuffer(self._memory, np.uint8, _size(part), begin)
            found.append(pixels.reshape(part.height, part.width, _PIXEL_SIZE))
            begin += _size(part)
        return found

    def _prove(self) -> None:
        """Raise RequestError where the server attached other memory that has the same id.

        A server in another IPC namespace can do that, and every frame would be what was in our
        memory before: black. One pixel of the screen cannot have both of two values.
        """
        for canary in (b"\xa5" * _PIXEL_SIZE, b"\x5a" * _PIXEL_SIZE):
            self._memory.write(canary)
            if self.grab([_ONE_PIXEL])[0].tobytes() != canary:
                return
        raise RequestError("the server attached memory that is not ours")


class StripImage:
    """Core GetImage, in strips, so that no reply is of the size of the screen.

    A part that changes between two strips comes out torn, as on a monitor.
    """

    name = "GetImage"

    def __init__(self, link: X11Link) -> None:
        self._link = link

    def grab(self, parts: Sequence[Region]) -> list[NDArray[np.uint8]]:
        """See `RootImage.grab`."""
        return [self._grab(part) for part in parts]

    def _grab(self, part: Region) -> NDArray[np.uint8]:
        rows = max(1, _STRIP_SIZE // (part.width * _PIXEL_SIZE))
        pixels = np.empty((part.height, part.width, _PIXEL_SIZE), np.uint8)
        for top in range(0, part.height, rows):
            strip = pixels[top : top + rows]
            cookie = self._link.core.GetImage(
                xcffib.xproto.ImageFormat.ZPixmap,
                self._link.screen.root,
                *(part.x, part.y + top, part.width, len(strip)),
                _ALL_PLANES,
            )
            data = np.frombuffer(self._link.reply_bytes(cookie), np.uint8, offset=REPLY_HEAD_SIZE)
            strip[:] = data[: strip.size].reshape(strip.shape)
        return pixels

    def close(self) -> None:
        """See `RootImage.close`."""


def _size(part: Region) -> int:
    return part.width * part.height * _PIXEL_SIZE
