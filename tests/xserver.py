"""An X server of the test's own: Xvfb on a display number that it picks itself."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pytest
import xcffib
import xcffib.randr
import xcffib.xproto
from numpy.typing import NDArray

START_DEADLINE_S = 30.0

_XCB: Any = xcffib  # it says that it is typed, and its functions are not


class XServer:
    """Xvfb while the `with` block lasts; skips the test where Xvfb is not installed."""

    def __init__(
        self,
        width: int = 320,
        height: int = 200,
        *,
        depth: int = 24,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        """Choose a screen.

        Args:
            width: in pixels, as `height`.
            height: see `width`.
            depth: bits of a pixel.
            options: more of Xvfb's.
            prefix: a command that starts Xvfb, such as one that changes namespaces.
        """
        if shutil.which("Xvfb") is None:
            pytest.skip("needs Xvfb (Debian: apt-get install xvfb)")
        screen = ("-screen", "0", f"{width}x{height}x{depth}")
        # -noreset: else the screen goes black when the client that painted it leaves.
        self._command = [*prefix, "Xvfb", *screen, "-noreset", "-nolisten", "tcp", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.display = ""

    def __enter__(self) -> Self:
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._command, "-displayfd", str(writer)],
                pass_fds=[writer],
                stderr=subprocess.DEVNULL,
            )
            os.close(writer)
            self.display = f":{_line(reader)}"
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(reader)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """As when the machine's session dies: no goodbye to its clients."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it hang: its connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, behind `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def paint(self, pixels: NDArray[np.uint8], x: int = 0, y: int = 0) -> None:
        """Draw BGRX pixels, shape (height, width, 4), on the root window."""
        connection = _XCB.connect(self.display)
        try:
            screen = connection.setup.roots[0]
            context = connection.generate_id()
            connection.core.CreateGCChecked(context, screen.root, 0, []).check()
            for row, line in enumerate(pixels):  # a request holds at most 256 kB
                connection.core.PutImageChecked(
                    xcffib.xproto.ImageFormat.ZPixmap,
                    screen.root,
                    context,
                    *(len(line), 1, x, y + row, 0, screen.root_depth),
                    line.size,
                    line.tobytes(),
                ).check()
        finally:
            connection.disconnect()

    def resize(self, width: int, height: int) -> None:
        """Change the screen's size as RandR does, up to the one that it was started with."""
        connection = _XCB.connect(self.display)
        try:
            randr = connection(xcffib.randr.key)
            root = connection.setup.roots[0].root
            resources = randr.GetScreenResourcesCurrent(root).reply()
            for crtc in resources.crtcs:  # a screen cannot become smaller than what a CRTC shows
                rotation = xcffib.randr.Rotation.Rotate_0
                randr.SetCrtcConfig(
                    crtc, 0, resources.config_timestamp, 0, 0, 0, rotation, 0, []
                ).reply()
            randr.SetScreenSizeChecked(root, width, height, width, height).check()
        finally:
            connection.disconnect()


def _line(reader: int) -> str:
    """What Xvfb writes once it can be connected to."""
    deadline, text = time.monotonic() + START_DEADLINE_S, b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(reader, 64) if ready else b""
        if not piece:
            raise AssertionError("Xvfb did not start")
        text += piece
    return text.decode().strip()
