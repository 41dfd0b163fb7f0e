"""The audit trail as rows for people and programs: who did what, when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import MAX_BUNDLE_SIZE, Bundle, parse_bundle
from recorder_worker.core.audit_trail.check import Bundles
from recorder_worker.core.audit_trail.lines import AgedLine, EventLine, GapLine, Line
from recorder_worker.core.events import (
    Audited,
    CommandAccepted,
    CommandDenied,
    DeadLetterSettled,
    RecordingExported,
    RecordingViewed,
)
from recorder_worker.core.session_log.entries import NO_SESSION

AuditEvent = (
    CommandAccepted | CommandDenied | RecordingViewed | RecordingExported | DeadLetterSettled
)
_EVENTS: msgspec.json.Decoder[AuditEvent] = msgspec.json.Decoder(AuditEvent)
_NAMES = {"stream_cut": "the stream was cut", "messages_missing": "messages are missing"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trail.

    Attributes:
        n: its number.
        wall_ns: when it was decided, or else stored, nanoseconds since the Unix epoch.
        what: the subject without `audit.`; `gap` and `aged` are the recorder's own; `foreign` is
            what is no audit event.
        actor: who; `role` as what.
        session_id: of which session; empty: none.
        detail: what else there is to say.
        again: an event of the same message id stands before it: told twice, it happened once.
        event: the event itself, as it stood on the bus; None where it is none.
    """

    n: int
    wall_ns: int
    what: str
    actor: str = ""
    role: str = ""
    session_id: str = ""
    detail: str = ""
    again: bool = False
    event: Any = None


def rows(bundles: Bundles) -> Iterator[Row]:
    """All lines of all bundles, by their numbers. They are not verified here.

    Raises:
        FormatError: a bundle is none.
        RecorderError: it cannot be read.
    """
    prefix = f"{keys.AUDIT}/{keys.AUDIT_PROOFS}/"
    told: set[str] = set()
    for key in sorted(bundles.bundle_keys()):
        if key.startswith(prefix) or not key.endswith(keys.AUDIT_SUFFIX):
            continue
        bundle = parse_bundle(bundles.read_bundle(key, MAX_BUNDLE_SIZE))
        for line in bundle.lines:
            row = _row(bundle, line)
            name = line.message_id if isinstance(line, EventLine) else ""
            yield msgspec.structs.replace(row, again=True) if name in told else row
            told.update({name} - {""})


def _row(bundle: Bundle, line: Line) -> Row:
    match line:
        case GapLine():
            missing = str(line.missing) if line.missing else "unknown"
            detail = f"{_NAMES[line.reason]}: {missing} messages between these times"
            return Row(n=line.n, wall_ns=line.to_ns, what="gap", detail=detail)
        case AgedLine():
            detail = f"events up to {line.through} were removed, older than {line.max_age_s} s"
            return Row(n=line.n, wall_ns=bundle.head.made_ns, what="aged", detail=detail)
        case EventLine():
            return _event(line)


def _event(line: EventLine) -> Row:
    try:
        event = _EVENTS.decode(line.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        detail = f"{line.subject}: {error}"
        return Row(n=line.n, wall_ns=line.stored_ns, what="foreign", detail=detail)
    return Row(
        n=line.n,
        wall_ns=event.wall_ns,
        what=line.subject.removeprefix("audit."),
        actor=event.actor,
        role=event.role,
        session_id="" if event.session_id in {"unknown", NO_SESSION} else event.session_id,
        detail=_detail(event),
        event=msgspec.to_builtins(event),
    )


def _detail(event: Audited) -> str:
    match event:
        case CommandAccepted():
            return event.command
        case CommandDenied():
            return f"{event.command}: {event.field}: {event.reason}"
        case RecordingExported():
            return f"{event.what} {event.detail}".rstrip()
        case RecordingViewed():
            return event.what
        case DeadLetterSettled():
            return f"{event.action} {event.stage} {event.letter}: {event.why}"
        case _:
            return ""
