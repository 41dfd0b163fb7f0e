"""Whole streams: whatever a source says of its changes, the bytes and the pixels are the same."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_frames import literal_old_record, literal_record
from reference_format import h
from reference_frames import Player

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.pictures import Picture, Pointer, Region
from recorder_worker.core.frames.playback import DecodedFrame, FrameDecoder
from recorder_worker.core.frames.seeking import FrameSeeker
from recorder_worker.core.masks import apply_masks
from recorder_worker.core.model import Mask


class Step(msgspec.Struct, frozen=True):
    """A picture, what is said of it, and masks over it."""

    picture: Picture
    keyframe: bool
    changed: tuple[Region, ...] | None
    pointer: Pointer | None
    masks: tuple[Mask, ...] = ()


SHAPES = (
    np.zeros((0, 0, 4), np.uint8),
    np.full((3, 2, 4), 80, np.uint8),
    np.full((2, 3, 4), 80, np.uint8),
    np.full((17, 11, 4), 200, np.uint8),
)
pointers = st.none() | st.builds(
    Pointer,
    x=st.integers(-3, 3),
    y=st.sampled_from([-(2**31), 0, 2**31 - 1]),
    hot_x=st.integers(0, 1),
    hot_y=st.just(0),
    shape=st.sampled_from(SHAPES),
)
mask_sets = st.sampled_from(
    [
        (),
        (Mask(x=10, y=20, width=90, height=60),),
        (Mask(x=0, y=0, width=9, height=9), Mask(x=60, y=100, width=900, height=40)),
    ]
)


@st.composite
def streams(draw: st.DrawFn) -> list[Step]:
    """Pictures that change in a few places, some of them photos; regions that cover the change."""
    steps: list[Step] = []
    size = (draw(st.integers(1, 200)), draw(st.integers(1, 200)))
    picture = np.zeros((*size, 3), np.uint8)
    masks = draw(mask_sets)
    for nth in range(draw(st.integers(1, 7))):
        resized = nth == 0 or draw(st.integers(0, 6)) == 0
        if resized:
            size = (draw(st.integers(1, 200)), draw(st.integers(1, 200)))
            picture = photo(size) if draw(st.booleans()) else np.zeros((*size, 3), np.uint8)
        picture, regions = picture.copy(), []
        for _ in range(draw(st.integers(0, 3))):
            y, x = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
            region = Region(x, y, draw(st.integers(1, 90)), draw(st.integers(1, 90)))
            region = Region(x, y, min(region.width, size[1] - x), min(region.height, size[0] - y))
            content = draw(st.sampled_from(["none", "flat", "photo", "step"]))
            part = picture[y : y + region.height, x : x + region.width]
            if content == "flat":
                part[:] = draw(st.integers(0, 255))
            elif content == "photo":
                part[:] = photo(part.shape[:2])
            elif content == "step":
                part[-1, -1, 2] ^= 1
            regions.append(region)
        said = resized or draw(st.booleans())  # what is said of a new size is never looked at
        masks = draw(mask_sets) if draw(st.integers(0, 5)) == 0 else masks
        changed = tuple(regions) if said else None
        steps.append(Step(picture, draw(st.booleans()), changed, draw(pointers), masks))
    return steps


def photo(size: tuple[int, ...]) -> Picture:
    """Slopes with a little noise, as a photo has them."""
    y, x = np.mgrid[: size[0], : size[1]]
    grain = np.random.default_rng(4).integers(0, 4, (*size, 3))
    picture: Picture = ((x * 3 + y * 2)[..., None] + grain).astype(np.uint8)
    return picture


def encoded(steps: list[Step], *, told: bool = True) -> list[bytes]:
    encoder = FrameEncoder()
    return [
        bytes(
            encoder.encode(
                step.picture,
                unit=nth,
                t_ns=nth * 2,
                wall_ns=nth * 3,
                keyframe=step.keyframe,
                changed=step.changed if told else None,
                pointer=step.pointer,
                masks=step.masks,
            ).data
        )
        for nth, step in enumerate(steps)
    ]


def decoded(records: list[bytes]) -> list[DecodedFrame]:
    decoder, frames = FrameDecoder(), []
    for record in records:
        (frame,) = decoder.feed(record)
        frames.append(msgspec.structs.replace(frame, picture=frame.picture.copy()))
    decoder.finish()
    return frames


def same_pointer(one: Pointer | None, other: Pointer | None) -> bool:
    if one is None or other is None:
        return one is other
    places = [(each.x, each.y, each.hot_x, each.hot_y) for each in (one, other)]
    return places[0] == places[1] and np.array_equal(one.shape, other.shape)


@settings(max_examples=60, deadline=None)
@given(streams())
def test_what_is_encoded_is_canonical_and_decoded_bit_exact(steps: list[Step]) -> None:
    records = encoded(steps)
    assert records == encoded(steps, told=False)
    before = Step(np.zeros((0, 0, 3), np.uint8), False, None, None)
    for nth, (step, record) in enumerate(zip(steps, records, strict=True)):
        picture = apply_masks(step.picture, step.masks)
        keyframe = step.keyframe or picture.shape != before.picture.shape
        literal = literal_record(
            picture,
            np.zeros_like(picture) if keyframe else before.picture,
            keyframe=keyframe,
            pointer=step.pointer,
            pointer_before=before.pointer,
            numbers=(nth, nth * 2, nth * 3),
        )
        assert record == literal
        before = msgspec.structs.replace(step, picture=picture)
    for nth, (step, frame) in enumerate(zip(steps, decoded(records), strict=True)):
        assert np.array_equal(frame.picture, apply_masks(step.picture, step.masks))
        assert same_pointer(frame.pointer, step.pointer)
        assert (frame.unit, frame.t_ns, frame.wall_ns) == (nth, nth * 2, nth * 3)


@settings(max_examples=40, deadline=None)
@given(streams())
def test_a_reader_that_was_written_from_the_document_sees_the_same(steps: list[Step]) -> None:
    records = encoded(steps)
    frames: list[dict[str, Any]] = []
    sizes = [step.picture.nbytes for step in steps]
    span = {"t0_ns": 0, "t1_ns": 2**62, "first_unit": 0, "unit_count": len(steps)}
    Player(frames).play({"span": span, "keyframe": 1, "raw_size": sum(sizes)}, b"".join(records))
    for step, frame in zip(steps, frames, strict=True):
        assert frame["pixels"] == h(apply_masks(step.picture, step.masks).tobytes()).hex()
        pointer = step.pointer
        theirs: list[Any] | None = None
        if pointer is not None:
            height, width, _ = pointer.shape.shape
            numbers = (pointer.x, pointer.y, pointer.hot_x, pointer.hot_y, width, height)
            theirs = [*numbers, h(pointer.shape.tobytes()).hex()]
        assert frame["pointer"] == theirs


@settings(max_examples=40, deadline=None)
@given(streams(), st.data())
def test_a_seek_gives_what_decoding_gives(steps: list[Step], data: st.DataObject) -> None:
    records = encoded(steps)
    unit = data.draw(st.integers(0, len(steps) - 1))
    stream = b"".join(records)
    step = data.draw(st.sampled_from([1000, 20_000, len(stream)]))
    seeker, found = FrameSeeker(unit), None
    for at in range(0, len(stream), step):
        if found := seeker.feed(stream[at : at + step]):
            break
    expected = decoded(records)[unit]
    assert found is not None
    assert np.array_equal(found.picture, expected.picture)
    assert same_pointer(found.pointer, expected.pointer)
    assert (found.unit, found.t_ns, found.wall_ns) == (unit, expected.t_ns, expected.wall_ns)


def test_what_changed_before_a_frame_that_was_refused_is_not_lost() -> None:
    black, grey = np.zeros((70, 70, 3), np.uint8), np.full((70, 70, 3), 90, np.uint8)
    encoder = FrameEncoder()
    encoder.encode(black, unit=0, t_ns=0, wall_ns=0, keyframe=True)
    with pytest.raises(FormatError):
        encoder.encode(grey, unit=-1, t_ns=0, wall_ns=0, keyframe=False, changed=None)
    after = encoder.encode(grey, unit=1, t_ns=0, wall_ns=0, keyframe=False, changed=())
    assert after.changed_tiles == 4


def test_what_a_new_mask_covers_becomes_black_though_nothing_changed() -> None:
    grey = np.full((70, 70, 3), 90, np.uint8)
    encoder = FrameEncoder()
    encoder.encode(grey, unit=0, t_ns=0, wall_ns=0, keyframe=True)
    masks = (Mask(x=66, y=66, width=2, height=2),)
    frames = [
        encoder.encode(
            grey, unit=1, t_ns=0, wall_ns=0, keyframe=False, changed=(), masks=masks
        ).changed_tiles
        for masks in (masks, masks, ())
    ]
    assert frames == [1, 0, 1]


def test_a_source_that_is_wrong_about_its_changes_costs_pixels_but_not_the_stream() -> None:
    first, second = np.full((130, 130, 3), 1, np.uint8), np.full((130, 130, 3), 2, np.uint8)
    steps = [
        Step(first, True, None, None),
        Step(second, False, (Region(0, 0, 3, 3),), None),
        Step(second, False, None, None),
    ]
    pictures = [frame.picture for frame in decoded(encoded(steps))]
    assert (pictures[1][:64, :64] == 2).all()
    assert (pictures[1][64:] == 1).all()
    assert (pictures[2] == 2).all()


@pytest.mark.parametrize(
    "region",
    [Region(-9, -9, 20, 20), Region(60, 60, 900, 900), Region(500, 0, 9, 9), Region(0, 0, 0, 5)],
)
def test_a_region_that_leaves_the_picture_is_cut(region: Region) -> None:
    black = np.zeros((70, 70, 3), np.uint8)
    told = encoded([Step(black, True, None, None), Step(black, False, (region,), None)])
    assert told == encoded([Step(black, True, None, None), Step(black, False, None, None)])


@settings(max_examples=30, deadline=None)
@given(streams())
def test_streams_of_older_builds_are_read_bit_exact(steps: list[Step]) -> None:
    records, before = [], np.zeros((0, 0, 3), np.uint8)
    for nth, step in enumerate(steps):
        keyframe = step.keyframe or step.picture.shape != before.shape
        base = np.zeros_like(step.picture) if keyframe else before
        records.append(literal_old_record(step.picture, base, keyframe=keyframe, unit=nth))
        before = step.picture
    for step, frame in zip(steps, decoded(records), strict=True):
        assert np.array_equal(frame.picture, step.picture)
        assert frame.pointer is None
    seeker = FrameSeeker(len(steps) - 1)
    found = seeker.feed(b"".join(records))
    assert found is not None
    assert np.array_equal(found.picture, steps[-1].picture)
