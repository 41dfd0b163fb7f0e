"""What another version wrote: older is read, newer is refused clearly, and neither is misread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from captured_events import SESSION
from memory_store import MemoryStore
from nats.aio.msg import Msg
from recordings import whole

from recorder_worker.bus import codec
from recorder_worker.bus.disposition import DISPOSITIONS, Verdict
from recorder_worker.bus.sessions.session_bucket import read_entry
from recorder_worker.bus.subscriptions import decode_command, decode_fact
from recorder_worker.core import keys
from recorder_worker.core.errors import NewerVersionError, UnsupportedError
from recorder_worker.core.events import Event, SessionPaused
from recorder_worker.core.model import SCHEMA_VERSION
from recorder_worker.core.records.codec import MAGIC, VERSION, decode_record
from recorder_worker.core.subjects import Fact
from recorder_worker.stages.capture.session.manifest import Manifest, read_manifest

PAUSED = SessionPaused(session_id=SESSION, t_ns=5, by="alice", wall_ns=7)


def members(kind: Any) -> tuple[type, ...]:  # noqa: ANN401  (a Struct, or a union of some)
    """The Structs of a fact."""
    return get_args(kind) or (kind,)


@pytest.mark.parametrize("fact", list(Fact))
def test_every_event_carries_its_version(fact: Fact) -> None:
    for kind in members(codec.FACT_TYPES[fact]):
        assert issubclass(kind, Event)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        assert fields["v"].default == SCHEMA_VERSION
        assert not kind.__struct_config__.omit_defaults, "a default must stand on the wire"


def changed(**fields: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(codec.encode(PAUSED)) | fields)


def test_an_event_of_this_version_is_read_and_a_field_that_is_new_in_it_is_passed_over() -> None:
    assert codec.decode(Fact.PAUSED, changed(later="more")) == PAUSED


@pytest.mark.parametrize(
    "fields",
    [{}, {"t_ns": "in words now"}, {"by": None, "t_ns": -1}, {"session_id": 5}],
    ids=["the same fields", "another type", "other values", "another id"],
)
def test_an_event_of_a_newer_version_waits_for_a_worker_that_knows_it(
    fields: dict[str, object],
) -> None:
    data = changed(v=SCHEMA_VERSION + 1, **fields)
    with pytest.raises(NewerVersionError) as found:
        codec.decode(Fact.PAUSED, data)
    assert str(found.value) == (
        f"session.paused: expected version {SCHEMA_VERSION} or older, found "
        f"{SCHEMA_VERSION + 1}; a newer recorder wrote it: update this program"
    )
    verdict = next(verdict for kind, verdict in DISPOSITIONS if isinstance(found.value, kind))
    assert verdict is Verdict.LATER, "never a dead letter"


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5])
def test_a_version_that_never_was_is_no_event(version: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        codec.decode(Fact.PAUSED, changed(v=version))


def test_a_manifest_of_a_newer_version_is_not_gone_on_with() -> None:
    store = MemoryStore()
    key = keys.blob_key(SESSION, keys.MANIFEST)
    store.put(key, msgspec.json.encode({"v": SCHEMA_VERSION + 1, "what": "is new"}))
    with pytest.raises(NewerVersionError, match=r"session\.json: expected version"):
        read_manifest(store, SESSION)
    assert msgspec.structs.fields(Manifest)[0].name == "v"


@pytest.mark.parametrize("more", [{}, {"state": "as never before"}], ids=["known", "unknown"])
def test_an_entry_of_a_newer_version_is_not_written_over(more: dict[str, str]) -> None:
    entry = {"v": SCHEMA_VERSION + 1, "session_id": SESSION} | more
    with pytest.raises(NewerVersionError, match="KV_recorder-sessions: expected version"):
        read_entry(msgspec.json.encode(entry), {})
    old = read_entry(msgspec.json.encode(entry | {"v": 1, "state": "sealed"}), {})
    assert old is not None
    assert old.session_id == SESSION


def test_every_record_carries_its_version_and_another_one_is_refused() -> None:
    for record in whole().records:
        assert record[: len(MAGIC)] == MAGIC
        assert record[len(MAGIC)] == VERSION
        decode_record(record)
        for version in (0, VERSION + 1, 255):
            other = MAGIC + bytes([version]) + record[len(MAGIC) + 1 :]
            with pytest.raises(UnsupportedError, match=f"found {version}; use a verifier"):
                decode_record(other)


def on(subject: str) -> Msg:
    """A message as a stage's consumer delivers it."""
    reply = "$JS.ACK._._.SESSIONS.chunk.1.7.3.1700000000000000000.0._"
    return Msg(_client=None, subject=subject, reply=reply, data=codec.encode(PAUSED), headers={})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decode", "subject"),
    [(decode_fact, f"session.later.{SESSION}"), (decode_command, "session.later")],
    ids=["a fact", "a command"],
)
def test_a_subject_that_a_newer_recorder_gave_to_a_consumer_waits(
    decode: Callable[[Msg], object], subject: str
) -> None:
    with pytest.raises(NewerVersionError, match="expected a subject that this program knows"):
        decode(on(subject))
    known = decode_fact(on(f"session.paused.{SESSION}"))
    assert known.event == PAUSED
