"""`recorder log`: whoever deletes a session, hides one or changes the log is found."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from running_recorder import RunningRecorder, settings_in, until
from worker_process import run_recorder

from recorder_worker.adapters.device_key import FileSigner
from recorder_worker.cli.data_directory import DataDirectory
from recorder_worker.core.log_audit.audit import audit_log
from recorder_worker.core.log_audit.report import LogReport, Problem
from recorder_worker.core.merkle.tree import SHA256, frontier_of
from recorder_worker.core.session_log.entries import EntryKind, LogEntry, encode_entry, entry_hash
from recorder_worker.core.session_log.growth import growth
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.session_log.stored_log import check_log, log_key, read_checkpoint
from recorder_worker.core.signing.note import NoteSigner, TreeHead, parse_note, sign_checkpoint
from recorder_worker.core.signing.signing_keys import KeyKind
from recorder_worker.core.verify.report import TrustStatus

SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}
RUNNING = {"kind": "pattern", "width": 16, "height": 16}


class Recorded:
    """A data directory with three sealed sessions, and one that was left unsealed."""

    def __init__(self, folder: Path, sessions: list[str], key_path: Path) -> None:
        self.folder = folder
        self.sessions = sessions
        self.signer = FileSigner(key_path)

    def copy(self, folder: Path) -> Recorded:
        for name in ("log", "sessions"):
            shutil.copytree(self.folder / name, folder / name)
        return Recorded(folder, self.sessions, self.signer.path)

    def session(self, number: int) -> Path:
        return self.folder / "sessions" / self.sessions[number]

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.folder)

    def audit(self) -> LogReport:
        return audit_log(self.data.read, self.data)

    def entries(self) -> list[LogEntry]:
        note = read_checkpoint(self.data.read)
        assert note is not None
        return list(check_log(self.data.read, note).entries)

    def sign(self, root: bytes, size: int, signer: FileSigner | None = None) -> bytes:
        note = read_checkpoint(self.data.read)
        assert note is not None
        by = signer or self.signer
        key = log_key(note.head.origin, by.device_keys()[0].data)
        head = TreeHead(origin=note.head.origin, tree_size=size, root_hash=root)
        made = NoteSigner(key=key, sign=lambda text: by.sign_device(KeyKind.ED25519, text))
        return sign_checkpoint(head, signers=[made], signed_at_s=0)

    def rewrite(self, entries: Sequence[LogEntry]) -> None:
        """What an insider with the device key does: another log, well made and well signed."""
        raw = [encode_entry(entry) for entry in entries]
        note = self.sign(frontier_of(map(entry_hash, raw), SHA256).root(), len(raw))
        shutil.rmtree(self.folder / "log")
        nothing: dict[str, bytes] = {}
        for name, data in growth(nothing.__getitem__, 0, raw):
            path = self.folder / "log" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (self.folder / "log" / "checkpoint").write_bytes(note)


async def until_logged(recorder: RunningRecorder, size: int) -> None:
    """Wait until the log has its last entry: nobody else has to."""
    data = DataDirectory(recorder.settings.data_path)

    def logged() -> bool:
        note = read_checkpoint(data.read)
        return note is not None and note.head.tree_size == size

    await until(logged)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("whole")
    settings = settings_in(folder)
    async with RunningRecorder(settings) as recorder:
        sessions = []
        for number in (1, 2, 3):
            sessions.append((await recorder.record(SMALL))[0])
            # The next one does not wait for the log, which several workers append to: its begin
            # may be there before this seal is.
            await until_logged(recorder, 2 * number)
        started = await recorder.client.start(RUNNING, fps=20)
        await recorder.captured(started.session_id)
        await until_logged(recorder, 7)
    return Recorded(folder, [*sessions, started.session_id], settings.device_key_path)


@pytest.fixture
def recorded(whole: Recorded, tmp_path: Path) -> Recorded:
    return whole.copy(tmp_path / "data")


# --- whole ----------------------------------------------------------------------------------------


def test_a_whole_log_is_good_and_says_what_is_not_proved(recorded: Recorded) -> None:
    report = recorded.audit()
    assert report.problems == ()
    assert (report.tree_size, report.opened, report.sealed) == (7, 4, 3)
    assert report.not_sealed == (recorded.sessions[3],)
    assert report.compared >= 7
    assert report.trust.status is TrustStatus.NO_POLICY
    assert report.exit_code == 0
    assert len(report.not_proved) == 2


def test_every_session_has_its_number_and_names_the_seal_before_it(recorded: Recorded) -> None:
    entries = recorded.entries()
    opened = [entry for entry in entries if entry.kind is EntryKind.OPEN]
    assert [entry.counter for entry in opened] == [1, 2, 3, 4]
    assert [entry.session_id for entry in opened] == recorded.sessions


# --- what an attacker does ------------------------------------------------------------------------


def _delete_session(recorded: Recorded) -> None:
    shutil.rmtree(recorded.session(1))


def _delete_running(recorded: Recorded) -> None:
    shutil.rmtree(recorded.session(3))


def _empty_session(recorded: Recorded) -> None:
    shutil.rmtree(recorded.session(1))
    recorded.session(1).mkdir()


def _delete_all(recorded: Recorded) -> None:
    shutil.rmtree(recorded.folder / "sessions")


def _add_copy(recorded: Recorded) -> None:
    shutil.copytree(recorded.session(1), recorded.session(1).with_name("0" * 36))


def _swap_sessions(recorded: Recorded) -> None:
    one, two = recorded.session(0), recorded.session(1)
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def _another_seal(recorded: Recorded) -> None:
    seal = recorded.session(1) / "seal"
    data = (recorded.session(0) / "seal").read_bytes()
    seal.unlink()
    seal.write_bytes(data)


def _another_first_note(recorded: Recorded) -> None:
    path = recorded.session(1) / "checkpoints"
    lines = path.read_bytes().split(b"\n")
    line, _, encoded = lines[4].rpartition(b" ")
    value = bytearray(base64.b64decode(encoded))
    value[-1] ^= 1
    lines[4] = line + b" " + base64.b64encode(bytes(value))
    path.unlink()
    path.write_bytes(b"\n".join(lines))


def _another_first_record(recorded: Recorded) -> None:
    path = recorded.session(1) / "records"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.unlink()
    path.write_bytes(data)


def _unseal(recorded: Recorded) -> None:
    """Cut the end off a session: as if it had been killed."""
    path = recorded.session(1) / "checkpoints"
    lines = path.read_bytes().split(b"\n")
    path.unlink()
    path.write_bytes(b"\n".join(lines[:5]) + b"\n")
    (recorded.session(1) / "seal").unlink()


def _roll_back(recorded: Recorded) -> None:
    """Put back an old checkpoint of the log, with every session that it does not know deleted."""
    proof = parse_log_proof((recorded.session(0) / "proofs" / "seal").read_bytes())
    (recorded.folder / "log" / "checkpoint").write_bytes(proof.checkpoint.raw)
    for number in (1, 2):
        shutil.rmtree(recorded.session(number))


def _flip_a_tile(recorded: Recorded) -> None:
    path = recorded.folder / "log" / "tile" / "0" / "000.p" / "7"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.unlink()
    path.write_bytes(data)


def _delete_log(recorded: Recorded) -> None:
    shutil.rmtree(recorded.folder / "log")


def _sign_by_another(recorded: Recorded) -> None:
    note = parse_note((recorded.folder / "log" / "checkpoint").read_bytes())
    other = FileSigner(recorded.folder / "other" / "device.pem")
    forged = recorded.sign(note.head.root_hash, note.head.tree_size, other)
    (recorded.folder / "log" / "checkpoint").write_bytes(forged)


def _without(recorded: Recorded, number: int) -> list[LogEntry]:
    gone = recorded.sessions[number]
    return [entry for entry in recorded.entries() if entry.session_id != gone]


def _hide(recorded: Recorded) -> None:
    recorded.rewrite(_without(recorded, 1))


def _delete_and_rewrite(recorded: Recorded) -> None:
    recorded.rewrite(_without(recorded, 1))
    shutil.rmtree(recorded.session(1))


def _renumber(recorded: Recorded) -> None:
    """Delete one, and close the hole that it leaves in the log."""
    entries = _without(recorded, 1)
    recorded.rewrite(
        [
            msgspec.structs.replace(entry, counter=entry.counter - (entry.counter > 1))
            for entry in entries
        ]
    )
    shutil.rmtree(recorded.session(1))


def _repeat_a_number(recorded: Recorded) -> None:
    entries = recorded.entries()
    entries[2] = msgspec.structs.replace(entries[2], counter=1)
    recorded.rewrite(entries)


def _open_again(recorded: Recorded) -> None:
    entries = recorded.entries()
    recorded.rewrite([*entries, entries[0]])


def _seal_twice(recorded: Recorded) -> None:
    entries = recorded.entries()
    recorded.rewrite([*entries, entries[1]])


def _seal_unopened(recorded: Recorded) -> None:
    entries = recorded.entries()
    recorded.rewrite([entries[1], entries[0], *entries[2:]])


ATTACKS: list[tuple[Callable[[Recorded], None], int, set[Problem]]] = [
    (_delete_session, 13, {Problem.SESSION_MISSING}),
    (_delete_running, 13, {Problem.SESSION_MISSING}),
    (_empty_session, 13, {Problem.SESSION_CHANGED}),
    (_delete_all, 13, {Problem.SESSION_MISSING, Problem.LOG_SIGNATURE}),
    (_add_copy, 13, {Problem.SESSION_NOT_LOGGED}),
    (_swap_sessions, 13, {Problem.SESSION_CHANGED}),
    (_another_seal, 13, {Problem.SESSION_CHANGED}),
    (_another_first_note, 13, {Problem.SESSION_CHANGED}),
    (_another_first_record, 13, {Problem.SESSION_CHANGED}),
    (_unseal, 13, {Problem.SESSION_CHANGED}),
    (
        _roll_back,
        13,
        {Problem.LOG_ROLLED_BACK, Problem.SESSION_NOT_LOGGED},
    ),
    (_flip_a_tile, 13, {Problem.LOG_CHANGED}),
    (_delete_log, 13, {Problem.LOG_MISSING}),
    (_sign_by_another, 13, {Problem.LOG_SIGNATURE}),
    (
        _hide,
        14,
        {
            Problem.SESSION_NOT_LOGGED,
            Problem.COUNTER_HOLE,
            Problem.EQUIVOCATION,
            Problem.LOG_ROLLED_BACK,
            Problem.LOG_CHANGED,
        },
    ),
    (
        _delete_and_rewrite,
        14,
        {
            Problem.COUNTER_HOLE,
            Problem.EQUIVOCATION,
            Problem.LOG_ROLLED_BACK,
            Problem.LOG_CHANGED,
        },
    ),
    (
        _renumber,
        14,
        {
            Problem.SESSION_CHANGED,
            Problem.EQUIVOCATION,
            Problem.LOG_ROLLED_BACK,
            Problem.LOG_CHANGED,
        },
    ),
    (
        _repeat_a_number,
        14,
        {
            Problem.COUNTER_REPEATED,
            Problem.COUNTER_HOLE,
            Problem.ENTRY_ORDER,
            Problem.SESSION_CHANGED,
            Problem.EQUIVOCATION,
        },
    ),
    (_open_again, 13, {Problem.ENTRY_ORDER}),
    (_seal_twice, 13, {Problem.ENTRY_ORDER}),
    (_seal_unopened, 14, {Problem.ENTRY_ORDER, Problem.EQUIVOCATION}),
]


@pytest.mark.parametrize(
    ("attack", "code", "problems"), ATTACKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_an_attack_is_found(
    recorded: Recorded, attack: Callable[[Recorded], None], code: int, problems: set[Problem]
) -> None:
    attack(recorded)
    report = recorded.audit()
    assert {finding.problem for finding in report.problems} == problems, report.problems
    assert report.exit_code == code


def test_a_folder_in_which_nothing_is_signed_is_no_session_yet(recorded: Recorded) -> None:
    (recorded.folder / "sessions" / ("1" * 36)).mkdir()
    report = recorded.audit()
    assert report.exit_code == 0
    assert "nothing is signed" in report.warnings[0]


# --- the command ----------------------------------------------------------------------------------


def run(recorded: Recorded, *arguments: str) -> tuple[int, str]:
    ended = run_recorder("log", *arguments, folder=recorded.folder)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def test_the_command_finds_a_deleted_session(recorded: Recorded) -> None:
    code, text = run(recorded, "verify", ".")
    assert code == 0, text
    assert f"not sealed: session {recorded.sessions[3]}" in text
    assert "4 opened, 3 sealed" in text
    shutil.rmtree(recorded.session(1))
    code, text = run(recorded, "verify", ".")
    assert code == 13
    assert f"session {recorded.sessions[1]}: number 2 was opened and sealed" in text
    assert "SESSION_MISSING" in text
    code, text = run(recorded, "verify", ".", "--json")
    assert code == 13
    (problem,) = json.loads(text)["problems"]
    assert problem["problem"] == "session missing"
    assert problem["session_id"] == recorded.sessions[1]


def test_a_checkpoint_that_was_kept_is_compared(recorded: Recorded, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    proof = parse_log_proof((recorded.session(1) / "proofs" / "open").read_bytes())
    kept.write_bytes(proof.checkpoint.raw)
    assert run(recorded, "verify", ".", "--seen", str(kept))[0] == 0
    kept.write_bytes(recorded.sign(bytes(32), 3))
    code, text = run(recorded, "verify", ".", "--seen", str(kept))
    assert (code, "EQUIVOCATION" in text) == (14, True)
    kept.write_bytes(recorded.sign(bytes(32), 1000))
    code, text = run(recorded, "verify", ".", "--seen", str(kept))
    assert (code, "LOG_ROLLED_BACK" in text) == (13, True)
    other = FileSigner(tmp_path / "other" / "device.pem")
    kept.write_bytes(recorded.sign(proof.checkpoint.head.root_hash, 3, other))
    code, text = run(recorded, "verify", ".", "--seen", str(kept))
    assert (code, "LOG_SIGNATURE" in text) == (13, True)
    kept.write_bytes(b"no checkpoint")
    assert run(recorded, "verify", ".", "--seen", str(kept))[0] == 2
    kept.write_bytes(b"")
    assert run(recorded, "verify", ".", "--seen", str(kept))[0] == 2


def test_trust_in_the_key_is_told_apart(recorded: Recorded, tmp_path: Path) -> None:
    policy = tmp_path / "trust.yaml"
    ours = recorded.signer.device_keys()[0].data.hex()
    policy.write_text(f"keys:\n  - name: lab 7\n    public_key: '{ours}'\n")
    code, text = run(recorded, "verify", ".", "--trust", str(policy))
    assert code == 0, text
    assert "lab 7" in text
    policy.write_text(f"keys:\n  - name: lab 8\n    public_key: '{'00' * 31 + '01'}'\n")
    code, text = run(recorded, "verify", ".", "--trust", str(policy))
    assert code == 20, text
    shutil.rmtree(recorded.session(1))
    assert run(recorded, "verify", ".", "--trust", str(policy))[0] == 13


def test_what_is_no_data_directory_is_wrong_usage(recorded: Recorded, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, text = run(recorded, "verify", str(empty))
    assert code == 2
    assert "no data directory" in " ".join(text.replace("│", " ").split())


def test_the_entries_are_listed(recorded: Recorded) -> None:
    code, text = run(recorded, "show", ".")
    assert code == 0
    assert all(session_id in text for session_id in recorded.sessions)
    code, text = run(recorded, "show", ".", "--json")
    rows = json.loads(text)["entries"]
    assert [row["kind"] for row in rows] == ["open", "seal"] * 3 + ["open"]
    shutil.rmtree(recorded.folder / "log")
    assert run(recorded, "show", ".")[0] == 65


def test_the_place_of_a_session_in_the_log_is_proved(recorded: Recorded, tmp_path: Path) -> None:
    entries = recorded.entries()
    for number, arguments, index in ((1, [], 3), (1, ["--open"], 2), (3, [], 6)):
        out = tmp_path / f"{number}{''.join(arguments)}"
        session_id = recorded.sessions[number]
        code, text = run(recorded, "prove", ".", session_id, *arguments, "--out", str(out))
        assert code == 0, text
        proof = parse_log_proof(out.read_bytes())
        assert proof.index == index
        assert proof.checkpoint.head.tree_size == 7
        proof.verify(entry_hash(encode_entry(entries[index])))
        assert run(recorded, "prove", ".", session_id, *arguments)[1] == out.read_text()
    code, text = run(recorded, "prove", ".", recorded.sessions[0], "--out", str(out))
    assert (code, "expected a new file" in text) == (74, True)
    code, text = run(recorded, "prove", ".", "1" * 8 + "-1111-4111-8111-" + "1" * 12)
    assert code == 65
    assert "recorder log show" in text
