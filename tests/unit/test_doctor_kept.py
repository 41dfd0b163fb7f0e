"""What the doctor says of sessions that are deleted, and of what is known of copies."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from recordings import SESSION
from statements import HOLD, RELEASE, deletion, signed

from recorder_worker.core import keys
from recorder_worker.core.copy_marker import CopyMarker, encode_marker
from recorder_worker.core.findings import Severity
from recorder_worker.core.retention.sayings import Saying, tombstone_of
from recorder_worker.service.doctor.kept_sessions import look_at_kept
from recorder_worker.service.settings.storage import StorageSettings
from recorder_worker.service.settings.tree import Settings

OTHER = "0192f0c1-2b3c-7d4e-8f50-000000000009"
OLD_S = 3600.0
ORDER = deletion()
GONE = tombstone_of(ORDER, 9)


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def say(root: Path, *sayings: Saying) -> Path:
    folder = root / keys.session_prefix(SESSION)
    for one in signed(*sayings):
        put(folder / keys.statement(one.statement.number), one.raw)
    return folder


def marker(**fields: int) -> bytes:
    known = {"file_count": 1, "file_bytes": 1, "archived_wall_ns": 1} | fields
    return encode_marker(CopyMarker(location="s3://b/x", seal_sha256="ab" * 32, **known))


def checks(root: Path, storage: StorageSettings | None = None) -> list[str]:
    settings = Settings(data_dir=str(root), storage=storage or StorageSettings())
    return [finding.check for finding in look_at_kept(settings)]


def test_what_is_removed_held_or_was_held_is_no_finding(tmp_path: Path) -> None:
    say(tmp_path, HOLD, RELEASE, ORDER, GONE)
    assert checks(tmp_path) == []
    held = tmp_path / keys.session_prefix(OTHER)
    put(held / keys.statement(1), signed(HOLD, session_id=OTHER)[0].raw)
    put(held / keys.CHUNKS / "0000000001.zst")
    assert checks(tmp_path) == []


def test_a_deletion_that_is_not_finished_is_told_unless_it_has_just_begun(tmp_path: Path) -> None:
    folder = say(tmp_path, ORDER)
    assert checks(tmp_path) == ["session.deleting"]
    put(folder / keys.CHUNKS / "0000000001.zst")
    (finding,) = look_at_kept(Settings(data_dir=str(tmp_path)))
    assert "chunks are still here" in finding.what
    for path in (folder / keys.RETENTION).iterdir():
        path.unlink()
    say(tmp_path, deletion(begun_ns=time.time_ns()))
    assert checks(tmp_path) == []


def test_bytes_behind_a_tombstone_are_told(tmp_path: Path) -> None:
    folder = say(tmp_path, ORDER, GONE)
    put(folder / keys.CHUNKS / "0000000001.zst")
    (finding,) = look_at_kept(Settings(data_dir=str(tmp_path)))
    assert (finding.check, finding.severity) == ("session.returned", Severity.ERROR)


@pytest.mark.parametrize("number", [1, 2])
def test_statements_that_are_none_or_do_not_follow_are_told(tmp_path: Path, number: int) -> None:
    folder = say(tmp_path, HOLD, RELEASE)
    put(folder / keys.statement(number), b"garbage")
    assert checks(tmp_path) == ["session.retention"]
    put(folder / keys.statement(number), signed(HOLD)[0].raw)
    assert checks(tmp_path) == ([] if number == 1 else ["session.retention"])


def test_what_is_known_of_copies_without_a_folder_or_cannot_be_read_is_told(
    tmp_path: Path,
) -> None:
    path = put(tmp_path / keys.copies(SESSION), marker())
    assert checks(tmp_path) == ["copies.stray"]
    (tmp_path / keys.session_prefix(SESSION)).mkdir(parents=True)
    assert checks(tmp_path) == []
    path.write_bytes(marker(leaving_wall_ns=2, offloaded_wall_ns=3))
    assert checks(tmp_path) == [], "chunks that have left are where they should be"
    path.write_bytes(b"garbage")
    assert checks(tmp_path) == ["copies.unreadable"]


def test_sealed_sessions_that_are_not_copied_are_told_where_they_should_be(
    tmp_path: Path,
) -> None:
    second = StorageSettings(kind="directory", directory="/srv/second")
    seal = put(tmp_path / keys.blob_key(SESSION, keys.SEAL))
    assert checks(tmp_path, second) == [], "it was sealed just now"
    then = time.time() - OLD_S
    os.utime(seal, (then, then))
    assert checks(tmp_path) == [], "there is no second store"
    assert checks(tmp_path, second) == ["copies.behind"]
    put(tmp_path / keys.copies(SESSION), marker())
    assert checks(tmp_path, second) == []
    put(tmp_path / keys.blob_key(OTHER, keys.RECORDS))
    assert checks(tmp_path, second) == [], "it is not sealed"
