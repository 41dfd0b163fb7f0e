"""A camera: GStreamer's RTSP server, run by the system's own Python. Prints its port.

Usage: /usr/bin/python3 rtsp_server.py JSON, with the fields of `CAMERA` below. What it encodes is
written to the file `encoded` as well.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  (versions are asked for first)

CAMERA = {
    "port": 0,
    "video": "h264",
    "audio": "",
    "group": 10,
    "fps": 20,
    "size": [160, 120],
    "encoded": "",
    "keyframes": -1,
    "user": "",
    "password": "",
}
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={group} "
    "! video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={group} "
    "! video/x-h265,stream-format=byte-stream,alignment=au",
    "jpeg": "jpegenc",
    "vp8": "vp8enc deadline=1",
}
PAYLOADERS = {
    "h264": "rtph264pay config-interval=-1",
    "h265": "rtph265pay config-interval=-1",
    "jpeg": "rtpjpegpay",
    "vp8": "rtpvp8pay",
}
SOUNDS = {
    "": "",
    "aac": "voaacenc ! aacparse ! rtpmp4gpay",
    "mulaw": "audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay",
}


def main() -> None:
    camera = {**CAMERA, **json.loads(sys.argv[1])}
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(camera["port"]))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(camera))
    factory.set_shared(True)
    if camera["encoded"]:
        keep(factory, camera["encoded"])
    resize_when_told(factory, camera)
    cover_when_told(factory)
    if camera["keyframes"] >= 0:
        leave_out_keyframes(factory, camera["keyframes"])
    if camera["user"]:
        guard(server, factory, camera)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def caps(camera: dict[str, Any], times: int = 1) -> str:
    width, height = (times * side for side in camera["size"])
    return f"video/x-raw,format=I420,width={width},height={height},framerate={camera['fps']}/1"


def resize_when_told(factory: Any, camera: dict[str, Any]) -> None:  # noqa: ANN401  (gi has no types)
    """At SIGUSR1 pictures get twice the width and height, and the stream goes on."""

    def configured(_: Any, media: Any) -> None:  # noqa: ANN401  (as above)
        size = media.get_element().get_by_name("size")

        def resized() -> bool:
            size.set_property("caps", Gst.Caps.from_string(caps(camera, 2)))
            return bool(GLib.SOURCE_CONTINUE)

        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, resized)

    factory.connect("media-configure", configured)


def cover_when_told(factory: Any) -> None:  # noqa: ANN401  (gi has no types)
    """At SIGUSR2 pictures become black, and at the next one they are as before."""

    def configured(_: Any, media: Any) -> None:  # noqa: ANN401  (as above)
        shown = media.get_element().get_by_name("shown")
        covered = False

        def turned() -> bool:
            nonlocal covered
            covered = not covered
            Gst.util_set_object_arg(shown, "pattern", "black" if covered else "ball")
            return bool(GLib.SOURCE_CONTINUE)

        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR2, turned)

    factory.connect("media-configure", configured)


def launch(camera: dict[str, Any]) -> str:
    video = (
        f"videotestsrc name=shown is-live=true pattern=ball "
        f"! capsfilter name=size caps={caps(camera)} "
        f"! {ENCODERS[camera['video']].format(**camera)} "
        f"! identity name=encoded signal-handoffs=true "
        f"! {PAYLOADERS[camera['video']]} name=pay0 pt=96"
    )
    sound = SOUNDS[camera["audio"]]
    audio = f" audiotestsrc is-live=true ! audioconvert ! {sound} name=pay1 pt=97" if sound else ""
    return f"( {video}{audio} )"


def keep(factory: Any, path: str) -> None:  # noqa: ANN401  (gi has no types)
    """Write what is encoded to a file. (A tee makes the server crash when there is sound.)"""
    file = Path(path).open("ab", buffering=0)  # noqa: SIM115  (open for as long as the server runs)

    def configured(_: Any, media: Any) -> None:  # noqa: ANN401  (as above)
        element = media.get_element().get_by_name("encoded")
        element.connect(
            "handoff", lambda _, buffer: file.write(buffer.extract_dup(0, buffer.get_size()))
        )

    factory.connect("media-configure", configured)


def leave_out_keyframes(factory: Any, passing: int) -> None:  # noqa: ANN401  (gi has no types)
    """Let so many keyframes pass, and none behind them."""

    def passes(_: Any, info: Any) -> Any:  # noqa: ANN401  (as above)
        nonlocal passing
        if info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT):
            return Gst.PadProbeReturn.OK
        passing -= 1
        return Gst.PadProbeReturn.OK if passing >= 0 else Gst.PadProbeReturn.DROP

    def configured(_: Any, media: Any) -> None:  # noqa: ANN401  (as above)
        pad = media.get_element().get_by_name("encoded").get_static_pad("src")
        pad.add_probe(Gst.PadProbeType.BUFFER, passes)

    factory.connect("media-configure", configured)


def guard(server: Any, factory: Any, camera: dict[str, Any]) -> None:  # noqa: ANN401  (gi has no types)
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(camera["user"], camera["password"]), token)
    server.set_auth(auth)
    allowed = GstRtspServer.RTSPPermissions()
    for what in ("media.factory.access", "media.factory.construct"):
        allowed.add_permission_for_role("viewer", what, True)
    factory.set_permissions(allowed)


main()
