"""`recorder start`: start a session as any client would."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from recorder_worker.cli.output import JsonOption, err, out, print_json
from recorder_worker.cli.settings_option import (
    ConfigOption,
    NatsOption,
    TokenFileOption,
    client_bearer,
    client_login,
)
from recorder_worker.core.errors import RefusedError


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


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("start")(start)


def start(
    source: Annotated[
        str,
        typer.Argument(
            help="A display (:10), a video file, rtsp://…, or `pattern`.", metavar="SOURCE"
        ),
    ],
    session_id: Annotated[
        str | None, typer.Option("--session", help="A UUID; made if left out.")
    ] = None,
    profile: Annotated[
        Profile,
        typer.Option(help="`copy` keeps the packets of a file or camera as they are."),
    ] = Profile.SCREEN,
    transport: Annotated[
        Transport, typer.Option(help="What a camera sends its packets by.")
    ] = Transport.TCP,
    credentials: Annotated[
        str | None, typer.Option(help="Name of a login for a camera that the worker keeps.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.")] = None,
    pace: Annotated[
        Pace, typer.Option(help="`fast` reads a file or pattern as fast as possible.")
    ] = Pace.NATIVE,
    frames: Annotated[int | None, typer.Option(help="Length of a pattern, in frames.")] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Black out X,Y,WIDTH,HEIGHT before anything is stored; repeatable."),
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option("--max-duration", help="Stop after so many seconds.")
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

    - `recorder start talk.mp4 --pace fast`: a file, as fast as it can be read

    - `recorder start rtsp://camera/stream --profile copy --credentials door`: a camera as it is

    - `recorder start pattern --frames 300`: a synthetic desktop, for trying things out
    """
    options: dict[str, Any] = {
        "profile": None if profile is Profile.SCREEN else profile.value,
        "fps": fps,
        "masks": [_mask(text) for text in mask or []],
        "max_duration_s": max_duration,
        "owner": owner,
        "labels": dict(_label(text) for text in label or []),
    }
    given = {name: value for name, value in options.items() if value not in (None, "", [], {})}

    wanted = _source(source, pace, frames)
    if wanted["kind"] == "rtsp":
        wanted["transport"] = transport.value
        wanted |= {"credentials": credentials} if credentials else {}

    async def go() -> None:
        from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

        login, bearer = client_login(config, nats), client_bearer(config, token_file)
        async with RecorderClient.connect(login, bearer=bearer) as client:
            started = await client.start(wanted, session_id=session_id, timeout_s=timeout, **given)
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


def _source(text: str, pace: Pace, frames: int | None) -> dict[str, Any]:
    """The source object that a word on the command line means."""
    if text == "pattern":
        length = {} if frames is None else {"frames": frames}
        return {"kind": "pattern", "pace": pace.value, **length}
    if text.startswith(("rtsp://", "rtsps://")):
        return {"kind": "rtsp", "uri": text}
    if ":" in text and not text.startswith("file://") and not Path(text).exists():
        return {"kind": "x11", "uri": text}
    uri = text if text.startswith("file://") else str(Path(text).absolute())
    return {"kind": "file", "uri": uri, "pace": pace.value}


def _mask(text: str) -> dict[str, int]:
    names = ("x", "y", "width", "height")
    parts = text.split(",")
    if len(parts) != len(names) or not all(part.strip().isdigit() for part in parts):
        raise RefusedError(
            field="--mask", expected="X,Y,WIDTH,HEIGHT", got=text, hint="four numbers of pixels"
        )
    return {name: int(part) for name, part in zip(names, parts, strict=True)}


def _label(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise RefusedError(field="--label", expected="KEY=VALUE", got=text, hint="put a = in it")
    return key, value
