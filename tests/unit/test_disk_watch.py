"""The watch of the disk: what it tells of a real folder, and of one that cannot be written."""

from __future__ import annotations

import shutil
from pathlib import Path

from hand_clock import HandClock
from small_disks import small_disk
from structlog.testing import capture_logs

from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.disk import Disk
from recorder_worker.core.load.disk_ladder import DiskLadder, DiskLimits
from recorder_worker.service.observing.disk_watch import PROBE_S, DiskWatch
from recorder_worker.service.observing.metrics import Metrics

SECOND = 1_000_000_000
STATE = "recorder_disk_state"


class Watched:
    def __init__(self, root: Path, floor_bytes: int = 1) -> None:
        DirectoryStore(root)
        self.clock, self.metrics = HandClock(), Metrics(version="", node="")
        self.ladder = DiskLadder(DiskLimits(floor_bytes=floor_bytes))
        self.changes = 0
        self.watch = DiskWatch(
            Disk(root, ("nats", "log")), self.ladder, self.clock, self.metrics, self._changed
        )

    def _changed(self) -> None:
        self.changes += 1

    @property
    def state(self) -> float | None:
        return self.metrics.registry.get_sample_value(STATE)


async def test_a_disk_with_room_is_well(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "data")
    await watched.watch.look()
    check = watched.watch.check()
    assert (check.ok, check.name, watched.state, watched.changes) == (True, "disk", 0, 0)
    assert f"bytes free on {tmp_path / 'data'}" in check.detail
    assert list((tmp_path / "data" / ".tmp").iterdir()) == []


async def test_a_disk_below_the_floor_is_told_once_and_is_not_ready(tmp_path: Path) -> None:
    floor = shutil.disk_usage(tmp_path).free * 2
    watched = Watched(tmp_path / "data", floor)
    with capture_logs() as logs:
        await watched.watch.look()
        await watched.watch.look()
    assert [(one["event"], one["log_level"], one["rung"]) for one in logs] == [
        ("DiskRungChanged", "error", "stop")
    ]
    assert (watched.state, watched.changes, watched.watch.check().ok) == (4, 1, False)


async def test_the_store_of_the_server_counts_where_it_is_a_file_system_of_its_own(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path / "data", floor_bytes=8_000_000)
    await watched.watch.look()
    assert watched.ladder.rung.name == "CLEAR"
    with small_disk(tmp_path / "data" / "nats", 4_000_000) as small:
        await watched.watch.look()
        assert watched.ladder.rung.name == "STOP"
        assert f"bytes free on {small}: all sessions end" in watched.watch.check().detail
    await watched.watch.look()
    assert watched.ladder.rung.name == "CLEAR"


async def test_a_folder_that_takes_no_file_takes_no_sessions_until_it_does(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "data")
    await watched.watch.look()
    spares = tmp_path / "data" / ".tmp"
    spares.rename(tmp_path / "aside")
    with capture_logs() as logs:
        await watched.watch.look()
        assert watched.ladder.rung.name == "CLEAR", "it is not written to at every look"
        watched.clock.now_ns += round(PROBE_S * SECOND)
        await watched.watch.look()
        assert watched.ladder.rung.name == "REFUSE"
        assert "the disk takes no file: [Errno 2]" in watched.watch.check().detail
        (tmp_path / "aside").rename(spares)
        await watched.watch.look()
    assert watched.ladder.rung.name == "CLEAR"
    assert [one["log_level"] for one in logs] == ["warning", "info"]


async def test_a_folder_that_is_gone_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    await watched.watch.look()
    assert watched.ladder.rung.name == "REFUSE"
    assert "the disk cannot be looked at" in watched.watch.check().detail
