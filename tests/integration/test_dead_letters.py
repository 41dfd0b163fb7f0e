"""Dead letters: kept with all that matters, tried again once and where that can help, or dropped.

A real recorder on a real nats-server. A defect of a stage is put in, and taken out as an operator
would by an update. Beside each test another session runs on and seals COMPLETE: poison is nobody
else's business.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from dead_letters import Defect, ask, letter_about, letters
from nats.js.errors import NotFoundError
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from tokens import SECRET, secret_token

from recorder_worker.bus import codec
from recorder_worker.bus.dead_letters.book import DeadLetterBook
from recorder_worker.bus.streams.topology import AUDIT_STREAM
from recorder_worker.core.dead_letters import DeadLetter
from recorder_worker.core.errors import BlobDamagedError, RefusedError
from recorder_worker.core.events import (
    CommandDenied,
    DeadLetterSettled,
    SessionFailed,
    SessionStarted,
)
from recorder_worker.core.model import EndReason
from recorder_worker.core.subjects import Endpoint, Fact
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.integrations.storage import StoredSessions
from recorder_worker.service.settings.tree import AuthSettings, RetrySettings
from recorder_worker.stages import chunk, compress
from recorder_worker.stages.capture.session import lease
from recorder_worker.stages.capture.session.admission import Admission
from recorder_worker.stages.control import ControlStage

QUICK = RetrySettings(backoff_s=(0.05,), max_deliver=2)
SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
LIVE = {"kind": "pattern", "width": 32, "height": 32}


@pytest_asyncio.fixture
async def defects(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Defect]]:
    """Put in before the stages take their methods; each is off until a test turns it on."""
    yield {
        "start": Defect(monkeypatch, Admission, "check_room"),
        "manifest": Defect(monkeypatch, lease, "write_manifest"),
        "masks": Defect(monkeypatch, lease, "masks_in_force"),
        "command": Defect(monkeypatch, ControlStage, "_accept"),
        "fold": Defect(monkeypatch, chunk, "advance"),
        "compress": Defect(monkeypatch, compress, "store_payload"),
        "storage": Defect(monkeypatch, StoredSessions, "_look"),
    }


@pytest_asyncio.fixture
async def recorder(tmp_path: Path, defects: dict[str, Defect]) -> AsyncIterator[RunningRecorder]:
    assert defects, "they are put in before the stages take their methods"
    async with RunningRecorder(settings_in(tmp_path / "data", retry=QUICK)) as running:
        yield running


async def again_count(recorder: RunningRecorder, letter: DeadLetter) -> int:
    """How many messages stand on the subject on which its stage gets it once more."""
    try:
        info = await recorder.jetstream.stream_info(
            letter.stream, subjects_filter=f"session.again.{letter.stage}.{letter.letter}"
        )
    except NotFoundError:
        return 0
    return sum((info.state.subjects or {}).values())


async def settlements(recorder: RunningRecorder) -> list[DeadLetterSettled]:
    """What the audit stream has."""
    found = await recorder._stored(AUDIT_STREAM, Fact.AUDIT_SETTLED.value)
    events = [codec.decode(Fact.AUDIT_SETTLED, message.data or b"") for message in found]
    assert all(isinstance(event, DeadLetterSettled) for event in events)
    return events  # type: ignore[return-value]  # as asserted


async def test_a_stage_that_only_tells_gets_its_message_once_more_and_tells(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["storage"].there = True
    async with recorder.bystander():
        started = await recorder.client.start(SMALL)
        await recorder.sealed(started.session_id)
        seen = await letter_about(recorder, "storage", started.session_id)
        assert (seen.letter.error, seen.letter.deliveries) == ("ZeroDivisionError", 2)
        defects["storage"].there = False
        wanted = {"letter": seen.letter.letter, "by": "kim", "why": "corrected"}
        (one, first), (other, second) = await asyncio.gather(
            ask(recorder, Endpoint.RETRY, **wanted), ask(recorder, Endpoint.RETRY, **wanted)
        )
        assert (one, other) == (0, 0)
        assert sorted([first["first"], second["first"]]) == [False, True]
        assert first["settled"] == second["settled"]
        async with asyncio.timeout(DEADLINE_S):
            while not await recorder._stored("INTEGRATION", Fact.STORED.value):
                await asyncio.sleep(POLL_S)
        assert await again_count(recorder, seen.letter) == 1
        code, answer = await ask(recorder, Endpoint.RETRY, **wanted)
        assert (code, answer["first"]) == (0, False)
        assert await again_count(recorder, seen.letter) == 1
        (event,) = await settlements(recorder)
        assert (event.action, event.by, event.why) == ("retried", "kim", "corrected")
        (now,) = [s for s in await letters(recorder) if s.letter == seen.letter]
        assert now.settled == event
    # The log of a session holds no event twice.
    assert len(await recorder.facts(Fact.SEALED, started.session_id)) == 1


async def test_what_fails_again_is_a_letter_of_its_own_that_names_the_first(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["storage"].there = True
    started = await recorder.client.start(SMALL)
    first = (await letter_about(recorder, "storage", started.session_id)).letter
    assert (await ask(recorder, Endpoint.RETRY, letter=first.letter))[0] == 0
    after = first.place
    async with asyncio.timeout(DEADLINE_S):
        while True:
            second = (await letter_about(recorder, "storage", after=after)).letter
            if second.retry_of == first.letter:
                break
            after = second.place
    assert (second.subject, second.stack) == (first.subject, first.stack)
    assert (second.sequence, second.stored_ns) == (first.sequence, first.stored_ns)
    defects["storage"].there = False
    assert (await ask(recorder, Endpoint.RETRY, letter=second.letter))[0] == 0
    async with asyncio.timeout(DEADLINE_S):
        while not await recorder._stored("INTEGRATION", Fact.STORED.value):
            await asyncio.sleep(POLL_S)


async def test_a_start_that_failed_becomes_the_session_that_it_asked_for(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["start"].there = True
    body = json.dumps({"source": SMALL}).encode()
    await recorder.jetstream.publish("session.start", body)
    seen = await letter_about(recorder, "capture")
    defects["start"].there = False
    for _ in range(2):
        assert (await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter))[0] == 0
    async with asyncio.timeout(DEADLINE_S):
        while not (known := await recorder.client.sessions()):
            await asyncio.sleep(POLL_S)
    (session_id,) = known
    sealed = await recorder.sealed(session_id)
    assert (sealed.frame_count, recorder.report(session_id).verdict) == (3, Verdict.COMPLETE)
    (event,) = await recorder.facts(Fact.STARTED, session_id)
    assert isinstance(event, SessionStarted)
    assert event.command_id == seen.letter.command_id
    assert event.command_sequence == seen.letter.sequence
    assert len(await recorder.facts(Fact.SEALED, session_id)) == 1


async def test_a_start_that_failed_behind_the_fact_of_its_start_goes_on_where_it_stopped(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    """To any other message that session would be one that another start has begun."""
    defects["manifest"].there = True
    started = await recorder.client.start(SMALL)
    session_id = started.session_id
    seen = await letter_about(recorder, "capture", session_id)
    assert await recorder.facts(Fact.CAPTURED, session_id) == []
    defects["manifest"].there = False
    assert (await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter))[0] == 0
    sealed = await recorder.sealed(session_id)
    assert (sealed.frame_count, recorder.report(session_id).verdict) == (3, Verdict.COMPLETE)
    assert len(await recorder.facts(Fact.STARTED, session_id)) == 1


async def test_a_start_that_failed_before_it_began_is_told_to_its_client_and_may_be_tried(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["start"].there = True
    session_id = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0c"
    with pytest.raises(RefusedError, match="a defect") as refused:
        await recorder.client.start(SMALL, session_id=session_id)
    assert "recorder dead retry" in refused.value.refusal.hint
    defects["start"].there = False
    seen = await letter_about(recorder, "capture", session_id)
    assert (await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter))[0] == 0
    await recorder.sealed(session_id)
    assert recorder.report(session_id).verdict is Verdict.COMPLETE


async def test_a_start_that_failed_before_anything_was_captured_is_told_to_have_failed(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["manifest"].there = True
    session_id = (await recorder.client.start(SMALL)).session_id
    seen = await letter_about(recorder, "capture", session_id)
    failed = await recorder.client.last(Fact.FAILED, session_id)
    assert isinstance(failed, SessionFailed)
    assert failed.detail.startswith("nothing was recorded: ZeroDivisionError: a defect")
    assert "recorder dead retry" in failed.detail
    defects["manifest"].there = False
    assert (await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter))[0] == 0
    sealed = await recorder.sealed(session_id)
    assert sealed.reason is EndReason.SOURCE_ENDED


async def test_a_start_that_failed_behind_the_begin_of_its_session_leaves_it_sealed(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    """Nobody would end it: its letter is all that is left of its lease."""
    async with recorder.bystander():
        defects["masks"].fails = lambda arguments: arguments[1] == session_id
        session_id = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0d"
        defects["masks"].there = True
        await recorder.client.start(SMALL, session_id=session_id)
        sealed = await recorder.sealed(session_id)
        assert (sealed.reason, sealed.frame_count) == (EndReason.WORKER_LOST, 0)
        assert recorder.report(session_id).verdict is Verdict.COMPLETE
        failed = await recorder.client.last(Fact.FAILED, session_id)
        assert isinstance(failed, SessionFailed)
        assert failed.detail == "ZeroDivisionError: a defect"
        seen = await letter_about(recorder, "capture", session_id)
        defects["masks"].there = False
        code, error = await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter)
        assert (code, "worker_lost" in error["got"]) == (409, True)
        assert len(await recorder.facts(Fact.SEALED, session_id)) == 1


async def test_a_command_that_failed_is_obeyed_behind_those_that_came_meanwhile(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    started = await recorder.client.start(LIVE, fps=10)
    session_id = started.session_id
    defects["command"].there = True
    await recorder.client.mark(session_id, "the first")
    seen = await letter_about(recorder, "control", session_id)
    defects["command"].there = False
    await recorder.client.mark(session_id, "the second")
    async with asyncio.timeout(DEADLINE_S):
        while not await recorder.facts(Fact.CONTROL, session_id):
            await asyncio.sleep(POLL_S)
    assert (await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter))[0] == 0
    async with asyncio.timeout(DEADLINE_S):
        while len(found := await recorder.facts(Fact.CONTROL, session_id)) < 2:
            await asyncio.sleep(POLL_S)
    assert ["second" in found[0].body, "first" in found[1].body] == [True, True]  # type: ignore[attr-defined]  # Control
    await recorder.client.stop(session_id)
    sealed = await recorder.sealed(session_id)
    assert sealed.mark_count == 2
    assert recorder.report(session_id).verdict is Verdict.COMPLETE
    code, error = await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter)
    assert (code, error["first"]) == (0, False)


async def test_a_command_that_fails_holds_up_those_of_other_sessions_for_no_back_off(
    tmp_path: Path, defects: dict[str, Defect]
) -> None:
    for_ever = RetrySettings(backoff_s=(100_000.0,), max_deliver=5)
    async with RunningRecorder(settings_in(tmp_path / "data", retry=for_ever)) as recorder:
        poisoned = (await recorder.client.start(LIVE, fps=10)).session_id
        other = (await recorder.client.start(LIVE, fps=10)).session_id
        defects["command"].fails = lambda arguments: arguments[1].session_id == poisoned
        defects["command"].there = True
        await recorder.client.mark(poisoned, "poison")
        await recorder.client.stop(other)
        await recorder.sealed(other)
        seen = await letter_about(recorder, "control", poisoned)
        assert seen.letter.deliveries == 5
        defects["command"].there = False
        await recorder.client.stop(poisoned)
        await recorder.sealed(poisoned)


async def test_a_session_whose_events_could_not_be_folded_is_sealed_behind_one_retry(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    async with recorder.bystander() as bystander:
        stuck: list[str] = []
        defects["fold"].fails = lambda arguments: arguments[1].session_id in stuck
        started = await recorder.client.start(LIVE, fps=10)
        stuck.append(started.session_id)
        defects["fold"].there = True
        await recorder.captured(started.session_id)
        await recorder.client.stop(started.session_id)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = [s.letter for s in await letters(recorder) if s.letter.stage == "chunk"]
                bodies = [await _body(recorder, letter) for letter in found]
                if any(b'"ended"' in body for body in bodies):
                    break
                await asyncio.sleep(POLL_S)
        assert bystander not in {letter.session_id for letter in found}
        assert len({letter.stack for letter in found}) == 1
        defects["fold"].there = False
        last = found[-1]
        assert (await ask(recorder, Endpoint.RETRY, letter=last.letter))[0] == 0
        await recorder.sealed(started.session_id)
        assert recorder.report(started.session_id).verdict is Verdict.COMPLETE
        # All others came along with it: to try them again would change nothing, and is refused.
        code, error = await ask(recorder, Endpoint.RETRY, letter=found[0].letter)
        assert (code, error["field"]) == (409, "letter")
        assert "sealed" in error["got"]


async def _body(recorder: RunningRecorder, letter: DeadLetter) -> bytes:
    return await DeadLetterBook(lambda: recorder.jetstream).body(letter)


async def test_a_gap_in_the_record_is_not_tried_away_and_its_letter_can_be_dropped(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["compress"].error = lambda: BlobDamagedError("not what its event says")
    defects["compress"].fails = lambda arguments: arguments[1].index == 1
    defects["compress"].there = True
    session_id, report = await recorder.record(SMALL)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    defects["compress"].there = False
    seen = await letter_about(recorder, "compress", session_id)
    letter = seen.letter.letter
    code, error = await ask(recorder, Endpoint.RETRY, letter=letter)
    assert (code, "gap of reason dead_letter" in error["got"]) == (409, True)
    assert await again_count(recorder, seen.letter) == 0
    code, _ = await ask(recorder, Endpoint.DROP, letter=letter)
    assert code == 400, "a reason is asked for"
    code, answer = await ask(recorder, Endpoint.DROP, letter=letter, by="kim", why="looked into")
    assert (code, answer["first"]) == (0, True)
    code, answer = await ask(recorder, Endpoint.DROP, letter=letter, by="lee", why="again")
    assert (code, answer["first"], answer["settled"]["by"]) == (0, False, "kim")
    code, error = await ask(recorder, Endpoint.RETRY, letter=letter)
    assert (code, "dropped by kim" in error["got"]) == (409, True)
    assert await _body(recorder, seen.letter), "the letter itself stays"
    assert recorder.report(session_id).verdict is Verdict.COMPLETE_WITH_GAPS


async def test_a_start_whose_session_is_sealed_is_refused(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["start"].there = True
    session_id = "0190a2b4-7c1e-7d2f-8a3b-5c6d7e8f9a0b"
    start = json.dumps({"source": SMALL, "session_id": session_id}).encode()
    await recorder.jetstream.publish("session.start", start)
    seen = await letter_about(recorder, "capture", session_id)
    defects["start"].there = False
    await recorder.client.start(SMALL, session_id=session_id)
    await recorder.sealed(session_id)
    code, error = await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter)
    assert (code, "source_ended" in error["got"]) == (409, True)
    assert seen.letter.letter not in {event.letter for event in await settlements(recorder)}, (
        "what is refused is not settled"
    )


async def test_garbage_is_not_tried_again_and_an_unknown_letter_is_not_found(
    recorder: RunningRecorder,
) -> None:
    garbage = f"session.captured.{'0' * 8}-0000-4000-8000-000000000000"
    await recorder.jetstream.publish(garbage, b"\xff\x00")
    seen = await letter_about(recorder, "chunk")
    code, error = await ask(recorder, Endpoint.RETRY, letter=seen.letter.letter)
    assert (code, error["hint"].endswith("drop the letter")) == (409, True)
    code, _ = await ask(recorder, Endpoint.RETRY, letter="0" * 16)
    assert code == 404
    code, _ = await ask(recorder, Endpoint.RETRY, letter="not an id")
    assert code == 400


async def test_a_desk_that_died_between_its_steps_is_made_good_by_asking_again(
    recorder: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["storage"].there = True
    started = await recorder.client.start(SMALL)
    seen = await letter_about(recorder, "storage", started.session_id)
    defects["storage"].there = False
    letter = seen.letter
    settled = DeadLetterSettled(
        actor="",
        role="",
        session_id=letter.session_id,
        node="one that died",
        wall_ns=time.time_ns(),
        letter=letter.letter,
        stage=letter.stage,
        action="retried",
    )
    await DeadLetterBook(lambda: recorder.jetstream).settle(letter, settled)
    assert await again_count(recorder, letter) == 0
    code, answer = await ask(recorder, Endpoint.RETRY, letter=letter.letter)
    assert (code, answer["first"], answer["settled"]["node"]) == (0, False, "one that died")
    assert await again_count(recorder, letter) == 1
    assert [event.node for event in await settlements(recorder)] == ["one that died"]


async def test_letters_that_nobody_has_dealt_with_are_counted_and_do_not_count_for_readiness(
    recorder: RunningRecorder,
) -> None:
    garbage = f"session.captured.{'0' * 8}-0000-4000-8000-000000000001"
    await recorder.jetstream.publish(garbage, b"no event")
    seen = await letter_about(recorder, "chunk")
    await _until_health(recorder, 1)
    gauge = 'recorder_dead_letters_waiting{stage="chunk"}'
    assert f"{gauge} 1.0" in await _get(recorder, "/metrics")
    page = await _get(recorder, "/status")
    assert "1 wait" in page
    assert json.loads(await _get(recorder, "/readyz"))["ok"]
    status = json.loads(await _get(recorder, "/status.json"))
    rows = {row["stage"]: row["dead_waiting"] for row in status["stages"]}
    assert (rows["chunk"], rows["merkle"]) == (1, 0)
    await ask(recorder, Endpoint.DROP, letter=seen.letter.letter, why="garbage")
    await _until_health(recorder, 0)
    assert f"{gauge} 0.0" in await _get(recorder, "/metrics")


async def _until_health(recorder: RunningRecorder, waiting: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await _get(recorder, "/status.json")  # whoever looks has it looked up at once
            if json.loads(await _get(recorder, "/health"))["dead_letters_waiting"] == waiting:
                return
            await asyncio.sleep(POLL_S)


async def _get(recorder: RunningRecorder, path: str) -> str:
    def get() -> str:
        url = f"http://127.0.0.1:{recorder.sidecar_port}{path}"
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


@pytest_asyncio.fixture
async def guarded(tmp_path: Path, defects: dict[str, Defect]) -> AsyncIterator[RunningRecorder]:
    assert defects, "as above"
    auth = AuthSettings(mode="jwt", hs256_secret=SECRET)
    settings = settings_in(tmp_path / "guarded", retry=QUICK, auth=auth)
    async with RunningRecorder(settings) as running:
        yield running


async def test_with_tokens_an_admin_settles_letters_and_his_token_starts_what_had_failed(
    guarded: RunningRecorder, defects: dict[str, Defect]
) -> None:
    defects["start"].there = True
    first = {"Authorization": f"Bearer {secret_token('kim')}"}
    body = json.dumps({"source": SMALL, "owner": "kim"}).encode()
    await guarded.jetstream.publish("session.start", body, headers=first)
    seen = await letter_about(guarded, "capture")
    defects["start"].there = False
    letter = seen.letter.letter
    assert "Bearer" not in str(seen.letter)
    for token in (None, secret_token("kim"), secret_token("op", "NODE_OPERATOR")):
        code, error = await ask(guarded, Endpoint.RETRY, token, letter=letter)
        assert (code, error["field"]) == (403, "authorization")
        code, _ = await ask(guarded, Endpoint.DROP, token, letter=letter, why="mine")
        assert code == 403
    boss = secret_token("boss", "ADMIN")
    code, _ = await ask(guarded, Endpoint.RETRY, boss, letter=letter, by="kim")
    assert code == 403, "nobody settles in the name of another"
    code, answer = await ask(guarded, Endpoint.RETRY, boss, letter=letter, why="corrected")
    assert (code, answer["settled"]["actor"], answer["settled"]["role"]) == (0, "boss", "ADMIN")
    async with asyncio.timeout(DEADLINE_S):
        while not (known := await guarded.client.sessions()):
            await asyncio.sleep(POLL_S)
    await guarded.sealed(known[0])
    (event,) = await guarded.facts(Fact.STARTED, known[0])
    assert isinstance(event, SessionStarted)
    assert (event.owner, event.identity.actor) == ("kim", "boss")
    (settled,) = await settlements(guarded)
    assert (settled.actor, settled.action) == ("boss", "retried")
    denied = [
        codec.decode(Fact.AUDIT_DENIED, message.data or b"")
        for message in await guarded._stored(AUDIT_STREAM, Fact.AUDIT_DENIED.value)
    ]
    said = {(e.actor, e.command) for e in denied if isinstance(e, CommandDenied)}
    assert {("kim", "retry"), ("op", "retry"), ("kim", "drop")} <= said
