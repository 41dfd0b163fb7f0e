from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from captured_events import POLICY
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    ValidationError,
)

from recorder_worker.bus.codec import FACT_TYPES, encode
from recorder_worker.bus.schemas import frame_schemas, service_schemas
from recorder_worker.bus.schemas.folder import ASYNCAPI_NAME, documents
from recorder_worker.core import events
from recorder_worker.core.command_parsing import COMMAND_TYPES
from recorder_worker.core.commands import (
    DeleteSession,
    HoldSession,
    MarkSession,
    ReleaseSession,
    StartSession,
    StopSession,
)
from recorder_worker.core.events import Event
from recorder_worker.core.log_schema import LOG_NAME
from recorder_worker.core.model import (
    Cursor,
    EndReason,
    GapReason,
    Mask,
    SourceClock,
    SourceFacts,
    Span,
)
from recorder_worker.core.quality.conditions import Condition, Turn
from recorder_worker.core.quality.measures import Measures
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.sources.kinds import FileSource, PatternSource, X11Source
from recorder_worker.core.subjects import Command, Endpoint, Fact

FOLDER = Path(__file__).parents[2] / "schemas"
SUBJECTS = [*map(str, Command), *map(str, Fact)]
REQUESTS = [*map(str, Endpoint)]
NAMES = [*SUBJECTS, *service_schemas.types(), *frame_schemas.types()]
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
HEX = "ab" * 32
NOW_NS = time.time_ns()


def validator(subject: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{subject}.json").read_bytes()))


def test_what_is_committed_is_what_is_generated() -> None:
    committed = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert committed == documents(), "run: make schemas"


def test_every_command_and_every_fact_has_a_schema() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        ASYNCAPI_NAME,
        LOG_NAME,
        *(f"{name}.json" for name in NAMES),
    }
    assert set(FACT_TYPES) == set(Fact)
    assert set(COMMAND_TYPES) == set(Command)


@pytest.mark.parametrize("subject", NAMES)
def test_every_schema_is_one(subject: str) -> None:
    schema = json.loads((FOLDER / f"{subject}.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == subject


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_reference_leads_somewhere(path: Path) -> None:
    document = json.loads(path.read_bytes())
    references = list(references_in(document))
    for reference in references:
        file, _, pointer = reference.partition("#")
        target = json.loads((FOLDER / file).read_bytes()) if file else document
        for name in pointer.split("/")[1:]:
            target = target[name.replace("~1", "/").replace("~0", "~")]
        assert isinstance(target, dict)
    assert references or path.name != ASYNCAPI_NAME


def references_in(value: object) -> Any:  # noqa: ANN401  (a generator of texts)
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            else:
                yield from references_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from references_in(item)


# --- messages hold to their schema ---------------------------------------------------------------

SPAN = Span(first_unit=0, unit_count=3, t0_ns=0, t1_ns=9, wall0_ns=NOW_NS, wall1_ns=NOW_NS + 9)
FACTS = SourceFacts(
    kind="x11",
    uri=":1",
    description="a display",
    width=3,
    height=4,
    clock=SourceClock.LIVE,
    frame_rate=10,
)
MASK = Mask(x=0, y=0, width=1, height=1)
PLACE: dict[str, Any] = {
    "session_id": ID,
    "ordinal": 3,
    "lease": "a:1",
    "controls": 0,
    "cursor": Cursor(unit=3, t_ns=9, wall_ns=NOW_NS),
    "wall_ns": NOW_NS,
}
LEAF: dict[str, Any] = {"session_id": ID, "index": 3, "captured": 4}
NUMBERED = events.SessionNumbered(
    session_id=ID, counter=1, beacon="n", timestamped="n", timestamp=b"\0"
)
WHAT: dict[str, Any] = {
    "manifest_digest": HEX,
    "source": FACTS,
    "profile": "screen",
    "fps": 10,
    "masks": (MASK,),
    "node": "n",
    "boot_id": "b",
    "software": "s",
    "software_blake3": HEX,
    "numbered": NUMBERED,
    "policy": POLICY,
}
PIECE: dict[str, Any] = {
    "name": "segments/1.seg",
    "plain_size": 3,
    "plain_blake3": HEX,
    "stored_size": 2,
    "stored_blake3": HEX,
}
EPOCH = events.EpochKeys(number=1, keys=(PublicKey(KeyKind.ED25519, bytes(32)),))
TOTALS = events.Totals(chunk_count=1)
WHO: dict[str, Any] = {
    "actor": "kim",
    "role": "USER",
    "token_id": "t",
    "session_id": ID,
    "node": "n",
    "wall_ns": NOW_NS,
}
WORKER: dict[str, Any] = {
    "worker": "n_1_ab",
    "node": "n",
    "stages": ("capture",),
    "software": "s",
    "capacity": 8,
    "sessions": (ID,),
    "heartbeat_s": 10,
    "wall_ns": NOW_NS,
}
LOAD = events.NodeLoad(
    cpu_count=2,
    cpu_percent=12.5,
    load_1m=0.5,
    memory_total_bytes=8,
    memory_available_bytes=4,
    process_memory_bytes=2,
    process_cpu_percent=3,
    disk_total_bytes=9,
    disk_free_bytes=8,
)
COMMANDS = [
    (Command.START, StartSession(source=PatternSource())),
    (Command.START, StartSession(source=X11Source(uri=":1"), session_id=ID, masks=(MASK,), fps=3)),
    (Command.START, StartSession(source=FileSource(uri="/a.mkv"), labels={"a": "b"})),
    (Command.START, StartSession(source=PatternSource(), retain_s=86_400)),
    (Command.STOP, StopSession(session_id=ID, by="kim")),
    (Command.HOLD, HoldSession(session_id=ID, reason="a court asked", name="court", by="kim")),
    (Command.RELEASE, ReleaseSession(session_id=ID, reason="it is over", by="kim")),
    (Command.DELETE, DeleteSession(session_id=ID, reason="it was asked for", by="kim")),
    (Command.PAUSE, StopSession(session_id=ID)),
    (Command.RESUME, StopSession(session_id=ID)),
    (Command.MARK, MarkSession(session_id=ID, text="t", data={"a": "b"})),
]
EXAMPLES: list[tuple[Fact, Event]] = [
    (
        Fact.STARTED,
        events.SessionStarted(
            session_id=ID,
            command_id="c",
            command_digest=HEX,
            command_sequence=1,
            source=FACTS,
            node="n",
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.REJECTED,
        events.SessionRejected(
            session_id="unknown",
            command="session.start",
            command_id="c",
            field="f",
            expected="e",
            got="g",
            hint="h",
            wall_ns=NOW_NS,
        ),
    ),
    (Fact.PAUSED, events.SessionPaused(session_id=ID, t_ns=1, by="kim", wall_ns=NOW_NS)),
    (Fact.RESUMED, events.SessionResumed(session_id=ID, t_ns=1, by="kim", wall_ns=NOW_NS)),
    (
        Fact.QUALITY,
        events.SessionQuality(
            session_id=ID,
            t_ns=5,
            condition=Condition.BLACK,
            state=Turn.BEGUN,
            since_ns=1,
            measures=Measures(peak=3),
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.FAILED,
        events.SessionFailed(session_id=ID, reason=EndReason.DISK_FULL, detail="d", wall_ns=NOW_NS),
    ),
    (
        Fact.CONTROL,
        events.Control(
            session_id=ID,
            ordinal=0,
            command="session.stop",
            command_id="c",
            by="kim",
            body="{}",
            wall_ns=NOW_NS,
        ),
    ),
    (Fact.CAPTURED, events.Opened(**PLACE, **WHAT)),
    (
        Fact.CAPTURED,
        events.SegmentCaptured(**PLACE, **PIECE, span=SPAN, keyframe=True, raw_size=9),
    ),
    (
        Fact.CAPTURED,
        events.GapCaptured(**PLACE, span=SPAN, reason=GapReason.DISK, detail="d"),
    ),
    (Fact.CAPTURED, events.MarkCaptured(**PLACE, t_ns=1, kind="note", by="kim", body="{}")),
    (Fact.CAPTURED, events.PauseCaptured(**PLACE, t_ns=1, by="kim")),
    (Fact.CAPTURED, events.LeaseReleased(**PLACE, t_ns=1)),
    (Fact.CAPTURED, events.EpochCaptured(**PLACE)),
    (Fact.CAPTURED, events.BeatCaptured(**PLACE)),
    (
        Fact.CAPTURED,
        events.EndCaptured(**PLACE, t_ns=1, reason=EndReason.STOPPED, detail=""),
    ),
    (Fact.CHUNKED, events.OpenLeaf(**LEAF, **WHAT, wall_ns=NOW_NS)),
    (
        Fact.CHUNKED,
        events.ChunkPlanned(
            **LEAF,
            span=SPAN,
            keyframe=True,
            raw_size=9,
            plain_size=3,
            zstd_level=3,
            zstd_window_log=23,
            segments=(events.SegmentRef(**PIECE),),
        ),
    ),
    (
        Fact.COMPRESSED,
        events.ChunkStored(
            **LEAF,
            **PIECE,
            span=SPAN,
            keyframe=True,
            frames="tiles/1",
            codec="zstd",
            cipher="none",
            raw_size=9,
            stored_sha256=HEX,
        ),
    ),
    (
        Fact.COMPRESSED,
        events.GapLeaf(**LEAF, span=SPAN, reason=GapReason.CRASH, detail="d", wall_ns=NOW_NS),
    ),
    (
        Fact.COMPRESSED,
        events.MarkLeaf(**LEAF, t_ns=1, kind="note", by="kim", body="{}", wall_ns=NOW_NS),
    ),
    (Fact.COMPRESSED, events.EpochLeaf(**LEAF, number=1, t_ns=1, wall_ns=NOW_NS)),
    (Fact.COMPRESSED, events.BeatLeaf(**LEAF, unit=1, t_ns=1, wall_ns=NOW_NS)),
    (
        Fact.COMPRESSED,
        events.EndLeaf(**LEAF, t_ns=1, reason=EndReason.IDLE, detail="", wall_ns=NOW_NS),
    ),
    (
        Fact.HEAD,
        events.Head(
            session_id=ID,
            session_counter=1,
            tree_size=1,
            root_hash=HEX,
            frontier="",
            signing=EPOCH,
            epoch=EPOCH,
            totals=TOTALS,
            streams=(events.StreamEnd(stream=0, next_unit=3, t_ns=9),),
            signed_at_s=1,
            sealed=False,
            reason="",
        ),
    ),
    (
        Fact.CHECKPOINT,
        events.Checkpoint(
            session_id=ID,
            session_counter=1,
            tree_size=1,
            root_hash=HEX,
            note="n",
            totals=TOTALS,
            sealed=True,
        ),
    ),
    (
        Fact.SEALED,
        events.SessionSealed(
            **dict.fromkeys(
                (
                    *("tree_size", "chunk_count", "gap_count", "mark_count", "frame_count"),
                    *("lost_units", "raw_bytes", "plain_bytes", "stored_bytes"),
                ),
                1,
            ),
            session_id=ID,
            root_hash=HEX,
            reason=EndReason.STOPPED,
            location="/x",
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.INCIDENT,
        events.SessionIncident(session_id=ID, stage="merkle", detail="d", wall_ns=NOW_NS),
    ),
    (Fact.NUMBERED, NUMBERED),
    (
        Fact.LOGGED,
        events.SessionLogged(
            session_id=ID,
            kind="seal",
            counter=1,
            note_sha256=HEX,
            size=1,
            root_hash=HEX,
            frontier="00",
            last_seal=HEX,
            max_counter=1,
        ),
    ),
    (
        Fact.STORED,
        events.SessionStored(
            session_id=ID,
            location="/data/sessions/1",
            root_hash=HEX,
            tree_size=3,
            reason=EndReason.STOPPED,
            seal_sha256=HEX,
            seal_size=300,
            records_size=900,
            checkpoints_size=1200,
            chunk_count=1,
            chunk_bytes=4096,
            mark_count=0,
            sealed_wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.BLOB_COPIED,
        events.BlobCopied(
            session_id=ID,
            index=1,
            name="chunks/0000000001.zst",
            location="s3://bucket/sessions/1/chunks/0000000001.zst",
            size=4096,
            sha256=HEX,
            checked="attested",
            node="n",
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.ARCHIVED,
        events.SessionArchived(
            session_id=ID,
            location="s3://bucket/sessions/1",
            seal_sha256=HEX,
            file_count=7,
            file_bytes=9000,
            keep_local=True,
            node="n",
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.OFFLOADED,
        events.SessionOffloaded(
            session_id=ID,
            location="s3://bucket/sessions/1",
            chunk_count=1,
            chunk_bytes=4096,
            node="n",
            wall_ns=NOW_NS,
        ),
    ),
    (
        Fact.INTEGRITY_FAILED,
        events.IntegrityFailed(
            session_id=ID,
            stage="compress",
            problem="damaged",
            detail="segments/1.seg: …",
            node="n",
            wall_ns=NOW_NS,
        ),
    ),
    (Fact.NODE_REGISTERED, events.NodeRegistered(**WORKER, load=LOAD)),
    (
        Fact.NODE_HEARTBEAT,
        events.NodeHeartbeat(
            **WORKER,
            beat=1,
            load=LOAD,
            since_s=10,
            frames=3,
            raw_bytes=9,
            stored_bytes=2,
            messages=4,
        ),
    ),
    (Fact.NODE_DRAINING, events.NodeDraining(**WORKER)),
    (
        Fact.ANCHOR_REQUESTED,
        events.AnchorRequested(
            origin="r/log",
            tree_size=1,
            root_hash=HEX,
            note="n",
            previous_size=0,
            previous_root_hash=HEX,
            session_id=ID,
        ),
    ),
    (
        Fact.ANCHOR_RECEIPT,
        events.AnchorReceipt(
            origin="r/log",
            tree_size=1,
            root_hash=HEX,
            session_id=ID,
            kind="rfc3161",
            target="https://tsa.example",
            receipt=b"\0",
        ),
    ),
    (
        Fact.ANCHOR_STATE,
        events.AnchorState(origin="r/log", seen=(events.AnchorSeen(tree_size=1, root_hash=HEX),)),
    ),
    (
        Fact.AUDIT_ACCEPTED,
        events.CommandAccepted(**WHO, command="session.stop", command_id="c", command_blake3=HEX),
    ),
    (
        Fact.AUDIT_DENIED,
        events.CommandDenied(
            **WHO,
            command="session.stop",
            command_id="c",
            command_blake3=HEX,
            field="authorization",
            reason="r",
        ),
    ),
    (
        Fact.RETENTION,
        events.SessionRetention(
            session_id=ID,
            number=2,
            kind="tombstone",
            by="kim",
            reason="r",
            rule="command",
            chunk_count=3,
            chunk_bytes=900,
            command_id="c",
            statement="session-recorder retention v1",
            wall_ns=1,
        ),
    ),
    (Fact.AUDIT_VIEWED, events.RecordingViewed(**WHO, what="list")),
    (Fact.AUDIT_EXPORTED, events.RecordingExported(**WHO, what="proof", detail="chunk 3")),
    (
        Fact.AUDIT_SETTLED,
        events.DeadLetterSettled(
            **WHO, letter="0123456789abcdef", stage="chunk", action="dropped", by="kim", why="w"
        ),
    ),
]


def named(value: object) -> str:
    return type(value).__name__ if isinstance(value, msgspec.Struct) else str(value)


@pytest.mark.parametrize(("command", "value"), COMMANDS, ids=named)
def test_commands_hold_to_their_schema(command: Command, value: msgspec.Struct) -> None:
    whole = json.loads(msgspec.json.encode(value))
    validator(command.value).validate(whole)
    short = {name: item for name, item in whole.items() if item not in (None, "", [], {})}
    validator(command.value).validate(short)
    with pytest.raises(ValidationError):
        validator(command.value).validate(whole | {"colour": "red"})
    with pytest.raises(ValidationError):
        validator(command.value).validate(whole | {"session_id": "7"})


@pytest.mark.parametrize(("fact", "event"), EXAMPLES, ids=named)
def test_facts_hold_to_their_schema(fact: Fact, event: Event) -> None:
    message = json.loads(encode(event))
    validator(fact.value).validate(message)
    assert message["v"] == 1
    assert message["type"]
    with pytest.raises(ValidationError):
        validator(fact.value).validate(message | {"type": "film"})
    del message[next(name for name in ("session_id", "worker", "origin") if name in message)]
    with pytest.raises(ValidationError):
        validator(fact.value).validate(message)


def test_every_kind_of_fact_is_among_the_examples() -> None:
    kinds = {
        kind
        for union in FACT_TYPES.values()
        for kind in (getattr(union, "__args__", None) or (union,))
    }
    assert {type(event) for _, event in EXAMPLES} == kinds
    assert {fact for fact, _ in EXAMPLES} == set(Fact)
