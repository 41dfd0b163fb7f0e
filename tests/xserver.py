"""An X server of the test's own, on a display number that it picks itself.

Xvfb, TigerVNC's, or Xorg with the driver of xorgxrdp, which is what xrdp gives to its users.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import xcffib
import xcffib.randr
import xcffib.xproto
from numpy.typing import NDArray

START_DEADLINE_S = 30.0
FIRST_OWN_DISPLAY = 20_000
"""Displays are numbered up to 59,535."""

_XCB: Any = xcffib  # it says that it is typed, and its functions are not


PACKAGES = {"Xvfb": "xvfb", "Xtigervnc": "tigervnc-standalone-server", "Xorg": "xorgxrdp"}
PROGRAMS = tuple(PACKAGES)
PLIABLE = ("Xvfb", "Xtigervnc")
"""A client may resize these, and they do without extensions. xorgxrdp needs DAMAGE itself."""
XRDP = Path("/etc/X11/xrdp/xorg.conf")


class XServer:
    """A server while the `with` block lasts; skips the test where it is not installed."""

    def __init__(
        self,
        width: int = 320,
        height: int = 200,
        *,
        depth: int = 24,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
        program: str = "Xvfb",
        display: str | None = None,
    ) -> None:
        """Choose a screen.

        Args:
            width: in pixels, as `height`.
            height: see `width`.
            depth: bits of a pixel.
            options: more of the server's.
            prefix: a command that starts it, such as one that changes namespaces.
            program: one of PROGRAMS.
            display: a name such as :10, else one that the server picks.
        """
        if shutil.which(program) is None or (program == "Xorg" and not XRDP.exists()):
            pytest.skip(f"needs {program} (Debian: apt-get install {PACKAGES[program]})")
        screens = {
            "Xvfb": ("-screen", "0", f"{width}x{height}x{depth}"),
            # No port: nobody looks at it.
            "Xtigervnc": ("-geometry", f"{width}x{height}", "-depth", str(depth), "-rfbport", "-1"),
            # Xorg finds its configuration below /etc/X11, and takes no other path from everybody.
            "Xorg": ("-config", "xrdp/xorg.conf", "-depth", str(depth), "-logfile", os.devnull),
        }
        self._size = {"XRDP_START_WIDTH": str(width), "XRDP_START_HEIGHT": str(height)}
        # -noreset: else the screen goes black when the client that painted it leaves.
        common = ("-noreset", "-nolisten", "tcp")
        named = [] if display is None else [display]
        self._command = [*prefix, program, *named, *screens[program], *common, *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.display = ""

    def __enter__(self) -> Self:
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._command, "-displayfd", str(writer)],
                pass_fds=[writer],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | self._size,
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
        """Let it answer again."""
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

    def set_monitor(self, name: str, x: int, y: int, width: int, height: int) -> None:
        """Make a monitor of a part of the screen, or move the one that has this name."""
        self.remove_monitor(name)
        connection = _XCB.connect(self.display)
        try:
            root = connection.setup.roots[0].root
            atom = connection.core.InternAtom(0, len(name), name).reply().atom
            monitor = _XCB.randr.MonitorInfo.synthetic(
                atom, 0, 0, 0, x, y, width, height, width, height, []
            )
            connection(xcffib.randr.key).SetMonitorChecked(root, monitor).check()
        finally:
            connection.disconnect()

    def remove_monitor(self, name: str) -> None:
        """Unplug a monitor, if it is there."""
        connection = _XCB.connect(self.display)
        try:
            root = connection.setup.roots[0].root
            atom = connection.core.InternAtom(0, len(name), name).reply().atom
            found = connection(xcffib.randr.key).GetMonitors(root, 1).reply().monitors
            if atom in [monitor.name for monitor in found]:
                connection(xcffib.randr.key).DeleteMonitorChecked(root, atom).check()
        finally:
            connection.disconnect()


def own_display() -> str:
    """A name that no server picks by itself; they pick the first that is free, from :0 on.

    So that nobody else has it between the end of a server and the next one's start.
    """
    return f":{FIRST_OWN_DISPLAY + os.getpid() % FIRST_OWN_DISPLAY}"


def _line(reader: int) -> str:
    """What Xvfb writes once it can be connected to."""
    deadline, text = time.monotonic() + START_DEADLINE_S, b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(reader, 64) if ready else b""
        if not piece:
            raise AssertionError("the X server did not start")
        text += piece
    return text.decode().strip()
