"""Whose copies of facts are whose: by the start of the session, and by nothing else."""

from __future__ import annotations

import pytest

from recorder_worker.core.events import SessionPaused, SessionRejected, SessionStarted
from recorder_worker.core.model import SourceClock, SourceFacts
from recorder_worker.core.subjects import Fact, copy_for, without_owner
from recorder_worker.ports import FactMessage, Logged
from recorder_worker.stages.owners import OwnersStage

ID = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0b"


class Starts:
    """The starts in the log; any other fact that is asked for fails the test."""

    def __init__(self, *started: SessionStarted) -> None:
        self._started = {event.session_id: event for event in started}
        self.asked = 0

    async def last(self, fact: Fact, session_id: str) -> Logged | None:
        assert fact is Fact.STARTED
        self.asked += 1
        found = self._started.get(session_id)
        return None if found is None else Logged(found, 1, "key")


class Sent:
    """What was copied to whom."""

    def __init__(self) -> None:
        self.copies: list[tuple[str, Fact]] = []

    async def publish(self, owner: str, message: FactMessage) -> None:
        self.copies.append((owner, message.fact))


def started(owner: str) -> SessionStarted:
    return SessionStarted(
        session_id=ID,
        command_id="c",
        command_digest="0" * 64,
        command_sequence=1,
        source=SourceFacts(
            kind="pattern",
            uri="pattern:desktop",
            description="",
            width=16,
            height=16,
            clock=next(iter(SourceClock)),
            frame_rate=10,
        ),
        owner=owner,
        node="n",
        wall_ns=1,
    )


def paused() -> FactMessage:
    event = SessionPaused(session_id=ID, t_ns=1, by="", wall_ns=1)
    return FactMessage(Fact.PAUSED, ID, event)


def rejected(owner: str, command: str = "session.start") -> FactMessage:
    event = SessionRejected(
        session_id=ID,
        command=command,
        command_id="c",
        field="f",
        expected="e",
        got="g",
        hint="h",
        owner=owner,
        wall_ns=1,
    )
    return FactMessage(Fact.REJECTED, ID, event)


async def test_the_owner_of_the_start_gets_what_becomes_of_the_session() -> None:
    sent, log = Sent(), Starts(started("alice"))
    stage = OwnersStage(log.last, sent)
    for message in (paused(), paused(), rejected("", "session.stop")):
        await stage.handle(message)
    assert sent.copies == [
        ("alice", Fact.PAUSED),
        ("alice", Fact.PAUSED),
        ("alice", Fact.REJECTED),
    ]
    assert log.asked == 1  # remembered


async def test_a_refused_start_is_told_to_who_sent_it_and_not_to_the_owner_of_that_id() -> None:
    sent = Sent()
    await OwnersStage(Starts(started("alice")).last, sent).handle(rejected("bob"))
    assert sent.copies == [("bob", Fact.REJECTED)]


async def test_a_refused_start_of_another_does_not_take_the_session_over() -> None:
    sent = Sent()
    stage = OwnersStage(Starts(started("alice")).last, sent)
    await stage.handle(rejected("bob"))
    await stage.handle(paused())
    assert sent.copies[-1] == ("alice", Fact.PAUSED)


@pytest.mark.parametrize("owner", ["", "Alice", "a.b", "*", ">", "a b", "a" * 33, "alice.>", "é"])
async def test_an_owner_that_is_no_name_gets_nothing(owner: str) -> None:
    sent = Sent()
    stage = OwnersStage(Starts(started(owner)).last, sent)
    await stage.handle(FactMessage(Fact.STARTED, ID, started(owner)))
    await stage.handle(paused())
    assert sent.copies == []


async def test_of_a_session_that_never_started_nothing_is_copied() -> None:
    sent = Sent()
    await OwnersStage(Starts().last, sent).handle(rejected("", "session.stop"))
    assert sent.copies == []


def test_the_subject_of_a_copy_leads_back_to_that_of_the_fact() -> None:
    assert copy_for("alice", Fact.SEALED, ID) == f"client.alice.session.sealed.{ID}"
    for fact in Fact:
        assert without_owner(copy_for("alice", fact, ID)) == f"{fact.value}.{ID}"
        assert without_owner(fact.of(ID)) == fact.of(ID)
