"""`recorder ls` and `recorder show`: what the bus knows of sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recorder_worker.cli.output import JsonOption, columns, fields, out, print_json, seconds, size
from recorder_worker.cli.settings_option import ConfigOption, NatsOption, client_login
from recorder_worker.core.command_parsing import check_session_id
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.load.words import load_words
from recorder_worker.core.screening.card_text import wall_time
from recorder_worker.core.subjects import Fact

if TYPE_CHECKING:
    from recorder_worker.bus.client import RecorderClient

STATES = {
    "armed": ": it keeps its last seconds in memory, and waits for `mark --type trigger`",
    "stopping": ": its end is captured, its seal is on its way",
}
"""What a state means to somebody who did not read of it."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ls")(ls)
    app.command("show")(show)


def ls(nats: NatsOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the sessions that the stream remembers, oldest first."""
    rows = asyncio.run(_all(nats, config))
    if json:
        print_json(rows)
        return
    lines = [("session", "state", "frames", "gaps", "stored", "root", "source")]
    lines += [
        (
            row["session_id"],
            f"{row['state']}{_load_word(row)}",
            str(row["totals"]["frame_count"]),
            str(row["totals"]["gap_count"]),
            size(row["totals"]["stored_bytes"]),
            row["root_hash"][:16],
            f"{row['source']['kind']} {row['source']['uri']}",
        )
        for row in rows
    ]
    for line in columns(lines):
        out.print(line, markup=False)


def show(
    session: Annotated[str, typer.Argument(help="The session's id.", metavar="SESSION")],
    nats: NatsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show one session: source, state, what was told of it, totals, newest checkpoint or seal."""
    row = asyncio.run(_one(session, nats, config))
    if json:
        print_json(row)
        return
    totals, source = row["totals"], row["source"]
    shown = {
        "session": row["session_id"],
        "state": f"{row['state']}{STATES.get(row['state'], '')}{row['paused']}",
        "load": row["load"],
        "started": wall_time(row["started_wall_ns"]),
        "source": f"{source['kind']} {source['uri']} ({source['width']}x{source['height']})",
        "node": row["node"],
        "covered": seconds(row["covered_ns"]),
        "frames": totals["frame_count"],
        "chunks": totals["chunk_count"],
        "gaps": f"{totals['gap_count']} ({totals['lost_units']} frames lost)",
        "marks": totals["mark_count"],
        "picture": row["picture"],
        "raw": size(totals["raw_bytes"]),
        "stored": size(totals["stored_bytes"]),
        "tree size": row["tree_size"],
        "root hash": row["root_hash"],
        "reason": row["reason"],
        "failed": row["failed"],
        "incident": row["incident"],
        "location": row["location"],
    }
    out.print(fields(**{k: v for k, v in shown.items() if v != ""}), markup=False)


def _load_word(row: dict[str, Any]) -> str:
    if row["held"]:
        return " (held)"
    return f" (slowed to {row['slowed']['fps']:g} fps)" if row["slowed"] else ""


async def _all(nats: str | None, config: Any) -> list[dict[str, Any]]:  # noqa: ANN401  (Typer's path)
    from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

    async with RecorderClient.connect(client_login(config, nats)) as client:
        rows = [await _row(client, session_id) for session_id in await client.sessions()]
    found = [row for row in rows if row is not None]
    return sorted(found, key=lambda row: row["started_wall_ns"])


async def _one(session_id: str, nats: str | None, config: Any) -> dict[str, Any]:  # noqa: ANN401  (Typer's path)
    from recorder_worker.bus.client import RecorderClient  # noqa: PLC0415  (loads NATS)

    check_session_id(session_id)
    async with RecorderClient.connect(client_login(config, nats)) as client:
        row = await _row(client, session_id)
        more = await _told(client, session_id)
    if row is None:
        raise RefusedError(
            field="SESSION",
            expected="a session that the stream remembers",
            got=session_id,
            hint="`recorder ls` lists them",
        )
    if row["state"] != "paused":
        more["paused"] = ""
    return row | more


async def _told(client: RecorderClient, session_id: str) -> dict[str, str]:
    """What is wrong with a session, and since when it is paused, in words; empty where nothing."""
    from recorder_worker.core import events  # noqa: PLC0415  (only here)

    told = {"paused": "", "picture": "", "failed": "", "incident": ""}
    for fact in (Fact.PAUSED, Fact.QUALITY, Fact.FAILED, Fact.INCIDENT):
        match await client.last(fact, session_id):
            case events.SessionPaused() as event:
                by = f" by {event.by}" if event.by else ""
                told["paused"] = f" since {seconds(event.t_ns)}{by}"
            case events.SessionQuality() as event:
                since = seconds(event.since_ns)
                told["picture"] = f"{event.condition.value} {event.state.value}, {since} (newest)"
            case events.SessionFailed() as event:
                told["failed"] = f"{event.reason.value}: {event.detail}"
            case events.SessionIncident() as event:
                told["incident"] = event.detail
            case _:
                pass
    return told


async def _row(client: RecorderClient, session_id: str) -> dict[str, Any] | None:
    import msgspec  # noqa: PLC0415  (only here)

    from recorder_worker.core import events  # noqa: PLC0415  (only here)

    started = await client.last(Fact.STARTED, session_id)
    if not isinstance(started, events.SessionStarted):
        return None
    captured = await client.last(Fact.CAPTURED, session_id)
    checkpoint = await client.last(Fact.CHECKPOINT, session_id)
    sealed = await client.last(Fact.SEALED, session_id)
    totals = checkpoint.totals if isinstance(checkpoint, events.Checkpoint) else events.Totals()
    state, slowed, held = "recording", None, False
    if isinstance(sealed, events.SessionSealed):
        state = "sealed"
    elif isinstance(captured, events.EndCaptured):
        state = "stopping"
    elif isinstance(captured, events.Captured) and captured.paused:
        state = "paused"
    elif isinstance(captured, events.Captured):
        state = "armed" if captured.armed else "recording"
        slowed, held = captured.slowed, captured.held
    seal = sealed if isinstance(sealed, events.SessionSealed) else None
    row: dict[str, Any] = msgspec.to_builtins(
        {
            "session_id": session_id,
            "state": state,
            "slowed": slowed,
            "held": held,
            "load": load_words(slowed, held=held),
            "source": started.source,
            "node": started.node,
            "started_wall_ns": started.wall_ns,
            "covered_ns": captured.cursor.t_ns if isinstance(captured, events.Captured) else 0,
            "totals": totals,
            "tree_size": checkpoint.tree_size if isinstance(checkpoint, events.Checkpoint) else 0,
            "root_hash": checkpoint.root_hash if isinstance(checkpoint, events.Checkpoint) else "",
            "reason": seal.reason.value if seal else "",
            "location": seal.location if seal else "",
        }
    )
    return row
