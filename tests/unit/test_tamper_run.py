"""Every byte of every file of a small recording is changed, one at a time; so are files and names.

The recording holds a record of each type, two epochs, a mark, and the proofs of its log. It is run
over sealed, as a journal, and as a clip; the log's own files against the check of the log. No
change stops a verification, and none leaves the report as it was. What each may leave:

* other bytes in a file, or files in each other's place: the verdict is no longer a good one;
* a file less: the same, but for `proofs/…`: without one less is proved, and the report says so;
* a file more: it is named as no part of the record, or the verdict is no longer a good one.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logged_sessions import Files, LoggedSessions, a_chunk, clip_of, every_record
from recording_files import FilesReader, write
from recordings import whole

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.log_audit.report import LogReport
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.signing import note
from recorder_worker.core.signing.signing_keys import PublicKey, verify_signature
from recorder_worker.core.verify import Report, Status, Step, Verdict, signers, verify

DATA = LoggedSessions()
DATA.record(a_chunk)
RECORDING = DATA.record(every_record, every=5, beacon=False)
SEALED = DATA.folders[RECORDING.session_id]
FORMS: dict[str, Files] = {
    "sealed": SEALED,
    "journal": DATA.journal_of(RECORDING.session_id),
    "clip": clip_of(SEALED, Window(begin_ns=0, end_ns=10**8)),
}
EVERY_FILE = [
    pytest.param(form, name, id=f"{form}-{name}") for form in FORMS for name in FORMS[form]
]
LOG_FILES = [keys.LOG_CHECKPOINT, "tile/0/000.p/4", "tile/entries/000.p/4"]
CHANGED = {Verdict.TAMPERED, Verdict.UNSUPPORTED}
"""UNSUPPORTED where the bytes of a version or a kind are others, and nothing else can be told."""


@pytest.fixture(autouse=True)
def _signatures_are_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one verifies depends on nothing but its bytes, and takes most of the time."""
    monkeypatch.setattr(note, "verify_signature", _once)
    monkeypatch.setattr(signers, "verify_signature", _once)


def _once(key: PublicKey, message: bytes, signature: bytes) -> None:
    if error := _refused(key, message, signature):
        raise ProofError(error)


@functools.cache
def _refused(key: PublicKey, message: bytes, signature: bytes) -> str:
    try:
        verify_signature(key, message, signature)
    except ProofError as error:
        return str(error)
    return ""


def report(files: Files) -> Report:
    return verify(FilesReader(files, piece_size=4096), workers=1)


def outcome(files: Files) -> str:
    """The verdict; or what came out of the verifier, which nothing may."""
    try:
        found = report(files)
    except Exception as error:  # noqa: BLE001  (what is raised is what is looked for)
        return repr(error)
    assert found.exit_code not in {0, 1} or found.verdict not in CHANGED
    return str(found.verdict)


def missed(changes: Iterator[tuple[object, Files]]) -> list[tuple[object, str]]:
    """The changes after which a verification ends in anything else than a verdict of a change."""
    found = ((what, outcome(files)) for what, files in changes)
    return [(what, verdict) for what, verdict in found if verdict not in CHANGED]


def said(found: Report) -> tuple[object, ...]:
    """All that a reader of a report sees of what is proved."""
    return found.verdict, found.steps, found.warnings, found.not_proved


@functools.cache
def untouched(form: str) -> Report:
    return report(FORMS[form])


# --- the recording itself -------------------------------------------------------------------------


def test_the_untouched_recording_has_everything_and_is_good() -> None:
    types = {type(decode_record(record)).__name__ for record in RECORDING.records}
    assert {name.removesuffix("Record") for name in types} == {
        *("Open", "Chunk", "Gap", "Mark", "Epoch", "Beat", "Seal"),
    }
    assert {name.rpartition(".")[2] for name in SEALED if name.startswith("chunks/")} == {
        *("zst", "raw"),
    }
    for form, verdict in (
        ("sealed", Verdict.COMPLETE_WITH_GAPS),
        ("journal", Verdict.COMPLETE_WITH_GAPS),
        ("clip", Verdict.CLIP),
    ):
        found = untouched(form)
        assert (found.verdict, found.warnings, found.epochs) == (verdict, (), 2)
        assert found.steps[Step.LOG - 1].status is Status.OK
    assert DATA.audit().exit_code == 0


# --- bytes ----------------------------------------------------------------------------------------


def flips(data: bytes) -> Iterator[tuple[str, bytes]]:
    """One bit, another one at each place, and all bits."""
    for at, byte in enumerate(data):
        for mask in (1 << at % 8, 0xFF):
            yield f"{at} ^ {mask:#x}", data[:at] + bytes([byte ^ mask]) + data[at + 1 :]


def lengths(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut to every length, to nothing as well; longer by a byte; twice; its halves swapped."""
    for end in range(len(data)):
        yield f"cut to {end}", data[:end]
    for more in (b"\0", b"\n", data[-1:], data):
        yield f"{more[:8]!r} behind", data + more
    yield "a byte before", b"\0" + data
    half = len(data) // 2
    yield "halves swapped", data[half:] + data[:half]


@pytest.mark.parametrize("how", [flips, lengths], ids=["flipped", "cut"])
@pytest.mark.parametrize(("form", "name"), EVERY_FILE)
def test_no_changed_byte_or_length_goes_unseen(
    form: str, name: str, how: Callable[[bytes], Iterator[tuple[str, bytes]]]
) -> None:
    files = FORMS[form]
    assert missed((what, {**files, name: data}) for what, data in how(files[name])) == []


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_no_two_files_in_each_others_place_go_unseen(form: str) -> None:
    files = FORMS[form]
    pairs = [
        (one, other)
        for one, other in itertools.combinations(files, 2)
        if files[one] != files[other]
    ]
    swaps = (((a, b), {**files, a: files[b], b: files[a]}) for a, b in pairs)
    assert missed(swaps) == []
    copies = (((a, b), {**files, a: files[b]}) for a, b in [*pairs, *((b, a) for a, b in pairs)])
    assert missed(copies) == []


@pytest.mark.parametrize(("form", "name"), EVERY_FILE)
def test_no_deleted_file_goes_unseen(form: str, name: str) -> None:
    files = {other: data for other, data in FORMS[form].items() if other != name}
    found, before = report(files), untouched(form)
    if not name.startswith("proofs/"):
        assert found.verdict is Verdict.TAMPERED
        return
    # It may come late, or never: less is proved.
    assert found.verdict is before.verdict
    assert found.steps[Step.LOG - 1] != before.steps[Step.LOG - 1]
    assert set(found.not_proved) - set(before.not_proved)


def test_a_session_without_both_proofs_is_not_proved_to_be_in_the_log() -> None:
    found = report({n: d for n, d in SEALED.items() if not n.startswith("proofs/")})
    assert found.verdict is untouched("sealed").verdict
    assert found.steps[Step.LOG - 1].status is Status.NOT_REACHED


def test_a_checkpoint_between_that_is_deleted_is_one_checkpoint_less() -> None:
    """Later ones prove what it proved; how often was signed is no longer shown, and is counted."""
    data = LoggedSessions()
    recording = data.record(every_record)
    files = data.journal_of(recording.session_id)
    before = report(files)
    between = set(recording.notes) - {1, 5, 8}
    assert len(between) == 5
    for size in recording.notes:
        found = report({n: d for n, d in files.items() if n != keys.note(size)})
        if size in between:
            assert found.verdict is before.verdict
            assert found.steps[0].detail == "8 records, 7 checkpoints"
            assert found.cadence.most_records == before.cadence.most_records + 1 == 2
        else:
            assert found.verdict is Verdict.TAMPERED


SPOOL, TO_COME = "segments/000000000001-0123456789abcdef.seg", "chunks/0000000009.zst"
"""What lies in the folder of a session that is not sealed: its records are still to come."""
NAMES = [
    *dict.fromkeys(itertools.chain.from_iterable(FORMS.values())),
    *(keys.leaf(8), keys.leaf(10**10), keys.note(0), keys.note(9), "journal/leaves/0"),
    *("chunks/0000000003.zst", "chunks/0000000001.raw", "chunks/1.zst", "marks/0000000001.json"),
    *("chunks/0000000000000000001.zst", "chunks/evil.sh", "marks/x", TO_COME, SPOOL),
    *("receipts/00000000000000000003.tsr", "receipts/00000000000000000004.ots"),
    *("receipts/00000000000000000099.tsr", "receipts/4.tsr", "receipts/0000000000000000000x.ots"),
    *("proofs/more", "proofs/open/x", "records~", "RECORDS", "records ", "trust.yml", ".hidden"),
    *("journal", "journal/odd", "a/b/c/d", "caf\u00e9", "\u202egp.exe", "line\nbreak", "x" * 200),
]


@pytest.mark.parametrize("form", FORMS)
def test_no_file_more_goes_unseen(form: str) -> None:
    files, before = FORMS[form], untouched(form)
    unseen = []
    for source, name in itertools.product(files, NAMES):
        if name in files:
            continue
        found = report({**files, name: files[source]})
        if found.verdict in CHANGED or (form == "journal" and name in {TO_COME, SPOOL}):
            continue
        shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
        told = any(shown in text for text in (*found.warnings, *found.not_proved))
        both = any("both the journal and compact files" in text for text in found.warnings)
        if found.verdict is not before.verdict or not (told or both):
            unseen.append((source, name, found.verdict, found.warnings))
    assert unseen == []


def test_a_policy_in_a_clip_is_no_part_of_the_record() -> None:
    """Nothing proves who put it there, and no verifier uses it unasked."""
    clip = FORMS["clip"]
    assert said(report({**clip, keys.TRUST: b"keys: []\n"})) == said(untouched("clip"))
    named = report({**SEALED, keys.TRUST: b"keys: []\n"})
    assert f"not part of the record: {keys.TRUST}" in named.warnings


# --- any bytes, any folder ------------------------------------------------------------------------

LARGER = whole().sealed()
ONE_FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=300, deadline=None, suppress_health_check=ONE_FIXTURE)
@given(
    st.sampled_from(sorted(LARGER)),
    st.sampled_from(["cut", "insert", "write", "random", "repeat"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=40),
)
def test_no_bytes_whatever_stop_a_verification(
    name: str, how: str, place: int, data: bytes
) -> None:
    old = LARGER[name]
    at = place % (len(old) + 1)
    new = {
        "cut": old[:at],
        "insert": old[:at] + data + old[at:],
        "write": old[:at] + data + old[at + len(data) :],
        "random": data,
        "repeat": old + old,
    }[how]
    assert (outcome({**LARGER, name: new}) == Verdict.COMPLETE) == (new == old)


@settings(max_examples=200, deadline=None, suppress_health_check=ONE_FIXTURE)
@given(
    st.dictionaries(
        st.sampled_from([*LARGER, *NAMES]),
        st.one_of(st.binary(max_size=80), st.sampled_from(list(LARGER.values()))),
    )
)
def test_no_folder_whatever_stops_a_verification(files: Files) -> None:
    if not files.items() >= LARGER.items():
        assert report(files).exit_code not in {0, 1}


# --- what is no regular file ----------------------------------------------------------------------


def as_folder(path: Path, _: Path) -> None:
    path.mkdir()


def as_folder_that_holds_it(path: Path, elsewhere: Path) -> None:
    path.mkdir()
    (path / path.name).write_bytes(elsewhere.read_bytes())


def as_link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def as_link_to_nothing(path: Path, _: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def as_link_to_itself(path: Path, _: Path) -> None:
    path.symlink_to(path)


def as_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


ODD = [
    as_folder,
    as_folder_that_holds_it,
    as_link,
    as_link_to_nothing,
    as_link_to_itself,
    as_pipe,
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__.removeprefix("as_"))
@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_regular_file_is_no_file_of_the_record(
    form: str, odd: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """A link leads to the very bytes, and still counts for nothing: it is not carried along."""
    folder = write(tmp_path / "recording", FORMS[form])
    elsewhere = tmp_path / "elsewhere"
    passed = []
    for name, data in FORMS[form].items():
        path = folder / name
        path.rename(elsewhere)
        odd(path, elsewhere)
        found = verify(FolderRecording(folder), workers=1)
        if found.verdict not in CHANGED:
            passed.append((name, found.verdict, found.warnings))
        if path.is_dir() and not path.is_symlink():
            for inside in path.iterdir():
                inside.unlink()
            path.rmdir()
        else:
            path.unlink()
        path.write_bytes(data)
    assert passed == []
    assert verify(FolderRecording(folder), workers=1).verdict is untouched(form).verdict


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_inside_that_is_a_link_is_not_followed(form: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "recording", FORMS[form])
    inside = sorted({name.partition("/")[0] for name in FORMS[form] if "/" in name})
    assert inside
    for name in inside:
        (folder / name).rename(tmp_path / "elsewhere")
        (folder / name).symlink_to(tmp_path / "elsewhere")
        assert verify(FolderRecording(folder)).verdict is Verdict.TAMPERED, name
        (folder / name).unlink()
        (tmp_path / "elsewhere").rename(folder / name)


# --- the log --------------------------------------------------------------------------------------


def audited(files: Files) -> LogReport:
    kept, DATA.log = DATA.log, files
    try:
        return DATA.audit()
    finally:
        DATA.log = kept


def test_the_log_is_made_of_these_files_and_no_others() -> None:
    """What is left of smaller sizes is no part of the log at this size (c2sp.org/tlog-tiles)."""
    asked: set[str] = set()
    read = DATA.read

    class Asked(LoggedSessions):
        def read(self, name: str) -> bytes:
            asked.add(name)
            return read(name)

    data = Asked()
    data.folders, data.recordings = DATA.folders, DATA.recordings
    assert data.audit().exit_code == 0
    assert sorted(asked) == LOG_FILES
    left = {n for n in DATA.log if n not in LOG_FILES}
    assert left == {f"tile/{row}/000.p/{n}" for row in ("0", "entries") for n in (1, 2, 3)}


@pytest.mark.parametrize("how", [flips, lengths], ids=["flipped", "cut"])
@pytest.mark.parametrize("name", LOG_FILES)
def test_no_changed_byte_of_the_log_goes_unseen(
    name: str, how: Callable[[bytes], Iterator[tuple[str, bytes]]]
) -> None:
    data = DATA.log[name]
    unseen = []
    for what, changed in how(data):
        found = audited({**DATA.log, name: changed})
        if found.exit_code != 13:
            unseen.append((what, found.problems))
    assert unseen == []


def test_no_file_of_the_log_is_missed_or_stands_for_another() -> None:
    for name in LOG_FILES:
        assert audited({n: d for n, d in DATA.log.items() if n != name}).exit_code == 13
    for one, other in itertools.combinations(LOG_FILES, 2):
        swapped = {**DATA.log, one: DATA.log[other], other: DATA.log[one]}
        assert audited(swapped).exit_code == 13
    for name, older in itertools.product(LOG_FILES, DATA.log):
        if name != older:
            assert audited({**DATA.log, name: DATA.log[older]}).exit_code == 13


def test_no_byte_that_the_log_vouches_for_is_missed_in_a_session() -> None:
    """The first record, and the first and the last checkpoint: by the check of the log alone."""
    name, folder = RECORDING.session_id, SEALED
    first = 4 + len(RECORDING.records[0])
    notes = folder[keys.CHECKPOINTS]
    held = {keys.SEAL: (0, len(folder[keys.SEAL])), keys.RECORDS: (0, first)}
    held[keys.CHECKPOINTS] = (0, len(RECORDING.notes[1]))
    assert notes.startswith(RECORDING.notes[1])
    unseen = []
    try:
        for file, (begin, end) in held.items():
            for at in range(begin, end):
                data = folder[file]
                changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                DATA.folders[name] = {**folder, file: changed}
                if DATA.audit().exit_code != 13:
                    unseen.append((file, at))
    finally:
        DATA.folders[name] = folder
    assert unseen == []


# --- the second implementation --------------------------------------------------------------------


def sample(files: Files, step: int) -> Iterator[tuple[str, Files]]:
    """Some of the changes above: of bytes every `step`th, of files all."""
    for name, data in files.items():
        for at, (what, changed) in enumerate(itertools.chain(flips(data), lengths(data))):
            if at % step == 0 or (not what[0].isdigit() and not what.startswith("cut")):
                yield f"{name}: {what}", {**files, name: changed}
        yield f"{name}: deleted", {n: d for n, d in files.items() if n != name}
    for one, other in itertools.pairwise(files):
        yield f"{one} and {other}", {**files, one: files[other], other: files[one]}


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_sees_what_the_verifier_sees(form: str, tmp_path: Path) -> None:
    """Whether the recording is intact: neither finds a change where the other does not."""
    good = str(untouched(form).verdict)
    folder, held = write(tmp_path, FORMS[form]), dict(FORMS[form])
    differ = []
    for what, files in sample(FORMS[form], step=61):
        for name in held.keys() - files.keys():
            (folder / name).unlink()
        write(folder, {n: d for n, d in files.items() if held.get(n) != d})
        held = files
        theirs, ours = reference.check(folder)["verdict"], outcome(files)
        if (theirs == good) != (ours == good):
            differ.append((what, ours, theirs))
    assert differ == []
