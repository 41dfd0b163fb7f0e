"""The watch over a session's frames: how often it looks, what it tells, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import msgspec
import numpy as np
import pytest
from memory_store import MemoryStore
from quality_pictures import ALL, SECOND_NS, blurred, flat, noisy, scene

from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core import keys, notes
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import FormatError, StoreFullError
from recorder_worker.core.frames.keyframes import KeyframePolicy
from recorder_worker.core.frames.pictures import Picture, Region
from recorder_worker.core.model import Cursor, Mask
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.core.quality.measures import Measures
from recorder_worker.ports import Frame, SmallPicture
from recorder_worker.service.policies import thumbnail_policy, watch_policy
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.segments.frame_spool import SegmentWriter
from recorder_worker.stages.capture.segments.items import Note
from recorder_worker.stages.capture.segments.spool import SegmentLimits
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails

SESSION = "00000000-0000-4000-8000-000000000001"
FPS = 5
PREFIX = keys.blob_key(SESSION, keys.THUMBNAILS)
SCENES = [noisy(scene((160, 90)), 3, seed) for seed in range(60)]
"""As a camera gives them: never twice the same."""


class CountedOptics(OpenCvOptics):
    """Counts its looks, and fails where it is told to."""

    def __init__(self) -> None:
        self.looks = 0
        self.broken = False

    def shrink(self, picture: Picture, masks: tuple[Mask, ...], longest: int) -> SmallPicture:
        self.looks += 1
        if self.broken:
            raise ZeroDivisionError("a defect")
        return super().shrink(picture, masks, longest)


class Bench:
    def __init__(
        self,
        *conditions: Condition,
        masks: tuple[Mask, ...] = (),
        cipher: SessionCipher | None = None,
        store: MemoryStore | None = None,
        thumbnails: ThumbnailSettings | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.optics = CountedOptics()
        self.cipher = cipher
        policy = thumbnail_policy(thumbnails or ThumbnailSettings())
        self.writer = SegmentWriter(
            store=MemoryStore(),
            session_id=SESSION,
            clock=SystemClock(),
            cursor=Cursor(),
            limits=SegmentLimits(duration_ns=SECOND_NS, plain_size=1 << 24, level=1),
            keyframes=KeyframePolicy(),
            masks=masks,
        )
        self.watch = PictureWatch(
            optics=self.optics,
            policy=watch_policy(QualitySettings()),
            conditions=conditions,
            thumbnails=Thumbnails(
                store=self.store,
                session_id=SESSION,
                cipher=cipher,
                optics=self.optics,
                policy=policy,
            )
            if policy
            else None,
        )
        self.notes: list[Note] = []
        self.frames = 0

    def see(
        self, picture: Callable[[int], Picture], seconds: int, *, changed: bool | None = None
    ) -> Bench:
        """Frames of some seconds; `changed` is what the source says of every one."""
        regions = {None: None, True: (Region(0, 0, 8, 8),), False: ()}[changed]
        for _ in range(seconds * FPS):
            t_ns = self.frames * SECOND_NS // FPS
            frame = Frame(picture=picture(self.frames), t_ns=t_ns, changed=regions)
            if not self.writer.fits(frame, t_ns):
                self.writer.close(t_ns)
            self.writer.add(frame, t_ns)
            self.notes += self.watch.see(frame, t_ns, self.writer.newest_unit, self.writer.masks)
            self.frames += 1
        return self

    @property
    def said(self) -> list[tuple[Condition, Turn, float]]:
        found = []
        for note in self.notes:
            assert note.kind == notes.QUALITY
            change = msgspec.json.decode(note.body, type=QualityChange)
            assert change.since_ns < note.t_ns
            found.append((change.condition, change.state, change.since_ns / SECOND_NS))
        return found

    @property
    def names(self) -> list[str]:
        return [key.removeprefix(f"{PREFIX}/") for key in self.store.keys(PREFIX)]

    def thumbnail(self, name: str) -> Picture:
        data = self.store.get(f"{PREFIX}/{name}")
        if self.cipher is not None:
            place = Place(PayloadKind.THUMBNAIL, int(name.partition(".")[0]))
            data = b"".join(self.cipher.unseal(place, [data]))
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return picture.astype(np.uint8)


def moving(number: int) -> Picture:
    return SCENES[number % len(SCENES)]


def still(_: int) -> Picture:
    return SCENES[0]


def soft(number: int) -> Picture:
    return blurred(SCENES[number % len(SCENES)], 0.02)


# --- what is told --------------------------------------------------------------------------------


def test_a_camera_that_fails_in_every_way_is_told_in_order() -> None:
    bench = Bench(*ALL)
    bench.see(moving, 5).see(lambda n: noisy(flat((2, 2, 2), (160, 90)), 1, n), 5).see(moving, 5)
    bench.see(soft, 10).see(still, 15).see(moving, 5)
    bench.see(lambda n: noisy(flat((200, 20, 20), (160, 90)), 2, n), 6).see(moving, 5)
    assert bench.said == [
        (Condition.BLACK, Turn.BEGUN, 5),
        (Condition.BLACK, Turn.ENDED, 10),
        (Condition.BLURRED, Turn.BEGUN, 15),
        (Condition.BLURRED, Turn.ENDED, 25),
        (Condition.FROZEN, Turn.BEGUN, 25),
        (Condition.FROZEN, Turn.ENDED, 40),
        (Condition.NO_SIGNAL, Turn.BEGUN, 45),
        (Condition.NO_SIGNAL, Turn.ENDED, 51),
    ]


def test_one_bit_of_one_pixel_is_no_frozen_picture() -> None:
    def alive(number: int) -> Picture:
        picture = SCENES[0].copy()
        picture[0, 0, 0] ^= number // FPS & 1
        return picture

    assert Bench(*ALL).see(alive, 30).said == []
    assert Bench(*ALL).see(still, 30).said == [(Condition.FROZEN, Turn.BEGUN, 0)]


@pytest.mark.parametrize("changed", [None, True], ids=["unknown", "where"])
def test_frames_are_looked_at_once_a_second(changed: bool | None) -> None:
    bench = Bench(Condition.BLACK).see(moving, 10, changed=changed)
    assert (bench.frames, bench.optics.looks) == (50, 10)


def test_a_picture_that_has_not_changed_is_not_looked_at_again_and_is_judged_all_the_same() -> None:
    bench = Bench(*ALL)
    black = flat((0, 0, 0), (160, 90))
    bench.see(lambda _: black, 1).see(lambda _: black, 30, changed=False)
    assert bench.optics.looks == 1
    assert bench.said == [
        (Condition.BLACK, Turn.BEGUN, 0),
        (Condition.FROZEN, Turn.BEGUN, 0),
    ]


def test_a_change_between_two_looks_is_looked_at() -> None:
    bench = Bench(Condition.BLACK).see(lambda _: flat((0, 0, 0)), 1)
    t_ns = bench.frames * SECOND_NS // FPS
    early = Frame(picture=scene(), t_ns=t_ns - 1, changed=None)
    assert bench.watch.see(early, t_ns - 1, bench.frames) == ()
    later = Frame(picture=scene(), t_ns=t_ns, changed=())
    assert bench.watch.see(later, t_ns, bench.frames) == ()
    assert bench.optics.looks == 2


def test_a_defect_of_the_watch_ends_the_watch_and_nothing_else() -> None:
    bench = Bench(*ALL).see(moving, 2)
    bench.optics.broken = True
    bench.see(moving, 2)
    looks = bench.optics.looks
    assert bench.see(lambda _: flat((0, 0, 0)), 10).said == []
    assert bench.optics.looks == looks == 3


def test_displays_are_told_of_less() -> None:
    policy = watch_policy(QualitySettings())
    assert policy.told_of("x11") == policy.told_of("pattern") == (Condition.BLACK,)
    assert policy.told_of("file") == policy.told_of("v4l2") == ALL
    asked = watch_policy(QualitySettings(display_conditions=("frozen",), conditions=()))
    assert asked.told_of("x11") == (Condition.FROZEN,)
    assert asked.told_of("file") == ()


# --- masks ---------------------------------------------------------------------------------------


def test_masked_pixels_are_neither_judged_nor_in_a_thumbnail() -> None:
    secret = scene((160, 90))
    secret[:45] = noisy(flat((0, 0, 255), (160, 45)), 60)
    secret[45:] = 0
    mask = Mask(x=0, y=0, width=160, height=45)
    bench = Bench(Condition.BLACK, masks=(mask,)).see(lambda _: secret, 5)
    assert bench.said == [(Condition.BLACK, Turn.BEGUN, 0)]
    assert int(bench.thumbnail(bench.names[0]).max()) < 8
    without = Bench(Condition.BLACK).see(lambda _: secret, 5)
    assert int(without.thumbnail(without.names[0]).max()) > 200


def test_what_moves_below_a_mask_does_not_make_a_picture_alive() -> None:
    def clock(number: int) -> Picture:
        picture = SCENES[0].copy()
        picture[:10, :40] = number % 251
        return picture

    mask = Mask(x=0, y=0, width=40, height=10)
    assert Bench(*ALL).see(clock, 20).said == []
    assert Bench(*ALL, masks=(mask,)).see(clock, 20).said == [(Condition.FROZEN, Turn.BEGUN, 0)]


# --- thumbnails ----------------------------------------------------------------------------------


def test_the_first_picture_has_a_thumbnail_and_a_later_one_when_it_is_another() -> None:
    other = noisy(scene((160, 90), seed=9), 2)
    bench = Bench().see(still, 15).see(lambda _: other, 30).see(still, 5)
    # The picture turned at 15 s and at 45 s; each time the last thumbnail was old enough.
    assert bench.names == ["000000000000.jpg", "000000000075.jpg", "000000000225.jpg"]
    for name, picture in zip(bench.names, [SCENES[0], other, SCENES[0]], strict=True):
        difference = np.abs(bench.thumbnail(name).astype(np.int16) - picture)
        assert float(difference.mean()) < 15


def test_thumbnails_are_not_closer_than_they_may_be_and_the_last_change_is_not_missed() -> None:
    bench = Bench().see(lambda n: flat((n % 250, 90, 9), (64, 48)), 7).see(still, 30)
    assert bench.names == ["000000000000.jpg", "000000000050.jpg"]


def test_a_clock_that_ticks_is_no_other_picture() -> None:
    def ticking(number: int) -> Picture:
        picture = SCENES[0].copy()
        picture[:4, :6] = number * 40 % 251
        return picture

    assert Bench().see(ticking, 60).names == ["000000000000.jpg"]


def test_a_picture_of_another_size_is_another_picture() -> None:
    bench = Bench().see(still, 12).see(lambda _: flat((9, 9, 9), (64, 64)), 12)
    assert bench.names == ["000000000000.jpg", "000000000060.jpg"]


def test_no_thumbnails_are_made_where_none_are_wanted() -> None:
    bench = Bench(Condition.BLACK, thumbnails=ThumbnailSettings(enabled=False)).see(moving, 20)
    assert (bench.names, bench.optics.looks) == ([], 20)


def test_in_an_encrypted_session_a_thumbnail_is_encrypted_and_opens_in_its_place_alone() -> None:
    cipher = SessionCipher(SESSION, bytes(range(32)))
    bench = Bench(cipher=cipher).see(still, 1)
    assert bench.names == ["000000000000.jpg.enc"]
    assert bench.thumbnail(bench.names[0]).shape == (90, 160, 3)
    stored = bench.store.get(f"{PREFIX}/{bench.names[0]}")
    plain = bench.optics.jpeg(SCENES[0], 60)
    assert plain[:2] == b"\xff\xd8"
    assert b"JFIF" not in stored
    assert not any(plain[at : at + 16] in stored for at in range(0, len(plain) - 16, 16))
    for kind, number in ((PayloadKind.SEGMENT, 0), (PayloadKind.THUMBNAIL, 1)):
        with pytest.raises(FormatError):
            list(cipher.unseal(Place(kind, number), [stored]))


def test_a_store_that_takes_no_thumbnail_does_not_end_the_recording() -> None:
    class Full(MemoryStore):
        def put(self, key: str, data: bytes) -> None:
            raise StoreFullError(f"{key}: no room for {len(data)} bytes")

    bench = Bench(Condition.BLACK, store=Full()).see(lambda _: flat((0, 0, 0)), 5)
    assert bench.said == [(Condition.BLACK, Turn.BEGUN, 0)]


def test_a_thumbnail_that_another_worker_made_of_a_lost_frame_stays() -> None:
    store = MemoryStore()
    store.put(f"{PREFIX}/000000000000.jpg", b"of another picture")
    bench = Bench(Condition.BLACK, store=store).see(still, 1)
    assert store.get(f"{PREFIX}/000000000000.jpg") == b"of another picture"
    bench.see(lambda _: flat((0, 0, 0), (160, 90)), 15)
    assert bench.names == ["000000000000.jpg", "000000000050.jpg"]
    assert bench.said == [(Condition.BLACK, Turn.BEGUN, 1)]


def test_the_body_of_a_note_is_whole() -> None:
    bench = Bench(Condition.BLACK).see(lambda _: flat((0, 0, 0)), 5)
    body = msgspec.json.decode(bench.notes[0].body)
    assert set(body) == {"condition", "state", "since_ns", "measures"}
    assert set(body["measures"]) == set(Measures.__struct_fields__)
