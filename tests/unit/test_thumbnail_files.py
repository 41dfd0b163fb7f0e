"""Thumbnails in a folder that is verified: told for what they are, and never read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from recording_files import FilesReader
from recordings import whole

from recorder_worker.core import keys
from recorder_worker.core.verify.listing import is_thumbnail, thumbnail_unit
from recorder_worker.core.verify.report import Report
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify

FIRST, LATER = keys.thumbnail(0), keys.thumbnail(10**13)
FORMS = {"sealed": whole().sealed(), "journal": whole().journal()}

formed = pytest.mark.parametrize("form", FORMS)


class Unread(FilesReader):
    """Nobody may look into a thumbnail."""

    def stream(self, name: str) -> Iterator[bytes]:
        assert not name.startswith(keys.THUMBNAILS), name
        return super().stream(name)

    def read(self, name: str) -> bytes:
        assert not name.startswith(keys.THUMBNAILS), name
        return super().read(name)


def report(form: str, *names: str) -> Report:
    return verify(Unread(FORMS[form] | dict.fromkeys(names, b"anything")))


def said(found: Report) -> list[str]:
    return [text for text in found.not_proved if "thumbnail" in text]


@formed
def test_they_change_nothing_and_are_counted(form: str) -> None:
    before, found = report(form), report(form, FIRST, LATER)
    assert (found.verdict, found.root_hash) == (before.verdict, before.root_hash)
    assert found.verdict in {Verdict.COMPLETE_WITH_GAPS, Verdict.COMPLETE}
    assert found.warnings == before.warnings
    assert said(before) == []
    assert said(found) == ["what 2 thumbnails show: they are no part of the record"]


@formed
@pytest.mark.parametrize(
    "name",
    [
        "thumbnails/0.jpg",
        "thumbnails/0000000000000.jpg",
        "thumbnails/00000000000x.jpg",
        "thumbnails/000000000000.png",
        "thumbnails/000000000000.jpg.exe",
        "thumbnails/000000000000.jpg\n",
        "thumbnails/a/000000000000.jpg",
        "THUMBNAILS/000000000000.jpg",
        f"{FIRST}.enc",
    ],
)
def test_what_is_none_is_named(form: str, name: str) -> None:
    found = report(form, name)
    shown = name.encode("unicode_escape").decode()
    assert f"not part of the record: {shown}" in found.warnings


def test_a_name_is_that_of_one_unit() -> None:
    for unit in (0, 7, 10**12 - 1, 10**12, 10**13):
        for encrypted in (False, True):
            name = keys.thumbnail(unit, encrypted=encrypted)
            assert is_thumbnail(name)
            assert thumbnail_unit(name) == unit
