"""`recorder audit`: whoever changes, removes, inserts or reorders an audit event is found."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from running_recorder import RunningRecorder, settings_in, until
from typer.testing import CliRunner

from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.cli.main import app
from recorder_worker.core import keys
from recorder_worker.core.audit_trail.bundle import BundleText, parse_bundle
from recorder_worker.core.audit_trail.lines import EventLine, body_fields
from recorder_worker.core.audit_trail.listing import rows
from recorder_worker.core.events import CommandAccepted, CommandDenied, RecordingExported
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.log_audit.trail import without_sessions
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.session_log.stored_log import check_log, read_checkpoint
from recorder_worker.core.subjects import Fact
from recorder_worker.service.settings.tree import AuditSettings

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
EVENTS = 4
BUNDLES = 3
WALL_NS = 1_764_000_000_000_000_000


class Trail:
    """A data directory with one session, and three bundles of audit events.

    `earlier` is a copy of log and bundles without the last ones.
    """

    def __init__(self, folder: Path, session_id: str) -> None:
        self.folder = folder
        self.session_id = session_id
        self.earlier = folder / "earlier"

    def copy(self, folder: Path) -> Trail:
        for name in (keys.LOG, keys.SESSIONS, keys.AUDIT):
            shutil.copytree(self.folder / name, folder / name)
        copied = Trail(folder, self.session_id)
        copied.earlier = self.earlier
        return copied

    def report(self) -> LogReport:
        data = DataDirectory(self.folder)
        return audit_log(data.read, data, bundles=data)

    def numbers(self) -> range:
        return range(len(list((self.folder / keys.AUDIT).glob("*.jsonl"))))

    @property
    def victim(self) -> int:
        """A bundle of several events in the middle."""
        return next(n for n in self.numbers()[1:-1] if len(self.lines(n)) > EVENTS)

    def path(self, number: int) -> Path:
        """A bundle, counted from 0."""
        return sorted((self.folder / keys.AUDIT).glob("*.jsonl"))[number]

    def lines(self, number: int) -> list[bytes]:
        return self.path(number).read_bytes().splitlines(keepends=True)

    def write(self, number: int, lines: list[bytes]) -> None:
        path = self.path(number)
        path.unlink()
        path.write_bytes(b"".join(lines))

    def run(self, *arguments: str) -> tuple[int, str]:
        words = [*arguments[:2], str(self.folder), *arguments[2:]]
        ended = CliRunner().invoke(app, words)
        return ended.exit_code, ended.output


async def publish(recorder: RunningRecorder, session_id: str, number: int) -> None:
    """Somebody is let in, refused twice, and takes something away; most often for one bundle."""
    who = {"node": "node", "session_id": session_id, "role": "USER", "wall_ns": WALL_NS + number}
    command = {"command": "session.stop", "command_id": f"c{number}", "command_blake3": "0" * 64}
    waiting = []
    for fact, kind, more in (
        (Fact.AUDIT_ACCEPTED, CommandAccepted, command),
        (Fact.AUDIT_DENIED, CommandDenied, command | {"field": "by", "reason": "not the owner"}),
        (Fact.AUDIT_EXPORTED, RecordingExported, {"what": "clip"}),
        (Fact.AUDIT_DENIED, CommandDenied, command | {"field": "role", "reason": "USER"}),
    ):
        event = kind(actor=f"kim-{number}", **who, **more)  # type: ignore[arg-type]
        waiting.append(recorder.jetstream.publish(fact.value, msgspec.json.encode(event)))
    await asyncio.gather(*waiting)


async def entered(folder: Path, actor: str) -> None:
    """Wait until all events of somebody stand in the log."""
    data = DataDirectory(folder)

    def there() -> bool:
        note = read_checkpoint(data.read)
        if note is None:
            return False
        audits = [e for e in check_log(data.read, note).entries if e.kind is EntryKind.AUDIT]
        last = audits[-1].counter if audits else 0
        mine = [row for row in rows(DataDirectory(folder)) if row.actor == actor]
        return len(mine) == EVENTS and mine[-1].n <= last

    await until(there)


async def recorded(folder: Path) -> Trail:
    """Goes on until there are bundles enough that nobody's events were cut in two."""
    settings = settings_in(folder, audit=AuditSettings(digest_s=0.2))
    async with RunningRecorder(settings) as recorder:
        session_id, _ = await recorder.record(SMALL)
        trail = Trail(folder, session_id)
        await publish(recorder, session_id, 0)
        for number in range(1, 20):
            await entered(folder, f"kim-{number - 1}")
            await recorder.nothing_is_left()
            if len([n for n in trail.numbers() if len(trail.lines(n)) > EVENTS]) >= BUNDLES:
                return trail
            shutil.rmtree(trail.earlier, ignore_errors=True)
            for name in (keys.LOG, keys.AUDIT):
                shutil.copytree(folder / name, trail.earlier / name)
            await publish(recorder, session_id, number)
    raise AssertionError("no bundle holds what was published at once")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trail]:
    yield await recorded(tmp_path_factory.mktemp("whole"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def of_another(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trail]:
    yield await recorded(tmp_path_factory.mktemp("another"))


@pytest.fixture
def trail(whole: Trail, tmp_path: Path) -> Trail:
    return whole.copy(tmp_path / "data")


# --- whole ----------------------------------------------------------------------------------------


def test_a_whole_trail_is_good_and_says_what_is_not_proved(trail: Trail) -> None:
    code, said = trail.run("audit", "verify", "--json")
    report = json.loads(said)
    assert (code, report["problems"], report["warnings"]) == (0, [], [])
    counted = report["audit"]
    assert (counted["entries"], counted["gaps"], counted["aged"]) == (counted["bundles"], 0, 0)
    assert counted["events"] == counted["last"] >= EVENTS * BUNDLES
    code, said = trail.run("audit", "verify")
    assert code == 0
    assert f"{counted['events']} events in {counted['bundles']} bundles" in said
    assert "not proved: that nobody was shown another log" in said
    assert trail.run("log", "verify")[0] == 0


def test_the_log_of_sessions_shows_its_entries(trail: Trail) -> None:
    code, said = trail.run("log", "show")
    assert code == 0
    assert len(re.findall(r"^\d+ +audit +\d+ +[0-9a-f]{16}$", said, re.MULTILINE)) >= BUNDLES


def test_who_did_what_is_shown_and_can_be_asked_for(trail: Trail) -> None:
    code, said = trail.run("audit", "show")
    assert code == 0
    assert "not verified: recorder audit verify does" in said
    (line,) = [row for row in said.splitlines() if "kim-1" in row and "by: not the owner" in row]
    assert re.search(rf"command\.denied +kim-1 +USER +{trail.session_id} +session\.stop", line)

    def shown(*options: str) -> list[dict[str, object]]:
        code, said = trail.run("audit", "show", "--json", *options)
        assert code == 0
        return [json.loads(row) for row in said.splitlines()]

    mine = shown("--actor", "kim-2")
    assert [row["what"] for row in mine] == [
        "command.accepted",
        "command.denied",
        "recording.exported",
        "command.denied",
    ]
    assert mine[0]["event"]["command_id"] == "c2"  # type: ignore[index]
    assert shown("--session", "nobody") == []
    assert len(shown("--session", trail.session_id, "--actor", "kim-0")) == EVENTS
    # Ours are of November 2025; what the recorder itself did is of today.
    assert len(shown("--since", "2025-11-24", "--actor", "kim-0")) == EVENTS
    assert shown("--since", "2025-11-25T00:00:00Z", "--actor", "kim-0") == []
    code, said = trail.run("audit", "show", "--since", "yesterday")
    assert (code, "expected a date" in said) == (2, True)


def test_the_recorder_s_own_events_are_in_it(trail: Trail) -> None:
    """The command that began the session: nobody but the recorder has published that."""
    own = [row for row in rows(DataDirectory(trail.folder)) if not row.actor.startswith("kim-")]
    assert [(row.what, row.detail, row.session_id) for row in own if row.event] == [
        ("command.accepted", "session.start", trail.session_id)
    ]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for command in ("show", "verify"):
        code, said = Trail(tmp_path, "").run("audit", command)
        words = " ".join(said.replace("│", " ").split())  # it is set into a box, in lines
        assert (code, "is no data directory" in words) == (2, True)


def test_a_session_that_was_deleted_is_told_apart(trail: Trail, whole: Trail) -> None:
    assert whole.folder != trail.folder
    shutil.rmtree(trail.folder / keys.SESSIONS / trail.session_id)
    code, said = trail.run("log", "verify")
    assert (code, "SESSION_MISSING" in said) == (13, True)
    # The trail is whole; its bundles name the key, now that no session does.
    code, said = trail.run("audit", "verify")
    assert code == 0, said
    assert "findings about sessions: see recorder log verify" in said


# --- what an attacker does ------------------------------------------------------------------------


def _event_changed(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    lines[2] = lines[2].replace(b"kim-", b"bob-")
    trail.write(trail.victim, lines)


def _event_removed(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    del lines[2]
    trail.write(trail.victim, lines)


def _last_event_removed(trail: Trail) -> None:
    trail.write(trail.victim, trail.lines(trail.victim)[:-1])


def _event_inserted(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    trail.write(trail.victim, [*lines[:3], lines[2], *lines[3:]])


def _garbage_inserted(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    trail.write(trail.victim, [*lines[:3], b"{}\n", *lines[3:]])


def _events_reordered(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    lines[2], lines[3] = lines[3], lines[2]
    trail.write(trail.victim, lines)


def _made_anew(trail: Trail) -> None:
    """All links are made again, by who knows the format."""
    bundle = parse_bundle(trail.path(trail.victim).read_bytes())
    text = BundleText(bundle.head)
    for number, line in enumerate(bundle.lines):
        assert isinstance(line, EventLine)
        body = line.body.replace(b"kim-", b"bob-") if number == 1 else line.body
        text.event(
            subject=line.subject,
            sequence=line.sequence,
            stored_ns=line.stored_ns,
            message_id=line.message_id,
            **body_fields(body),
        )
    trail.write(trail.victim, [text.data])


def _head_changed(trail: Trail) -> None:
    lines = trail.lines(trail.victim)
    lines[0] = re.sub(rb'"made_ns":\d+', b'"made_ns":1', lines[0])
    trail.write(trail.victim, lines)


def _bundle_removed(trail: Trail) -> None:
    trail.path(trail.victim).unlink()


def _first_bundle_removed(trail: Trail) -> None:
    """As if it had been too old."""
    trail.path(0).unlink()


def _all_bundles_removed(trail: Trail) -> None:
    shutil.rmtree(trail.folder / keys.AUDIT)


def _bundles_swapped(trail: Trail) -> None:
    one, other = trail.path(0), trail.path(trail.victim)
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def _cut(trail: Trail) -> None:
    path = trail.path(trail.victim)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-20])


ATTACKS: dict[Callable[[Trail], None], str] = {
    _event_changed: r"event \d+ was changed: event \d+ does not follow it",
    _event_removed: r"missing: event \d+",
    _last_event_removed: r"missing: event \d+",
    _event_inserted: r"inserted: a line that says it is event \d+",
    _garbage_inserted: r"the line in the place of event \d+ was changed or inserted",
    _events_reordered: r"reordered: event \d+ stands behind event \d+",
    _made_anew: r"one of the events \d+ to \d+, or the head, was changed, and all links were made",
    _head_changed: r"the head was changed: event \d+ does not follow it",
    _bundle_removed: r"events \d+ to \d+, log entry \d+\) is not there",
    _first_bundle_removed: r"000000000001\.jsonl .*no later bundle says that it was too old",
    _all_bundles_removed: r"000000000001\.jsonl .*is not there",
    _bundles_swapped: r"it is another bundle: expected event \d+ first, found \d+",
    _cut: r"expected a line end behind its last line",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__.strip("_"))
def test_what_was_done_is_found_and_named(trail: Trail, attack: Callable[[Trail], None]) -> None:
    attack(trail)
    report = trail.report()
    said = "\n".join(finding.detail for finding in report.problems)
    assert re.search(ATTACKS[attack], said), said
    assert report.exit_code == without_sessions(report).exit_code == 13


def test_a_changed_event_is_named_by_both_commands(trail: Trail) -> None:
    _event_changed(trail)
    for command in ("audit", "log"):
        code, said = trail.run(command, "verify")
        assert (code, "AUDIT_CHANGED" in said) == (13, True)
        assert re.search(r"audit events changed +audit/\d+\.jsonl \(events \d+ to \d+, log", said)


def test_a_bundle_of_another_recorder_is_found(trail: Trail, of_another: Trail) -> None:
    theirs = of_another.path(0).read_bytes()
    trail.write(0, [theirs])
    report = trail.report()
    assert report.exit_code == 13
    said = report.problems[0].detail
    assert re.search(r"it is of another recorder: expected recorder-\w+, found recorder-\w+", said)


def test_the_whole_trail_of_another_recorder_is_found(trail: Trail, of_another: Trail) -> None:
    shutil.rmtree(trail.folder / keys.AUDIT)
    shutil.copytree(of_another.folder / keys.AUDIT, trail.folder / keys.AUDIT)
    report = trail.report()
    assert report.exit_code == 13
    assert "it is of another recorder" in report.problems[0].detail


def test_a_log_that_was_rolled_back_with_its_trail_does_not_fit_a_kept_checkpoint(
    trail: Trail, tmp_path: Path
) -> None:
    """Log and bundles as they were at an earlier moment: both fit each other, and no kept note."""
    kept = tmp_path / "kept"
    shutil.copy(trail.folder / keys.LOG / keys.LOG_CHECKPOINT, kept)
    for name in (keys.LOG, keys.AUDIT):
        shutil.rmtree(trail.folder / name)
        shutil.copytree(trail.earlier / name, trail.folder / name)
    assert trail.report().problems == ()
    code, said = trail.run("audit", "verify", "--seen", str(kept))
    assert (code, "LOG_ROLLED_BACK" in said) == (13, True)


def test_a_file_that_is_not_of_the_trail_is_told_and_proves_nothing(trail: Trail) -> None:
    strange = trail.folder / keys.AUDIT / "000000009999.jsonl"
    shutil.copy(trail.path(0), strange)
    code, said = trail.run("audit", "verify")
    assert (code, "9999.jsonl: no part of the audit trail" in said) == (0, True)
