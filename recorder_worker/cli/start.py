"""`recorder start`: start a session as any client would."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import typer

from recorder_worker.cli.named_values import label_of, rectangle_of
from recorder_worker.cli.output import JsonOption, err, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    TokenFileOption,
    client_bearer,
    client_login,
)
from recorder_worker.cli.source_word import source_of


class Profile(StrEnum):
    """How a source is kept."""

    SCREEN = "screen"
    COPY = "copy"


class Transport(StrEnum):
    """How an RTSP server sends."""

    TCP = "tcp"
    UDP = "udp"


class Pace(StrEnum):
    """How fast a file or pattern is read."""

    NATIVE = "native"
    FAST = "fast"


class WhenBehind(StrEnum):
    """What is done while later stages do not keep up."""

    SLOW = "slow"
    GAP = "gap"
    STOP = "stop"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("start")(start)


def start(
    source: Annotated[
        str,
        typer.Argument(
            help="A display (:10), a video file, rtsp://…, a directory or pattern of pictures, a "
            "device (/dev/video0), a NATS subject (nats:source.lab.frames), or `pattern`.",
            metavar="SOURCE",
        ),
    ],
    session_id: Annotated[
        str | None, typer.Option("--session", help="A UUID; made if left out.")
    ] = None,
    profile: Annotated[
        Profile,
        typer.Option(
            help="`screen`: pictures, lossless; `copy`: packets of a file, camera or subject."
        ),
    ] = Profile.SCREEN,
    transport: Annotated[
        Transport | None,
        typer.Option(help="What a network camera sends its packets by: `tcp` (left out) or `udp`."),
    ] = None,
    credentials: Annotated[
        str | None, typer.Option(help="Name of a login for a camera that the worker keeps.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.")] = None,
    pace: Annotated[
        Pace | None,
        typer.Option(help="`fast` reads a file, pictures or a pattern as fast as possible."),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Length of a pattern, in frames.")] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Black out X,Y,WIDTH,HEIGHT before anything is stored; repeatable."),
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="Of a display only this monitor; xrandr lists the names.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Of a display only X,Y,WIDTH,HEIGHT, in pixels.")
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option("--max-duration", help="Stop after so many seconds.")
    ] = None,
    idle_stop: Annotated[
        float | None,
        typer.Option(
            "--idle-stop", help="Stop when the picture has not changed for so many seconds."
        ),
    ] = None,
    pre_record: Annotated[
        float | None,
        typer.Option(
            "--pre-record",
            help="Keep the last so many seconds in memory alone, until `mark --type trigger`.",
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(
            help="0 to 9, left out 5: the lowest are slowed down first on a busy machine."
        ),
    ] = None,
    when_behind: Annotated[
        WhenBehind | None,
        typer.Option(
            "--when-behind",
            help="`slow` (left out), `gap` or `stop`, while later stages do not keep up.",
        ),
    ] = None,
    owner: Annotated[str, typer.Option(help="Who the session belongs to.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, sealed into the record; repeatable.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for a worker to take the session.")
    ] = 30.0,
    token_file: TokenFileOption = None,
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Start a session and wait until it is being recorded; prints its id, alone, on stdout.

    Examples:
    - `recorder start :10`: record an X display

    - `recorder start :10 --monitor DP-1`: one of its monitors

    - `recorder start talk.mp4 --pace fast`: a file, as fast as it can be read

    - `recorder start rtsp://camera/stream --profile copy --credentials door`: a camera as it is

    - `recorder start 'shots/*.png' --fps 5`: pictures in the order of their names

    - `recorder start pattern --frames 300`: a synthetic desktop, for trying things out
    """
    options: dict[str, Any] = {
        "profile": None if profile is Profile.SCREEN else profile.value,
        "fps": fps,
        "masks": [rectangle_of("--mask", text) for text in mask or []],
        "max_duration_s": max_duration,
        "idle_stop_s": idle_stop,
        "pre_record_s": pre_record,
        "priority": priority,
        "when_behind": None if when_behind is None else when_behind.value,
        "owner": owner,
        "labels": dict(label_of(text) for text in label or []),
    }
    given = {name: value for name, value in options.items() if value not in (None, "", [], {})}

    fields: dict[str, Any] = {
        "pace": None if pace is None else pace.value,
        "frames": frames,
        "transport": None if transport is None else transport.value,
        "credentials": credentials,
        "monitor": monitor,
        "region": None if region is None else rectangle_of("--region", region),
    }
    what = source_of(source, {name: value for name, value in fields.items() if value is not None})

    async def go() -> None:
        from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

        login, bearer = client_login(config, nats), client_bearer(config, token_file)
        async with RecorderClient.connect(login, bearer=bearer) as client:
            started = await client.start(what, session_id=session_id, timeout_s=timeout, **given)
        if json:
            print_json(started)
            return
        facts = started.source
        err.print(
            f"recording {facts.kind} {facts.uri}, {facts.width}x{facts.height}, on {started.node}",
            markup=False,
        )
        out.print(started.session_id, markup=False)

    asyncio.run(go())
