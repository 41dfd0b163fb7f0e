"""Every byte of a tiny recording is flipped, in every file, and verifier and reference see it."""

from __future__ import annotations

from pathlib import Path

import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_files import FilesReader, write
from recordings import Recording, whole

from recorder_worker.core import keys
from recorder_worker.core.verify import Report, Verdict, verify

GOOD = {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}


def tiny() -> Recording:
    """Every kind of file and record, in about three thousand bytes."""
    recording = Recording(checkpoint_every=7).open().chunk(1, size=(2, 2)).mark('{"x":1}').gap()
    return recording.epoch().beat().seal()


def report(files: dict[str, bytes]) -> Report:
    return verify(FilesReader(files, piece_size=4096), workers=1)


@pytest.mark.parametrize("bit", [0x01, 0x80])
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "journal"])
def test_no_flipped_byte_of_any_file_is_missed(bit: int, *, sealed: bool) -> None:
    files = tiny().sealed() if sealed else tiny().journal()
    assert report(files).verdict in GOOD
    missed = []
    for name, data in files.items():
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            found = report({**files, name: changed})
            if found.verdict is not Verdict.TAMPERED or found.exit_code == 0:
                missed.append((name, at, found.verdict))
    assert missed == []


def test_no_shortened_file_is_missed() -> None:
    files = tiny().sealed()
    for name, data in files.items():
        for end in range(len(data)):
            assert report({**files, name: data[:end]}).verdict is Verdict.TAMPERED, (name, end)


def test_the_reference_sees_what_the_verifier_sees(tmp_path: Path) -> None:
    files = tiny().sealed()
    write(tmp_path, files)
    differ = []
    for name, data in files.items():
        for at in range(0, len(data), 7):
            changed = data[:at] + bytes([data[at] ^ 0x04]) + data[at + 1 :]
            (tmp_path / name).write_bytes(changed)
            theirs = reference.check(tmp_path)["verdict"]
            ours = report({**files, name: changed}).verdict
            if theirs != ours:
                differ.append((name, at, ours, theirs))
        (tmp_path / name).write_bytes(data)
    assert differ == []


FILES = whole().sealed()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(sorted(FILES)),
    st.sampled_from(["cut", "insert", "write", "random", "repeat"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=40),
)
def test_no_bytes_whatever_stop_a_verification(
    name: str, how: str, place: int, data: bytes
) -> None:
    old = FILES[name]
    at = place % (len(old) + 1)
    new = {
        "cut": old[:at],
        "insert": old[:at] + data + old[at:],
        "write": old[:at] + data + old[at + len(data) :],
        "random": data,
        "repeat": old + old,
    }[how]
    found = report({**FILES, name: new})
    assert (found.verdict in GOOD) == (new == old)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *FILES,
                keys.leaf(0),
                keys.leaf(1),
                keys.note(1),
                keys.note(2),
                "journal/leaves/x",
                "journal/leaves/00000000001",
                "journal",
            ]
        ),
        st.one_of(st.binary(max_size=80), st.sampled_from(list(FILES.values()))),
    )
)
def test_no_folder_whatever_stops_a_verification(files: dict[str, bytes]) -> None:
    if files != FILES:
        assert report(files).exit_code != 0
