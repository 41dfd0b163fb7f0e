"""What a profile allows in a start."""

from __future__ import annotations

from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.sources.kinds import FileSource, NatsSource, RtspSource
from recorder_worker.core.sources.logins import without_login


def check_start(command: StartSession) -> None:
    """Hold a start against its profile, and its source.

    Raises:
        RefusedError: they do not go together.
    """
    source = command.source
    if isinstance(source, RtspSource) and source.credentials and without_login(command)[1]:
        raise RefusedError(
            field="source.credentials",
            expected="a login in the URL, or the name of one that the worker keeps",
            got="both",
            hint="leave one of them out",
        )
    if command.profile != "copy":
        return
    if not isinstance(source, FileSource | NatsSource | RtspSource):
        raise RefusedError(
            field="profile",
            expected="screen, for this kind of source",
            got="copy",
            hint="copy keeps the packets of a file, an RTSP server or a subject of NATS; this "
            "source has none",
        )
    undecoded = {
        "masks": command.masks or None,
        "fps": command.fps,
        "idle_stop_s": command.idle_stop_s,
        "pre_record_s": command.pre_record_s,
    }
    for field, given in undecoded.items():
        if given is not None:
            raise RefusedError(
                field=field,
                expected="nothing, with profile copy",
                got="a value",
                hint="copied packets are never decoded, so nothing in them can be looked at, "
                "blacked out or left out; record with profile screen",
            )
