"""What a film shows of a recording: every picture of the part, and a card for what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from recording_files import FilesReader
from recordings import FRAME_NS, Recording

from recorder_worker.core.errors import BlobDamagedError, BlobMissingError
from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import GapReason
from recorder_worker.core.screening.extent import extent_of
from recorder_worker.core.screening.scenes import Card, CardKind, Scene, Shot, scenes
from recorder_worker.core.screening.survey import Survey, survey


def shown(
    recording: Recording,
    window: tuple[int, int] | None = None,
    files: dict[str, bytes] | None = None,
    *,
    damaged_too: bool = False,
) -> list[Scene]:
    """The scenes; each shot with a copy of its picture."""
    asked = None if window is None else Window(begin_ns=window[0], end_ns=window[1])
    extent = extent_of(lambda: recording.records, asked)
    reader = FilesReader(files or recording.sealed())
    return [copied(scene) for scene in scenes(reader, extent, damaged_too=damaged_too)]


def copied(scene: Scene) -> Scene:
    if isinstance(scene, Card):
        return scene
    frame = replace(scene.frame, picture=scene.frame.picture.copy())
    return replace(scene, frame=frame)


def pictures(found: list[Scene]) -> list[Picture]:
    return [scene.frame.picture for scene in found if isinstance(scene, Shot)]


def shots(found: list[Scene]) -> list[tuple[int, int]]:
    """Session time and unit of each shot."""
    return [(scene.t_ns, scene.frame.unit) for scene in found if isinstance(scene, Shot)]


def cards(found: list[Scene]) -> list[Card]:
    return [scene for scene in found if isinstance(scene, Card)]


def looked(
    recording: Recording, files: dict[str, bytes] | None = None, *, damaged_too: bool = False
) -> tuple[Survey, list[int]]:
    told: list[int] = []
    extent = extent_of(lambda: recording.records)
    reader = FilesReader(files or recording.sealed())
    return survey(reader, extent, None, told.append, damaged_too=damaged_too), told


def paused() -> Recording:
    """1 key 0-.3, 2 gap -.5, 3 key -.7, 4 delta -.9, seal."""
    made = Recording().open().chunk(3).gap(2).chunk(2).chunk(2, keyframe=False)
    return made.seal()


def test_every_picture_and_gap_is_shown_in_order() -> None:
    recording = paused()
    found = shown(recording)
    assert all(
        np.array_equal(one, other)
        for one, other in zip(pictures(found), recording.pictures, strict=True)
    )
    assert shots(found) == [(n * FRAME_NS, n) for n in (0, 1, 2, 5, 6, 7, 8)]
    (card,) = cards(found)
    assert isinstance(found[3], Card)
    assert (card.kind, card.reason, card.lost_units) == (CardKind.GAP, "pause", 2)
    assert (card.t0_ns, card.t1_ns, card.detail) == (3 * FRAME_NS, 5 * FRAME_NS, "for the test")
    cut = [scene.cut for scene in found if isinstance(scene, Shot)]
    assert cut == [True, False, False, True, False, False, False]


def test_a_part_begins_with_the_picture_that_was_there_then() -> None:
    recording = paused()
    found = shown(recording, (8 * FRAME_NS - 5, 9 * FRAME_NS))
    assert shots(found) == [(8 * FRAME_NS - 5, 7), (8 * FRAME_NS, 8)]
    assert np.array_equal(pictures(found)[0], recording.pictures[5])
    between = shown(recording, (FRAME_NS + 1, FRAME_NS + 2))
    assert shots(between) == [(FRAME_NS + 1, 1)]
    assert np.array_equal(pictures(between)[0], recording.pictures[1])


def test_a_part_ends_before_the_picture_of_its_end() -> None:
    found = shown(paused(), (0, 2 * FRAME_NS))
    assert shots(found) == [(0, 0), (FRAME_NS, 1)]
    assert cards(found) == []


def test_a_part_may_be_a_gap_alone() -> None:
    found = shown(paused(), (3 * FRAME_NS + 1, 4 * FRAME_NS))
    (card,) = cards(found)
    assert found == [card]


def test_a_chunk_that_was_changed_is_an_error_unless_asked_for() -> None:
    recording = paused()
    files = recording.sealed()
    files["chunks/0000000003.zst"] = files["chunks/0000000003.zst"][:-1]
    with pytest.raises(BlobDamagedError, match="it was changed"):
        shown(recording, files=files)
    found = shown(recording, files=files, damaged_too=True)
    assert [unit for _, unit in shots(found)] == [0, 1, 2]
    gap, damaged, behind = cards(found)
    assert gap.kind is CardKind.GAP
    assert damaged.kind is CardKind.DAMAGED
    assert damaged.reason == "chunks/0000000003.zst was changed"
    assert (damaged.t0_ns, damaged.t1_ns) == (5 * FRAME_NS, 7 * FRAME_NS)
    assert (behind.kind, behind.t1_ns) == (CardKind.UNPLAYABLE, 9 * FRAME_NS)


def test_a_chunk_that_is_missing_is_one_that_was_changed() -> None:
    recording = paused()
    files = recording.sealed()
    del files["chunks/0000000001.zst"]
    with pytest.raises(BlobMissingError):
        shown(recording, files=files)
    found = shown(recording, files=files, damaged_too=True)
    assert [card.kind for card in cards(found)] == [CardKind.DAMAGED, CardKind.GAP]


def test_plain_bytes_that_are_others_are_damaged_too() -> None:
    recording = Recording().open().chunk(2, plain=b"no frames").chunk(2).seal()
    found = shown(recording, damaged_too=True)
    assert [card.kind for card in cards(found)] == [CardKind.DAMAGED]
    assert [unit for _, unit in shots(found)] == [2, 3]


def test_what_builds_on_a_dead_letter_is_one_card() -> None:
    made = Recording().open().chunk(2).gap(2, GapReason.DEAD_LETTER).chunk(2, keyframe=False)
    recording = made.chunk(2, keyframe=False).chunk(1).seal()
    found = shown(recording)
    gap, behind = cards(found)
    assert gap.reason == "dead letter"
    assert behind.kind is CardKind.UNPLAYABLE
    assert (behind.t0_ns, behind.t1_ns) == (4 * FRAME_NS, 8 * FRAME_NS)
    assert [unit for _, unit in shots(found)] == [0, 1, 8]


def test_the_survey_finds_a_size_that_holds_all_pictures() -> None:
    made = Recording().open().chunk(2, size=(130, 50)).chunk(1, size=(70, 90))
    recording = made.chunk(1, keyframe=False, size=(70, 90)).seal()
    found, told = looked(recording)
    assert (found.width, found.height, found.size_count) == (130, 90, 2)
    assert told == [2 * FRAME_NS, 3 * FRAME_NS, 4 * FRAME_NS]
    assert (found.damaged, found.damaged_count) == ((), 0)


def test_the_survey_names_what_is_damaged() -> None:
    recording = paused()
    files = recording.sealed()
    del files["chunks/0000000003.zst"]
    with pytest.raises(BlobMissingError):
        looked(recording, files)
    found, _ = looked(recording, files, damaged_too=True)
    assert (found.damaged, found.damaged_count) == (("chunks/0000000003.zst",), 1)
