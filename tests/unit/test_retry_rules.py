"""Which dead letters may be tried again: what the record holds is never changed by a second try."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from recordings import SESSION, Recording

from recorder_worker.core.dead_letters import DeadLetter
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.events import (
    AnchorRequested,
    Checkpoint,
    CompressedEvent,
    Event,
    SessionIncident,
    Totals,
)
from recorder_worker.core.subjects import Fact
from recorder_worker.integrations.dead_letters.retry_rules import RetryRules
from recorder_worker.ports import Logged


class Told:
    """As much of an event log as the rules ask for."""

    def __init__(self) -> None:
        self.events: dict[Fact, list[Event]] = {}

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        found = [logged async for logged in self.read(fact, session_id)]
        return found[-1] if found else None

    async def read(self, fact: Fact, session_id: str, after: int = 0) -> AsyncIterator[Logged]:
        for sequence, event in enumerate(self.events.get(fact, []), 1):
            if sequence > after and getattr(event, "session_id", "") == session_id:
                yield Logged(event, sequence, "")


def leaves() -> list[CompressedEvent]:
    return Recording().open().beat().mark().chunk().events


def letter(stage: str, fact: Fact, **fields: object) -> DeadLetter:
    made = DeadLetter(
        letter="0" * 16,
        place=1,
        died_ns=1,
        stage=stage,
        subject=fact.of(SESSION),
        stream="SESSIONS",
        sequence=1,
        stored_ns=1,
        deliveries=8,
        reason="ZeroDivisionError: a defect",
        error="ZeroDivisionError",
        session_id=SESSION,
    )
    return msgspec.structs.replace(made, **fields)


def signed(size: int) -> Checkpoint:
    return Checkpoint(
        session_id=SESSION,
        tree_size=size,
        root_hash="0" * 64,
        note="a note",
        totals=Totals(),
        sealed=False,
    )


def incident(stage: str) -> SessionIncident:
    return SessionIncident(
        session_id=SESSION, stage=stage, detail="the store was changed", wall_ns=1
    )


async def refusal(log: Told, dead: DeadLetter, body: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        await RetryRules(log).check(dead, body)  # type: ignore[arg-type]  # as much of a log as is asked
    return str(caught.value)


async def allowed(log: Told, dead: DeadLetter, body: bytes) -> None:
    await RetryRules(log).check(dead, body)  # type: ignore[arg-type]  # as above


async def test_a_leaf_that_is_not_signed_may_be_tried_and_one_that_is_may_not() -> None:
    log, leaf = Told(), leaves()[1]
    body = msgspec.json.encode(leaf)
    dead = letter("merkle", Fact.COMPRESSED)
    log.events[Fact.CHECKPOINT] = [signed(1)]
    await allowed(log, dead, body)
    log.events[Fact.CHECKPOINT] = [signed(1), signed(2)]
    assert "leaf 1 of a tree of 2" in await refusal(log, dead, body)


async def test_an_incident_of_signing_is_not_tried_away_and_one_of_the_log_stops_nothing() -> None:
    log = Told()
    body = msgspec.json.encode(leaves()[1])
    log.events[Fact.INCIDENT] = [incident("log")]
    await allowed(log, letter("merkle", Fact.COMPRESSED), body)
    log.events[Fact.INCIDENT] += [incident("merkle")]
    said = await refusal(log, letter("merkle", Fact.COMPRESSED), body)
    assert "the store was changed" in said


async def test_a_chunk_is_never_stored_behind_its_gap_and_another_leaf_passes_once() -> None:
    log = Told()
    beat = leaves()[1]
    dead = letter("compress", Fact.CHUNKED)
    await allowed(log, dead, msgspec.json.encode(beat))
    log.events[Fact.COMPRESSED] = [beat]
    assert "leaf 1, which has" in await refusal(log, dead, msgspec.json.encode(beat))


async def test_a_request_that_contradicts_what_was_anchored_is_not_tried_away() -> None:
    log = Told()
    request = AnchorRequested(
        origin="o",
        tree_size=2,
        root_hash="0" * 64,
        note="n",
        previous_size=1,
        previous_root_hash="1" * 64,
        session_id=SESSION,
    )
    body = msgspec.json.encode(request)
    await allowed(log, letter("tsa", Fact.ANCHOR_REQUESTED, error="AuthorityAnswerError"), body)
    two_roots = letter("tsa", Fact.ANCHOR_REQUESTED, error="IncidentError", reason="two roots")
    assert "two roots" in await refusal(log, two_roots, body)


@pytest.mark.parametrize("stage", ["owners", "storage", "table", "log"])
async def test_what_only_tells_copies_or_enters_may_be_tried_whatever_became_of_the_session(
    stage: str,
) -> None:
    log = Told()
    log.events[Fact.INCIDENT] = [incident("merkle")]
    await allowed(log, letter(stage, Fact.CHECKPOINT), msgspec.json.encode(signed(1)))


async def test_what_was_not_kept_and_what_is_no_event_are_refused_of_any_stage() -> None:
    log = Told()
    body = msgspec.json.encode(signed(1))
    assert "too large" in await refusal(log, letter("log", Fact.CHECKPOINT, kept=False), body)
    assert "none to this version" in await refusal(log, letter("log", Fact.CHECKPOINT), b"{}")
    foreign = letter("log", Fact.CHECKPOINT, subject="session.dance.x")
    assert "subject of no fact" in await refusal(log, foreign, b"{}")
    receipt = letter("receipts", Fact.ANCHOR_RECEIPT, subject=Fact.ANCHOR_RECEIPT.value)
    assert "an event of integration.anchor.receipt, got" in await refusal(log, receipt, b"{}")


@pytest.mark.parametrize("command", ["session.hold", "session.release", "session.delete"])
async def test_nobody_holds_or_deletes_in_the_name_of_who_tries_a_letter_again(
    command: str,
) -> None:
    """Anybody may send such a command; whoever tries a hundred letters again reads none of them."""
    found = msgspec.structs.replace(letter("retention", Fact.SEALED), subject=command)
    with pytest.raises(RefusedError, match="send it yourself"):
        await RetryRules(Told()).check(found, b"{}")  # type: ignore[arg-type]  # what they ask for
