"""Attempts at messages: what is written down of them, who is tried alone, and who is given up."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from recorder_worker.adapters.attempt_files import AttemptFiles, suspects
from recorder_worker.bus.attempts.attempts import Attempts, place_of
from recorder_worker.bus.attempts.lane import Lane, Turn
from recorder_worker.core.errors import WorkerDiedError
from recorder_worker.ports import MessagePlace, Tally
from recorder_worker.ports.attempts import NOTHING
from recorder_worker.service.observing.metrics import Metrics

MAX_CRASHES = 5
STORED = dt.datetime(2026, 11, 26, 7, 0, tzinfo=dt.UTC)
PLACE = MessagePlace(consumer="capture", sequence=7, stored_ns=12)


def message(deliveries: int, sequence: int = 1, consumer: str = "capture") -> Any:  # noqa: ANN401  (as much of a message as is asked)
    metadata = SimpleNamespace(
        consumer=consumer,
        sequence=SimpleNamespace(stream=sequence),
        timestamp=STORED,
        num_delivered=deliveries,
    )
    return SimpleNamespace(metadata=metadata)


class Plant:
    """Processes one after the other on one folder; each knows only what the folder has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = Metrics(version="0", node="here")

    def process(self, lane: Lane | None = None) -> Attempts:
        return Attempts(AttemptFiles(self.folder), MAX_CRASHES, self.metrics, lane)

    async def dies(self, deliveries: int, sequence: int = 1) -> None:
        """A process that is killed in the middle of a handler: nothing runs behind that."""
        attempt = self.process().attempt(message(deliveries, sequence))
        await attempt.__aenter__()
        _KEPT_ALIVE.append(attempt)  # else its generator is closed, which is an end

    def tally(self, sequence: int = 1) -> Tally:
        return AttemptFiles(self.folder).read(place_of(message(1, sequence)))

    def files(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()] if self.folder.exists() else []


_KEPT_ALIVE: list[object] = []


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path / "attempts")


async def test_a_message_at_which_workers_die_is_not_begun_once_more(plant: Plant) -> None:
    for deliveries in range(1, MAX_CRASHES + 2):
        await plant.dies(deliveries)
    assert plant.tally() == Tally(begun=MAX_CRASHES)
    for _ in range(2):  # also where its letter could not be stored, and it comes again
        with pytest.raises(WorkerDiedError, match=f"its worker died {MAX_CRASHES} times"):
            async with plant.process().attempt(message(99)):
                pytest.fail("it was begun")


async def test_a_first_delivery_is_not_written_down_and_any_end_strikes_out(plant: Plant) -> None:
    await plant.dies(1)
    assert plant.files() == []
    for end in (None, ZeroDivisionError, asyncio.CancelledError):
        await plant.dies(2)
        assert plant.tally() == Tally(begun=1)
        with suppress(ZeroDivisionError, asyncio.CancelledError):
            async with plant.process().attempt(message(3)):
                assert plant.tally() == Tally(begun=2)
                if end is not None:
                    raise end
        assert plant.files() == [], end


async def test_a_message_that_was_given_back_here_is_not_written_down(plant: Plant) -> None:
    here = plant.process()
    for deliveries in (1, 2, 3):
        with suppress(ZeroDivisionError):
            async with here.attempt(message(deliveries)):
                assert plant.files() == []
                raise ZeroDivisionError
    async with here.attempt(message(9)):  # others had it meanwhile
        assert plant.tally() == Tally(begun=1)


async def test_one_that_is_in_our_hands_already_is_no_second_attempt(plant: Plant) -> None:
    here = plant.process()
    for deliveries in range(1, MAX_CRASHES + 1):
        await plant.dies(deliveries)
    async with here.attempt(message(6)):
        assert plant.tally() == Tally(begun=MAX_CRASHES)
        async with here.attempt(message(7)):  # we were slow, and it came again
            assert plant.tally() == Tally(begun=MAX_CRASHES)
        await here.got_on("capture", 1)
        assert plant.files() == [], "the first is still the one that is known"


async def test_a_session_that_has_got_on_is_innocent_of_every_death_behind_that(
    plant: Plant,
) -> None:
    for _ in range(3 * MAX_CRASHES):
        await plant.dies(2)
        here = plant.process()
        attempt = here.attempt(message(3))
        await attempt.__aenter__()
        await here.got_on("capture", 1)
        _KEPT_ALIVE.append(attempt)
    assert plant.files() == []


async def test_failures_are_counted_over_processes_and_forgotten_with_the_message(
    plant: Plant,
) -> None:
    assert [await plant.process().failed(message(40 + n)) for n in range(3)] == [1, 2, 3]
    await plant.dies(50)
    assert plant.tally() == Tally(begun=1, failed=3)
    with pytest.raises(ZeroDivisionError):
        async with plant.process().attempt(message(51)):
            raise ZeroDivisionError
    assert plant.tally() == Tally(failed=3)
    async with plant.process().attempt(message(52)):
        pass
    assert plant.files() == []


async def test_suspects_are_tried_one_at_a_time_and_are_not_counted_while_they_wait(
    plant: Plant,
) -> None:
    for sequence in (1, 2, 3):
        for deliveries in (2, 3):
            await plant.dies(deliveries, sequence)
    here = plant.process()
    begun: list[int] = []
    goes_on = {sequence: asyncio.Event() for sequence in (1, 2, 3)}

    async def handle(sequence: int) -> None:
        async with here.attempt(message(4, sequence)):
            begun.append(sequence)
            await goes_on[sequence].wait()

    async with asyncio.TaskGroup() as tasks:
        for sequence in (1, 2, 3):
            tasks.create_task(handle(sequence))
        for n in (1, 2, 3):
            await until(lambda n=n: len(begun) == n)  # type: ignore[misc]  # bound now
            waiting = {1, 2, 3} - set(begun)
            assert all(plant.tally(one) == Tally(begun=2) for one in waiting)
            if n == 1:
                assert plant.tally(begun[0]) == Tally(begun=3)
                await here.got_on("capture", begun[0])  # and goes on for hours
            else:
                goes_on[begun[-1]].set()
        goes_on[begun[0]].set()
    assert plant.files() == []
    sample = plant.metrics.registry.get_sample_value
    assert sample("recorder_messages_suspected_total", {"stage": "capture"}) == 3


async def test_nobody_else_begins_beside_a_suspect_but_not_for_ever() -> None:
    lane = Lane(hold_s=30.0, alone_s=30.0)
    other = await lane.enter(alone=False)
    entering = asyncio.create_task(lane.enter(alone=True))
    await asyncio.sleep(0.05)
    assert not entering.done(), "it waits for who has begun"
    other.leave()
    suspect = await entering
    late = asyncio.create_task(lane.enter(alone=False))
    await asyncio.sleep(0.05)
    assert not late.done(), "nobody begins beside it"
    suspect.leave()
    (await late).leave()
    lane = Lane(hold_s=0.2, alone_s=30.0)
    suspect = await lane.enter(alone=True)
    async with asyncio.timeout(25):
        (await lane.enter(alone=False)).leave()  # it waited long enough
    waiting = asyncio.create_task(lane.enter(alone=True))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    suspect.leave()
    suspect.leave()
    (await waiting).leave()


async def test_between_two_suspects_all_others_have_their_turn() -> None:
    lane = Lane(hold_s=30.0, alone_s=30.0)
    order: list[str] = []
    begun: dict[str, Turn] = {}

    async def enter(name: str, *, alone: bool) -> None:
        begun[name] = await lane.enter(alone=alone)
        order.append(name)

    await enter("first", alone=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(enter("second", alone=True))
        await asyncio.sleep(0)
        tasks.create_task(enter("other", alone=False))
        await asyncio.sleep(0.05)
        begun["first"].leave()
        await until(lambda: "other" in begun)
        begun["other"].leave()
    assert order == ["first", "other", "second"]


async def test_a_suspect_that_does_nothing_does_not_keep_the_next_one_waiting() -> None:
    lane = Lane(hold_s=0.05, alone_s=0.1)
    idle = await lane.enter(alone=True)
    async with asyncio.timeout(30):
        (await lane.enter(alone=True)).leave()
    idle.leave()


async def test_a_suspect_that_is_cancelled_while_it_waits_leaves_the_lane() -> None:
    lane = Lane(hold_s=30.0, alone_s=30.0)
    other = await lane.enter(alone=False)
    entering = asyncio.create_task(lane.enter(alone=True))
    await asyncio.sleep(0)
    entering.cancel()
    with suppress(asyncio.CancelledError):
        await entering
    other.leave()
    async with asyncio.timeout(30):
        (await lane.enter(alone=True)).leave()


def test_files_know_a_message_by_when_it_was_stored(tmp_path: Path) -> None:
    book = AttemptFiles(tmp_path / "attempts")
    assert book.read(PLACE) == NOTHING
    book.write(PLACE, Tally(begun=2, failed=1))
    assert AttemptFiles(tmp_path / "attempts").read(PLACE) == Tally(begun=2, failed=1)
    anew = MessagePlace(consumer="capture", sequence=7, stored_ns=13)
    assert book.read(anew) == NOTHING
    assert suspects(tmp_path / "attempts", 2) == [("capture", 7, Tally(begun=2, failed=1))]
    assert suspects(tmp_path / "attempts", 3) == []
    assert suspects(tmp_path / "none", 0) == []
    book.write(PLACE, NOTHING)
    book.write(PLACE, NOTHING)
    assert list((tmp_path / "attempts").iterdir()) == []


DAMAGED = (b"", b"garbage\n", b"longer than a line " * 9, b"00000000000000000012 000002 0", b"\xff")


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_no_line(tmp_path: Path, line: bytes) -> None:
    book = AttemptFiles(tmp_path)
    (tmp_path / "capture.7").write_bytes(line)
    assert book.read(PLACE) == NOTHING
    book.write(PLACE, Tally(begun=1))
    assert book.read(PLACE) == Tally(begun=1)


def test_a_folder_that_takes_nothing_stops_nobody_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("a file where the folder should be")
    book = AttemptFiles(tmp_path / "attempts")
    with capture_logs() as lines:
        for failed in (1, 2):
            book.write(PLACE, Tally(failed=failed))
        assert book.read(PLACE) == Tally(failed=2), "what fails is counted in memory"
        book.write(PLACE, NOTHING)
        assert book.read(PLACE) == NOTHING
    assert [line["event"] for line in lines] == ["AttemptsUncounted"]


def test_what_cannot_be_struck_out_on_the_disk_is_so_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = AttemptFiles(tmp_path)
    book.write(PLACE, Tally(begun=4))

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", read_only)
        book.write(PLACE, NOTHING)
        assert (tmp_path / "capture.7").exists()
        assert book.read(PLACE) == NOTHING
    book.write(PLACE, Tally(begun=1))
    assert AttemptFiles(tmp_path).read(PLACE) == Tally(begun=1)


def test_files_of_messages_that_no_stream_has_any_more_are_removed(tmp_path: Path) -> None:
    book = AttemptFiles(tmp_path)
    book.write(PLACE, Tally(begun=1))
    os.utime(tmp_path / "capture.7", (1, 1))
    young = MessagePlace(consumer="capture", sequence=8, stored_ns=12)
    book.write(young, Tally(begun=1))
    assert book.clear_old(3600) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["capture.8"]
    assert AttemptFiles(tmp_path / "none").clear_old(1) == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
