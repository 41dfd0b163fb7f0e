"""Commands: plain JSON that a person can type after `nats pub session.start`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from blake3 import blake3
from msgspec import Meta, field

from recorder_worker.core.model import Mask, SessionId, Wire
from recorder_worker.core.retention.sayings import HoldName, Reason
from recorder_worker.core.sources.kinds import RtspSource, Source
from recorder_worker.core.sources.urls import bare

Label = Annotated[str, Meta(max_length=256)]
Labels = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Label], Meta(max_length=32)
]
Person = Annotated[str, Meta(max_length=256)]


Masks = Annotated[tuple[Mask, ...], Meta(max_length=64)]


class StartSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.start`: record a source. The same start twice is one session.

    With `idle_stop_s` it ends when the picture has not changed for so long. With `pre_record_s` it
    is armed: the last so many seconds are kept in memory alone until a mark of type `trigger`.
    `priority` says who is slowed down last where the machine is overloaded, and `when_behind` what
    is done while later stages, or the disk, do not keep up. `retain_s` is how long the sealed
    recording is kept: no rule takes it before, and then it goes, whatever other rules say.
    """

    source: Source
    session_id: SessionId | None = None
    fps: Annotated[float, Meta(ge=0.001, le=120)] | None = None
    profile: Literal["screen", "copy"] = "screen"
    masks: Masks = ()
    max_duration_s: Annotated[float, Meta(gt=0, le=604_800)] | None = None
    idle_stop_s: Annotated[float, Meta(gt=0, le=604_800)] | None = None
    pre_record_s: Annotated[float, Meta(gt=0, le=600)] | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    when_behind: Literal["slow", "gap", "stop"] = "slow"
    retain_s: Annotated[int, Meta(ge=1, le=3_153_600_000)] | None = None
    owner: Person = ""
    labels: Labels = field(default_factory=dict)


class StopSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.stop`: end a session; it is sealed with the reason `stopped`."""

    session_id: SessionId
    by: Person = ""


class PauseSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.pause`: record nothing until `session.resume`; the pause becomes a gap leaf."""

    session_id: SessionId
    by: Person = ""


class ResumeSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.resume`: go on after a pause."""

    session_id: SessionId
    by: Person = ""


class MarkSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.mark`: put an event of the client's own on the timeline, sealed into the record."""

    session_id: SessionId
    type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            pattern=r"^(?!recorder\.)",
            description="Any but those of the recorder's own, which begin with `recorder.`.",
        ),
    ] = "note"
    text: Annotated[str, Meta(max_length=4096)] = ""
    data: Labels = field(default_factory=dict)
    by: Person = ""


class MaskSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.mask`: from now on black out these rectangles, and no others."""

    session_id: SessionId
    masks: Masks
    by: Person = ""


class HoldSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.hold`: nothing of a session may be removed until the hold of this name is released.

    Holds of several names stand beside each other, so that nobody lifts another's.
    """

    session_id: SessionId
    reason: Reason
    name: HoldName = "hold"
    by: Person = ""


class ReleaseSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.release`: the hold of this name holds no more; others do."""

    session_id: SessionId
    reason: Reason
    name: HoldName = "hold"
    by: Person = ""


class DeleteSession(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`session.delete`: remove the chunks and thumbnails of a sealed session, for ever.

    Its records, checkpoints and seal stay, and a signed tombstone says who wanted it and why.
    """

    session_id: SessionId
    reason: Reason
    by: Person = ""


ControlCommand = StopSession | PauseSession | ResumeSession | MarkSession | MaskSession

RetentionCommand = HoldSession | ReleaseSession | DeleteSession

TRIGGER = "trigger"
"""The type of mark that starts the recording of a session that is armed."""


def start_digest(command: StartSession, session_id: str) -> str:
    """BLAKE3 in hexadecimal; the same for the same request, however its JSON was laid out.

    A login in the source is left out: a digest of a password is as good as the password.
    """
    named = msgspec.structs.replace(command, session_id=session_id)
    if isinstance(named.source, RtspSource):
        source = msgspec.structs.replace(named.source, uri=bare(named.source.uri))
        named = msgspec.structs.replace(named, source=source)
    return blake3(msgspec.json.encode(named, order="deterministic")).hexdigest()
