"""Who may publish what, written down a second time by hand: the tables must agree."""

from __future__ import annotations

import msgspec
import pytest

from recorder_worker.bus.rights import permissions, stage_rights
from recorder_worker.bus.rights.permissions import Grant, TokenLists
from recorder_worker.bus.streams.topology import STREAM_OF, StreamLimits, streams
from recorder_worker.core.pipeline import CAPTURE, CONSUMERS, GATEWAY, STAGES
from recorder_worker.core.subjects import COPIED, SETTLING, Command, Fact

TOKENS = TokenLists(revocations="revoked", jwks="keys", asked_for=True, objects="copies")
GRANTS = {grant.user: grant for grant in permissions.grants(["alice"], tokens=TOKENS)}

PUBLISHERS = {
    "session.start": {"admin", "alice"},
    "session.stop": {"admin"},
    "session.pause": {"admin"},
    "session.resume": {"admin"},
    "session.mark": {"admin"},
    "session.mask": {"admin"},
    "session.hold": {"admin"},
    "session.release": {"admin"},
    "session.delete": {"admin"},
    "session.started.*": {"capture"},
    "session.captured.*": {"capture"},
    "session.control.*": {"capture"},
    "session.numbered.*": {"capture"},
    "session.rejected.*": {"capture", "merkle"},
    "session.retention.*": {"merkle"},
    "session.chunked.*": {"chunk"},
    "session.compressed.*": {"compress"},
    "session.head.*": {"merkle"},
    "session.checkpoint.*": {"merkle"},
    "session.sealed.*": {"merkle"},
    "session.incident.*": {"merkle"},
    "session.logged.*": {"merkle"},
    "integration.anchor.requested": {"merkle"},
    "integration.anchor.receipt": {"merkle", "anchor"},
    "integration.anchor.state": {"merkle"},
    "integration.storage.stored": {"merkle"},
    "integration.storage.integrity_failed": {"compress", "merkle"},
    "integration.storage.copied": {"merkle"},
    "integration.storage.archived": {"merkle"},
    "integration.storage.offloaded": {"merkle"},
    "$O.copies.>": {"merkle"},
    "integration.node.registered.*": {"capture", "chunk", "compress", "merkle"},
    "integration.node.heartbeat.*": {"capture", "chunk", "compress", "merkle"},
    "integration.node.draining.*": {"capture", "chunk", "compress", "merkle"},
    "audit.command.accepted": {"capture", "merkle"},
    "audit.command.denied": {"capture", "merkle"},
    "audit.recording.viewed": {"merkle"},
    "audit.recording.exported": {"merkle"},
    "audit.dead.settled": {"merkle"},
    "session.dead.*.*": {"merkle"},
    "session.again.capture.*": {"merkle"},
    "session.again.compress.*": {"merkle"},
    "$KV.recorder-sessions.>": {"merkle"},
    "$KV.revoked.>": {"admin"},
    "$KV.keys.>": {"deploy"},
}
"""The subjects that decide what is recorded, signed, logged and told, and who may command."""


@pytest.mark.parametrize("subject", PUBLISHERS)
def test_the_subjects_that_decide_have_their_publishers_and_no_others(subject: str) -> None:
    may = {user for user, grant in GRANTS.items() if subject in grant.asks}
    assert may == PUBLISHERS[subject]


def plain(grant: Grant) -> set[str]:
    """What a user publishes: neither asks JetStream, nor acknowledges."""
    return {subject for subject in grant.asks if not subject.startswith("$JS.")}


def test_who_only_reads_publishes_nothing() -> None:
    assert plain(GRANTS["observer"]) == set()
    assert plain(GRANTS["deploy"]) == {"$KV.keys.>"}
    assert plain(GRANTS["anchor"]) == {"integration.anchor.receipt"}
    assert plain(GRANTS["alice"]) == {"session.start"}
    assert plain(GRANTS["admin"]) == {*Command, "$KV.revoked.>"}


def test_only_who_makes_the_streams_may_make_anything_and_nobody_may_delete() -> None:
    for grant in GRANTS.values():
        calls = {s.removeprefix("$JS.API.") for s in grant.asks if s.startswith("$JS.API.")}
        making = {call for call in calls if ".CREATE." in call or ".UPDATE." in call}
        assert bool(making) == (grant.user == "deploy")
        # The copies in a bucket of objects can be deleted as those in any other second store can.
        calls -= {"STREAM.PURGE.OBJ_copies"} if grant.user == "merkle" else set()
        for word in ("DELETE", "PURGE", "PAUSE", "RESET", "LEADER", "SNAPSHOT"):
            assert not [call for call in calls if word in call], grant.user
        if making:
            # A wildcard would let it make streams that nobody declared.
            assert not [call for call in making if "*" in call or ">" in call]


def test_every_consumer_is_the_right_of_one_user() -> None:
    for stage in CONSUMERS:
        owners = {
            user
            for user, grant in GRANTS.items()
            if any(f"MSG.NEXT.{_stream(stage.name)}.{stage.name}" in s for s in grant.asks)
        }
        assert owners == {stage.runs_with or stage.name}


def _stream(stage: str) -> str:
    return stage_rights.SHAPES[stage].stream


def test_a_row_of_the_table_runs_in_a_process_that_has_a_user() -> None:
    assert stage_rights.workers() == tuple(stage.name for stage in STAGES)
    assert {stage.runs_with for stage in CONSUMERS} - {""} <= set(stage_rights.workers())


def test_only_a_client_hears_copies_and_hears_nothing_else() -> None:
    assert GRANTS["alice"].hears == ("client.alice.>",)
    reads = {s for s in GRANTS["alice"].asks if s.startswith("$JS.")}
    assert reads == {"$JS.API.DIRECT.GET.CLIENTS.client.alice.>"}
    for user, grant in GRANTS.items():
        touched = [s for s in (*grant.asks, *grant.hears) if "client." in s]
        assert bool(touched) == (user in {"alice", "capture"}), user


def test_nobody_but_an_admin_reads_who_did_what() -> None:
    audit = {fact for fact in Fact if STREAM_OF[fact] == "AUDIT"}
    readers = {
        user
        for user, grant in GRANTS.items()
        if audit & set(grant.hears) or "$JS.API.DIRECT.GET.AUDIT.>" in grant.asks
    }
    assert readers == {"admin"}
    # The keeper of the audit trail enters it in the log: it runs with merkle.
    assert leader_reads()["AUDIT"] == {"merkle"}


def leader_reads() -> dict[str, set[str]]:
    """By stream, who reads it from its leader: JetStream limits that to no subject."""
    found: dict[str, set[str]] = {}
    for user, grant in GRANTS.items():
        for subject in grant.asks:
            if subject.startswith("$JS.API.STREAM.MSG.GET."):
                found.setdefault(subject.rpartition(".")[2], set()).add(user)
    return found


def test_only_who_checks_tokens_looks_into_their_buckets() -> None:
    assert leader_reads() == {
        "AUDIT": {"merkle"},
        "KV_revoked": {"capture", "merkle", "admin"},
        "KV_keys": {"capture", "merkle"},
    }
    touching = {
        user
        for user, grant in GRANTS.items()
        if any(
            ("KV_keys" in asked and ".STREAM.INFO." not in asked) or "KV.keys" in asked
            for asked in grant.asks
        )
    }
    assert touching == {"capture", "merkle", "deploy"}


def test_commands_with_the_tokens_of_others_are_read_by_who_takes_them_alone() -> None:
    def who(call: str) -> set[str]:
        return {user for user, grant in GRANTS.items() if any(call in ask for ask in grant.asks)}

    assert who("GET.COMMANDS") == {"capture"}
    assert who("NEXT.COMMANDS.c") == {"capture"}
    assert who("NEXT.COMMANDS") == {"capture", "merkle"}
    assert who("NEXT.COMMANDS.retention") == {"merkle"}


def test_the_gateway_is_asked_by_clients_only_where_tokens_are() -> None:
    asked = set(GATEWAY.answers)
    assert {user for user, grant in GRANTS.items() if asked & set(grant.serves)} == {"merkle"}
    callers = {user for user, grant in GRANTS.items() if asked & set(grant.calls)}
    assert callers == {"admin", "observer", "alice"}
    open_to_all = permissions.grants(["alice"])
    callers = {grant.user for grant in open_to_all if asked & set(grant.calls)}
    assert callers == {"admin", "observer"}


def test_dead_letters_are_settled_by_an_admin_and_read_by_nobody_else_but_the_desk() -> None:
    for subject in SETTLING:
        assert {u for u, grant in GRANTS.items() if subject in grant.calls} == {"admin"}
        assert {u for u, grant in GRANTS.items() if subject in grant.serves} == {"merkle"}
    readers = {u for u, grant in GRANTS.items() if "$JS.API.DIRECT.GET.DEAD" in grant.asks}
    assert readers == {"admin", "merkle"}
    for user, grant in GRANTS.items():
        again = [subject for subject in grant.asks if subject.startswith("session.again.")]
        assert bool(again) == (user == "merkle")


def test_an_admin_may_look_at_every_stream_and_consumer_and_mend_none() -> None:
    """What `recorder doctor` asks; `recorder streams apply` is for deploy."""
    asks = GRANTS["admin"].asks
    limits = StreamLimits(replicas=1, max_age_s=1, max_bytes=1, duplicate_window_s=1)
    assert {f"$JS.API.STREAM.INFO.{stream.name}" for stream in streams(limits)} <= set(asks)
    for stage, consumer in stage_rights.SHAPES.items():
        assert f"$JS.API.CONSUMER.INFO.{consumer.stream}.{stage}" in asks


def test_frames_are_taken_by_capture_and_published_by_a_client_below_its_own_name() -> None:
    takers = {user for user, grant in GRANTS.items() if "source.>" in grant.serves}
    assert takers == {"capture"}
    below = {
        user: [subject for subject in grant.calls if subject.startswith("source.")]
        for user, grant in GRANTS.items()
    }
    assert {user: subjects for user, subjects in below.items() if subjects} == {
        "admin": ["source.>"],
        "alice": ["source.alice.>"],
    }


def test_together_has_the_rights_of_all_stages_and_is_made_on_demand_only() -> None:
    assert "together" not in GRANTS
    made = {grant.user: grant for grant in permissions.grants(together=True, tokens=TOKENS)}[
        "together"
    ]
    for name in stage_rights.workers():
        assert set(GRANTS[name].asks) <= set(made.asks)
    assert plain(made) == set().union(*(plain(GRANTS[name]) for name in stage_rights.workers()))


def test_a_bucket_that_a_stage_names_is_its_right() -> None:
    before = set(stage_rights.row_asks(CAPTURE))
    reader = msgspec.structs.replace(CAPTURE, reads_buckets=("denied",))
    assert set(stage_rights.row_asks(reader)) - before == {
        "$JS.API.STREAM.INFO.KV_denied",
        "$JS.API.DIRECT.GET.KV_denied",
        "$JS.API.DIRECT.GET.KV_denied.$KV.denied.>",
    }
    writer = msgspec.structs.replace(CAPTURE, writes_buckets=("denied",))
    added = set(stage_rights.row_asks(writer)) - set(stage_rights.row_asks(reader))
    assert added == {"$KV.denied.>"}


def test_copies_tell_what_became_of_a_session_and_not_how_it_is_made() -> None:
    assert Fact.SEALED in COPIED
    assert not {Fact.CAPTURED, Fact.CHUNKED, Fact.COMPRESSED, Fact.CONTROL} & set(COPIED)
