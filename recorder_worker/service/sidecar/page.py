"""`/status` as a page that a person reads, on a phone too, and `/status.json` with the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from html import escape

import msgspec
from aiohttp import web

from recorder_worker.bus.sessions.roster import SessionState
from recorder_worker.core.model import ClockState
from recorder_worker.service.observing.health import Check
from recorder_worker.service.sidecar.status import (
    SHOWN_SESSIONS,
    About,
    SessionRow,
    StageRow,
    Status,
    StreamRow,
)
from recorder_worker.service.sidecar.style import CSS, POLICY

REFRESH_S = 5
SLOW_S = 30.0
FULL_PERCENT = 80.0
"""From here on a stream is shown as a warning; from 95 % the check fails."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATE_CLASS = {
    SessionState.RECORDING: "good",
    SessionState.PAUSED: "warn",
    SessionState.ARMED: "warn",
    SessionState.SEALED: "",
    SessionState.SEALING: "",
    SessionState.STARTING: "",
    SessionState.INCIDENT: "bad",
}
_CLOCK_CLASS = {ClockState.SYNCHRONISED: "good", ClockState.UNSYNCHRONISED: "warn"}

Look = Callable[[], Awaitable[Status]]
Cell = tuple[str, str]
"""A column's name and what stands there, as HTML."""


def status_routes(look: Look) -> list[web.RouteDef]:
    """The page and its JSON."""

    async def page(_request: web.Request) -> web.Response:
        text = render(await look())
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=HEADERS)

    async def document(_request: web.Request) -> web.Response:
        body = msgspec.json.encode(await look())
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    return [web.get("/status", page), web.get("/status.json", document)]


def render(status: Status) -> str:
    """The whole page. Every value is escaped; there is no script to trust."""
    failing = [check for check in status.checks if not check.ok]
    title = f"Session recorder, {status.about.node}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="refresh" content="{REFRESH_S}">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>",
        f"<header><h1>{escape(title)}</h1>{_verdict(failing)}</header>",
        f"<p>{_moment(status)}</p>",
        f"<p>{_about(status.about)}</p>",
        _notice(status),
        _tiles(status),
        "<h2>Sessions</h2>",
        _sessions(status),
        "<h2>Stages</h2>",
        _table(map(_stage, status.stages), "No stage has been looked at yet."),
        "<h2>Streams</h2>",
        _table(map(_stream, status.streams), "No stream has been looked at yet."),
        "<h2>Checks</h2>",
        _table(map(_check, status.checks), "There are none."),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _verdict(failing: list[Check]) -> str:
    if not failing:
        return _word("ready", "good")
    return _word("not ready: " + ", ".join(check.name for check in failing), "bad")


def _notice(status: Status) -> str:
    if not status.missing:
        return ""
    if "NATS" in status.missing:
        text = "NATS is away. Sessions, stages and streams are shown as they were when it was seen"
    else:
        text = f"No answer about: {', '.join(status.missing)}. What is shown of that may be old"
    return f'<p class="notice" role="status">{escape(text)}.</p>'


def _tiles(status: Status) -> str:
    free = "no limit" if status.free_bytes is None else _bytes(status.free_bytes)
    low = status.free_bytes is not None and status.free_bytes < status.floor_bytes
    age = "no entry yet" if status.log_age_s is None else f"newest {_age(status.log_age_s)} ago"
    root = f'root <code title="{escape(status.log_root)}">{escape(status.log_root[:12])}</code>'
    tiles = (
        ("Recorded here", str(status.leases), ""),
        ("Sessions known", str(status.sessions_known), ""),
        ("Disk free", _word(free, "bad") if low else free, f"floor {_bytes(status.floor_bytes)}"),
        ("Spool", _bytes(status.spool_bytes), f"{status.spool_segments} segments"),
        (
            "Log of sessions",
            f"{status.log_entries} entries",
            age + (f"<br>{root}" if status.log_root else ""),
        ),
        ("Clock", _word(status.clock.value, _CLOCK_CLASS.get(status.clock, "")), ""),
    )
    return (
        '<dl class="tiles">'
        + "".join(
            f"<div><dt>{name}</dt><dd>{value}{f'<small>{more}</small>' if more else ''}</dd></div>"
            for name, value, more in tiles
        )
        + "</dl>"
    )


def _sessions(status: Status) -> str:
    table = _table(map(_session, status.sessions), "There is no session yet.")
    if status.sessions_known <= SHOWN_SESSIONS:
        return table
    left = status.sessions_known - SHOWN_SESSIONS
    return f"{table}<p>{left} more are not shown; <code>recorder watch</code> has them.</p>"


def _session(row: SessionRow) -> list[Cell]:
    state = _word(row.state.value, _STATE_CLASS[row.state])
    if row.load:
        state += f'<small class="warn">{escape(row.load)}</small>'
    if row.here:
        state += "<small>recorded here</small>"
    if row.reason:
        state += f"<small>{escape(row.reason)}</small>"
    gaps = f"{row.gaps}"
    if row.lost_units:
        gaps += f"<small>{row.lost_units} lost</small>"
    frames = str(row.frames)
    if row.state is not SessionState.SEALED:
        frames = f"{row.captured_units}<small>{row.frames} signed</small>"
    signed = "none yet" if row.checkpoint_age_s is None else f"{_age(row.checkpoint_age_s)} ago"
    name = f"<code>{escape(row.session_id)}</code>"
    if row.incident:
        name += f'<small class="incident">{escape(row.incident)}</small>'
    return [
        ("number", str(row.number)),
        ("state", state),
        ("session", name),
        ("source", f"{escape(row.kind)}<small>{escape(row.uri)}</small>" if row.kind else "-"),
        ("node", escape(row.node) or "-"),
        ("frames", frames),
        ("gaps", gaps),
        ("stored", _bytes(row.stored_bytes)),
        ("checkpoint", _word(signed, "bad") if row.late else signed),
    ]


def _stage(row: StageRow) -> list[Cell]:
    lag = _age(row.lag_s)
    elsewhere = "" if row.here else "<small>not here</small>"
    dead = _count(row.dead_letters)
    return [
        ("stage", f"<strong>{escape(row.stage)}</strong>{elsewhere}"),
        ("waiting", str(row.waiting)),
        ("working", str(row.working)),
        ("lag", _word(lag, "warn") if row.lag_s > SLOW_S else lag),
        ("handled", _count(row.handled)),
        ("repeated", _count(row.redelivered)),
        ("dead", _word(dead, "bad") if row.dead_letters else dead),
    ]


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def _stream(row: StreamRow) -> list[Cell]:
    if row.percent is None:
        fill = "no limit"
    else:
        kind = "warn" if row.percent >= FULL_PERCENT else ""
        fill = f"{row.percent:.1f} %"
        fill = _word(fill, kind) if kind else fill
    return [
        ("stream", f"<code>{escape(row.stream)}</code>"),
        ("messages", str(row.messages)),
        ("stored", _bytes(row.stored_bytes)),
        ("full", fill),
    ]


def _check(check: Check) -> list[Cell]:
    return [
        ("check", f"<code>{escape(check.name)}</code>"),
        ("is", _word("well" if check.ok else "not well", "good" if check.ok else "bad")),
        ("found", escape(check.detail)),
    ]


_WORDS = {"state", "session", "source", "node", "stage", "stream", "check", "is", "found"}
"""Columns of words; all others are of numbers and stand to the right."""
_ON_A_PHONE = {
    "state": "three",
    "session": "wide bare",
    "source": "three",
    "check": "three bare",
    "is": "bare",
    "found": "wide bare",
}
"""There a row is a card of four columns: how many of them a cell takes, and whether it is named."""


def _table(rows: Iterable[list[Cell]], nothing: str) -> str:
    found = list(rows)
    if not found:
        return f"<p>{nothing}</p>"
    head = "".join(f'<th scope="col"{_kind(name)}>{name}</th>' for name, _ in found[0])
    body = "\n".join(
        "<tr>"
        + "".join(f'<td data-label="{name}"{_kind(name)}>{text}</td>' for name, text in row)
        + "</tr>"
        for row in found
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _kind(name: str) -> str:
    kinds = [] if name in _WORDS else ["number"]
    kinds += [_ON_A_PHONE[name]] if name in _ON_A_PHONE else []
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _word(text: str, kind: str) -> str:
    return f'<span class="word {kind}">{escape(text)}</span>'


def _about(about: About) -> str:
    return f"version {escape(about.version)} · runs {escape(', '.join(about.stages))}"


def _moment(status: Status) -> str:
    now = datetime.fromtimestamp(status.wall_ns // 1_000_000_000, UTC)
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if status.sample_age_s is not None:
        text += f" · sessions as of {_age(status.sample_age_s)} ago"
    return text


def _age(seconds: float) -> str:
    """A time in one unit, as people say it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            digits = 0 if unit == "B" or count >= 100 else 1
            return f"{count:.{digits}f} {unit}"
        count /= 1024
    raise AssertionError("TiB is the last")
