"""An audit while a recorder writes: what it does between two reads is no accusation."""

from __future__ import annotations

from collections.abc import Callable

from logged_sessions import LoggedSessions, a_chunk
from recordings import Recording

from recorder_worker.core import keys
from recorder_worker.core.log_audit.audit import LOOKS_AGAIN, audit_log
from recorder_worker.core.log_audit.report import LogReport, Problem


class Running(LoggedSessions):
    """A recorder that does something when the log's checkpoint is read for the n-th time."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, Callable[[], object]] = {}
        self.reads = 0
        self.record()

    def read(self, name: str) -> bytes:
        if name == keys.LOG_CHECKPOINT:
            self.reads += 1
            self.at.pop(self.reads, lambda: None)()
        return super().read(name)

    def running(self) -> Recording:
        """A session that is not sealed, with a chunk in its folder."""
        recording = self.begin()
        a_chunk(recording)
        self.folders[recording.session_id] = self.journal_of(recording.session_id)
        return recording

    def hide(self) -> Callable[[], object]:
        """A session that is signed, and is not in the log until what this gives is called."""
        log, entries = dict(self.log), list(self.entries)
        name = self.running().session_id
        proof = self.folders[name].pop(keys.PROOF_OPEN)
        later, more = dict(self.log), list(self.entries)
        self.log, self.entries = log, entries

        def enter() -> None:
            self.log, self.entries = later, more
            self.folders[name][keys.PROOF_OPEN] = proof

        return enter


def good(report: LogReport) -> LogReport:
    assert (report.exit_code, report.problems) == (0, ())
    return report


def test_a_session_that_is_sealed_between_folder_and_log() -> None:
    data = Running()
    session = data.running()
    data.at[1] = lambda: data.seal(session)
    report = good(data.audit())
    assert (report.opened, report.sealed, data.at) == (2, 2, {})


def test_a_session_that_opens_and_ends_between_folders_and_log() -> None:
    data = Running()
    data.at[1] = data.record
    assert good(data.audit()).sealed == 2


def test_a_session_that_is_signed_and_entered_in_the_log_a_moment_later() -> None:
    data = Running()
    waited = []
    enter = data.hide()

    def wait() -> None:
        waited.append(1)
        enter()

    assert good(audit_log(data.read, data, wait=wait)).opened == 2
    assert len(waited) == 1


def test_a_session_that_is_sealed_behind_the_log_that_was_read() -> None:
    """Its folder is read after the log, and the proof in it is under a longer log."""
    data = Running()
    opened: list[Recording] = []
    data.at[1] = lambda: opened.append(data.running())
    looked = data.recording

    def recording(name: str) -> object:
        if opened and name == opened[0].session_id:
            data.seal(opened.pop())
        return looked(name)

    data.recording = recording  # type: ignore[assignment,method-assign]
    report = good(data.audit())
    assert (report.sealed, opened) == (2, [])
    assert report.tree_size == 4


def test_a_hidden_session_stays_hidden_however_often_one_looks() -> None:
    data = Running()
    data.hide()
    waited: list[int] = []
    report = audit_log(data.read, data, wait=lambda: waited.append(1))
    assert [finding.problem for finding in report.problems] == [Problem.SESSION_NOT_LOGGED]
    assert len(waited) == 1


def test_a_hidden_session_is_found_while_the_log_grows() -> None:
    data = Running()
    name = data.running().session_id
    data.rewrite(data.entries[:-1])
    del data.folders[name][keys.PROOF_OPEN]
    waited: list[int] = []

    def grow() -> None:
        waited.append(1)
        data.record(number=len(data.recordings) + 1)

    report = audit_log(data.read, data, wait=grow)
    assert len(waited) == LOOKS_AGAIN
    found = {(finding.problem, finding.session_id) for finding in report.problems}
    assert (Problem.SESSION_NOT_LOGGED, name) in found
    assert {session for _, session in found} <= {name, ""}


def test_a_folder_that_cannot_be_read_is_looked_at_twice() -> None:
    data = Running()
    name = data.running().session_id
    leaf = data.folders[name].pop(keys.leaf(0))
    data.at[1] = lambda: data.folders[name].update({keys.leaf(0): leaf})
    good(data.audit())
    del data.folders[name][keys.leaf(0)]
    report = data.audit()
    assert [(f.problem, f.session_id) for f in report.problems] == [(Problem.SESSION_CHANGED, name)]


def test_a_log_that_is_replaced_meanwhile_is_held_against_what_it_was() -> None:
    data = Running()
    data.hide()
    report = audit_log(data.read, data, wait=lambda: data.rewrite(data.entries[:1]))
    assert Problem.LOG_ROLLED_BACK in {finding.problem for finding in report.problems}
