"""Statements of retention: one encoding, one signer, one chain, and rules that both sides go by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import reference
import reference_retention
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_files import FilesReader
from recordings import RECORDER, SESSION, Recording, device_key
from reference_format import Problem
from statements import HOLD, KEY, PUBLIC, RELEASE, deletion, files_of, signed

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core import keys
from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.retention.sayings import (
    Hold,
    Saying,
    Tombstone,
    encode_saying,
    tombstone_of,
)
from recorder_worker.core.retention.standing import Standing, standing_of
from recorder_worker.core.retention.statement import (
    FIRST,
    SignedStatement,
    parse_statement,
    verify_statement,
)
from recorder_worker.core.signing.rotation import Rotation, parse_rotation, sign_rotation
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify import Step, TrustedKey, TrustPolicy, Verdict, verify


def by_the_reference(statements: list[bytes]) -> reference_retention.Standing:
    """What the second implementation makes of statements."""
    opened = {"recorder": RECORDER, "session": SESSION, "device_keys": [(1, PUBLIC)]}
    standing = reference_retention.Standing.__new__(reference_retention.Standing)
    standing.holds, standing.removal, standing.statements = {}, None, []
    for raw in statements:
        standing.add(reference_retention.read_statement(raw, opened), opened)
    return standing


def a_recording() -> Recording:
    return Recording().open().chunk(1).chunk(1).seal()


# --- one encoding ---------------------------------------------------------------------------------


def test_a_statement_has_the_bytes_of_the_format() -> None:
    (one,) = signed(HOLD)
    lines = one.raw.decode().split("\n")
    assert lines[:5] == ["session-recorder retention v1", RECORDER, SESSION, "1", "0" * 64]
    assert lines[5] == (
        '{"kind":"hold","name":"court","by":"kim","reason":"asked","command_id":"c","wall_ns":1}'
    )
    assert lines[6] == ""
    assert lines[7].startswith(f"— {RECORDER}/log ")
    assert lines[8:] == [""]
    assert verify_statement(one, [PUBLIC]) == PUBLIC


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_the_second_implementation_reads_what_is_written(name: str, by: str, reason: str) -> None:
    says = Hold(name=name, by=by, reason=reason, command_id="", wall_ns=5)
    (one,) = signed(says)
    opened = {"recorder": RECORDER, "session": SESSION}
    found = reference_retention.read_statement(one.raw, opened)
    assert found.says == msgspec.to_builtins(says)
    assert reference_retention.json_line(found.says).encode() == encode_saying(says)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 700), st.integers(0, 255))
def test_no_byte_of_a_statement_can_be_another(at: int, value: int) -> None:
    (one,) = signed(HOLD)
    data = bytearray(one.raw)
    at %= len(data)
    if data[at] == value:
        return
    data[at] = value
    with pytest.raises((FormatError, ProofError)):
        verify_statement(parse_statement(bytes(data)), [PUBLIC])
    with pytest.raises(Problem):
        by_the_reference([bytes(data)])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data.replace(b"v1\n", b"v2\n", 1), UnsupportedError),
        (lambda data: data.replace(b'"kind":', b'"kind": '), FormatError),
        (lambda data: data.replace(b'"by":"kim",', b""), FormatError),
        (lambda data: data.replace(b'"wall_ns":1', b'"wall_ns":1,"more":2'), FormatError),
        (lambda data: data.replace(b'"wall_ns":1', b'"wall_ns":1.0'), FormatError),
        (lambda data: data.replace(b"\n1\n", b"\n01\n"), FormatError),
        (lambda data: data.replace(b"\n", b"\r\n"), FormatError),
        (lambda data: data + b"\n", FormatError),
        (lambda data: data + data, FormatError),
        (lambda data: data[:-1], FormatError),
        (lambda data: data.replace("— ".encode(), b"- "), FormatError),
        (lambda data: data.replace(SESSION.encode(), SESSION.upper().encode()), FormatError),
        (lambda _: b"x" * 40_000, FormatError),
        (lambda data: b"\xff" + data, FormatError),
        (lambda _: b"", FormatError),
    ],
)
def test_a_statement_in_another_form_is_refused(change: Any, error: type[Exception]) -> None:  # noqa: ANN401  (bytes to bytes)
    (one,) = signed(HOLD)
    with pytest.raises(error):
        parse_statement(change(one.raw))


@pytest.mark.parametrize(
    "says",
    [
        msgspec.structs.replace(HOLD, reason=""),
        msgspec.structs.replace(HOLD, name="x" * 65),
        msgspec.structs.replace(HOLD, wall_ns=-1),
        deletion(tree_size=0),
        deletion(root_hash="no root"),
    ],
)
def test_what_cannot_be_read_again_is_not_signed(says: Saying) -> None:
    with pytest.raises(FormatError):
        signed(says)


# --- the rules ------------------------------------------------------------------------------------


def test_holds_of_several_names_stand_beside_each_other() -> None:
    audit = msgspec.structs.replace(HOLD, name="audit")
    standing = standing_of(signed(HOLD, audit, RELEASE))
    assert (tuple(standing.holds), standing.released) == (("audit",), frozenset({"court"}))
    again = standing_of(signed(HOLD, RELEASE, HOLD))
    assert (tuple(again.holds), again.released) == (("court",), frozenset())


@pytest.mark.parametrize(
    "sayings",
    [
        (HOLD, HOLD),
        (RELEASE,),
        (HOLD, RELEASE, RELEASE),
        (HOLD, deletion()),
        (deletion(), deletion()),
        (deletion(), HOLD),
        (tombstone_of(deletion(), 4),),
        (HOLD, tombstone_of(deletion(), 4)),
        (deletion(), tombstone_of(deletion(by="bob"), 4)),
        (deletion(), tombstone_of(deletion(), 4), tombstone_of(deletion(), 4)),
        (deletion(), tombstone_of(deletion(), 4), HOLD),
    ],
)
def test_a_statement_that_does_not_fit_those_before_it_is_refused(
    sayings: tuple[Saying, ...],
) -> None:
    statements = signed(*sayings)
    with pytest.raises(FormatError):
        standing_of(statements)
    with pytest.raises(Problem):
        by_the_reference([one.raw for one in statements])


def test_statements_in_another_order_or_with_a_hole_are_refused() -> None:
    one, two, three = signed(HOLD, RELEASE, HOLD)
    for wrong in ([two, one], [one, three], [two], [one, one]):
        with pytest.raises(FormatError):
            standing_of(wrong)
    assert standing_of([one, two, three]).digest == three.sha256.hex()
    assert Standing().digest == FIRST


# --- verify ---------------------------------------------------------------------------------------


def removed(recording: Recording, statements: list[SignedStatement]) -> dict[str, bytes]:
    files = recording.sealed()
    return {n: d for n, d in files.items() if not n.startswith("chunks/")} | files_of(statements)


def test_a_removed_recording_is_redacted_and_says_who_and_why() -> None:
    recording = a_recording()
    gone = deletion(recording)
    report = verify(FilesReader(removed(recording, signed(gone, tombstone_of(gone, 7)))))
    assert (report.verdict, report.exit_code) == (Verdict.REDACTED, 12)
    assert (report.chunk_map, report.damaged_count) == ("--", 0)
    found = report.retention.removal
    assert found is not None
    assert (found.by, found.reason, found.finished) == ("kim", "the visitor asked", True)
    assert (found.begun_ns, found.ended_ns, found.removed_count) == (3, 7, 2)
    assert not found.logged
    assert any("2 statements of retention stand in the log" in text for text in report.not_proved)
    assert any("what 2 chunks showed" in text for text in report.not_proved)


def test_without_a_statement_a_missing_chunk_is_missing() -> None:
    recording = a_recording()
    report = verify(FilesReader(removed(recording, [])))
    assert (report.verdict, report.chunk_map) == (Verdict.TAMPERED, "??")
    report = verify(FilesReader(removed(recording, signed(HOLD))))
    assert (report.verdict, report.chunk_map) == (Verdict.TAMPERED, "??")


def test_statements_of_a_later_device_key_count_with_the_rotation_that_leads_to_it() -> None:
    recording, later = a_recording(), device_key(9)
    gone = deletion(recording)
    statements = signed(gone, tombstone_of(gone, 7), key=later)
    files = removed(recording, statements)
    report = verify(FilesReader(files))
    assert report.verdict is Verdict.TAMPERED
    assert "statements of rotation" in report.steps[Step.RETENTION - 1].detail
    rotation = Rotation(
        recorder=RECORDER,
        at_s=5,
        old=(PublicKey(KeyKind.ED25519, PUBLIC),),
        new=(PublicKey(KeyKind.ED25519, later.public_key().public_bytes_raw()),),
    )
    statement = sign_rotation(rotation, lambda _kind, text: KEY.sign(text))
    policy = TrustPolicy(
        keys=(TrustedKey(name="lab", public_key=PUBLIC),),
        rotations=(parse_rotation(statement).rotation,),
    )
    assert verify(FilesReader(files), policy).verdict is Verdict.REDACTED


def test_what_came_beside_the_statements_is_a_stranger_and_a_clip_has_none() -> None:
    recording = a_recording()
    files = recording.sealed() | files_of(signed(HOLD)) | {"retention/00001": b"x"}
    report = verify(FilesReader(files))
    assert report.verdict is Verdict.COMPLETE
    assert "not part of the record: retention/00001" in report.warnings
    assert [hold.name for hold in report.retention.held] == ["court"]


def test_a_tombstone_is_the_end_of_its_own_deletion() -> None:
    gone = deletion()
    end = tombstone_of(gone, 4)
    assert isinstance(end, Tombstone)
    assert standing_of(signed(gone, end)).removal == end


@pytest.mark.parametrize("link", ["retention", "retention/0001", ""])
def test_a_statement_behind_a_link_excuses_nothing_for_either_implementation(
    tmp_path: Path, link: str
) -> None:
    """A link shows each who looks what lies where he looks; a folder in its place is none."""
    recording = a_recording()
    folder = tmp_path / "recording"
    for name, data in removed(recording, signed(deletion(recording))).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / keys.statement(2)).mkdir()
    if link:
        (folder / link).rename(tmp_path / "elsewhere")
        (folder / link).symlink_to(tmp_path / "elsewhere")
    expected = Verdict.TAMPERED if link else Verdict.REDACTED
    assert verify(FolderRecording(folder)).verdict is expected
    assert reference.check(folder)["verdict"] == expected.value
