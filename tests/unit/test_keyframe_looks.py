"""How often copied packets are looked at, and that nothing which happens there is in their way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
from memory_store import MemoryStore
from quality_pictures import SECOND_NS, flat, noisy, scene
from structlog.testing import capture_logs

from recorder_worker.adapters.optics import OpenCvOptics
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.quality.conditions import Condition, QualityChange, Turn
from recorder_worker.ports import Coding, Packet
from recorder_worker.service.observing.metrics import Metrics
from recorder_worker.service.policies import thumbnail_policy, watch_policy
from recorder_worker.service.settings.pictures import QualitySettings, ThumbnailSettings
from recorder_worker.stages.capture.reading import keyframe_looks
from recorder_worker.stages.capture.reading.keyframe_looks import KeyframeLooks
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.segments.items import Note
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails

SESSION = "00000000-0000-4000-8000-000000000001"
SIZE = (160, 90)
CODING = Coding("h264", b"parameters")
DEADLINE_S = 20.0
DARK = b"dark"


class Decoder:
    """Makes pictures of what tests call packets, or does what they want in its place."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.instead: Callable[[], None] = lambda: None
        self.done = threading.Semaphore(0)

    def picture(self, coding: Coding, data: bytes) -> Picture:
        assert coding == CODING
        self.asked.append(data)
        try:
            self.instead()
        finally:
            self.done.release()
        number = len(self.asked)
        return noisy(flat((2, 2, 2), SIZE) if data == DARK else scene(SIZE), 1, number)


class Bench:
    def __init__(self, *, waits: bool = True, cipher: SessionCipher | None = None) -> None:
        self.decoder = Decoder()
        self.metrics = Metrics(version="", node="")
        self.store = MemoryStore()
        optics, small = OpenCvOptics(), thumbnail_policy(ThumbnailSettings())
        assert small is not None
        policy = watch_policy(QualitySettings())
        self.looks = KeyframeLooks(
            decoder=self.decoder,
            watch=PictureWatch(
                optics=optics,
                policy=msgspec.structs.replace(policy, look_ns=0),
                conditions=tuple(Condition),
                thumbnails=Thumbnails(
                    store=self.store,
                    session_id=SESSION,
                    cipher=cipher,
                    optics=optics,
                    policy=small,
                ),
            ),
            look_ns=policy.look_ns,
            clock=SystemClock(),
            metrics=self.metrics,
            waits=waits,
        )
        self.notes: list[Note] = []
        self.unit = 0

    def see(self, t_ns: int, data: bytes = b"light", *, keyframe: bool = True) -> Bench:
        packet = Packet(
            video=True, keyframe=keyframe, pts=0, dts=0, duration=1, t_ns=t_ns, data=data
        )
        self.notes += self.looks.see(packet, CODING, self.unit, t_ns)
        self.unit += 1
        return self

    def finish(self) -> Bench:
        self.notes += self.looks.finish()
        return self

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "recorder_keyframe_looks_total", {"outcome": outcome}
        )

    @property
    def said(self) -> list[tuple[Condition, Turn, float]]:
        found = [msgspec.json.decode(note.body, type=QualityChange) for note in self.notes]
        return [(each.condition, each.state, each.since_ns / SECOND_NS) for each in found]

    @property
    def thumbnails(self) -> list[str]:
        return [key.rpartition("/")[2] for key in self.store.keys(f"sessions/{SESSION}")]


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a decoder that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


def hang(released: threading.Event) -> None:
    assert released.wait(DEADLINE_S)


def test_a_picture_that_goes_black_is_told_and_has_a_thumbnail() -> None:
    bench = Bench()
    for second in range(30):
        bench.see(second * SECOND_NS, DARK if 10 <= second < 20 else b"light")
    bench.finish()
    assert bench.said == [(Condition.BLACK, Turn.BEGUN, 10), (Condition.BLACK, Turn.ENDED, 20)]
    names = [f"{unit:012d}.jpg" for unit in (0, 10, 20)]
    assert (bench.thumbnails, bench.count("seen")) == (names, 30)


def test_of_an_encrypted_session_thumbnails_are_encrypted() -> None:
    bench = Bench(cipher=SessionCipher(SESSION, bytes(range(32)))).see(0).finish()
    assert bench.thumbnails == ["000000000000.jpg.enc"]


def test_only_keyframes_are_decoded_and_one_a_second_of_them() -> None:
    bench = Bench()
    for number in range(100):  # ten a second, a keyframe each fifth, and not quite evenly
        uneven_ns = (number * 7919 % 40) * 1_000_000
        data = b"%d" % number
        bench.see(number * SECOND_NS // 10 + uneven_ns, data, keyframe=number % 5 == 0)
    bench.finish()
    assert bench.decoder.asked == [b"%d" % number for number in range(0, 100, 10)]
    assert bench.count("busy") == 0


def test_a_decoder_that_hangs_holds_nothing_up_and_what_is_due_meanwhile_is_left_out(
    released: threading.Event,
) -> None:
    bench = Bench(waits=False)
    bench.decoder.instead = lambda: hang(released)
    for second in range(1000):
        bench.see(second * SECOND_NS)
    assert (bench.decoder.asked, bench.count("busy"), bench.notes) == ([b"light"], 999, [])
    bench.decoder.instead = lambda: None
    released.set()
    bench.finish().see(1000 * SECOND_NS).finish()
    assert bench.count("seen") == 2


def test_material_waits_for_a_decoder_that_hangs_only_once(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframe_looks, "PATIENCE_S", 0.05)
    waited: list[float] = []
    real = keyframe_looks._Look.ended

    def ended(look: keyframe_looks._Look, wait_s: float) -> bool:
        waited.append(wait_s)
        return real(look, wait_s)

    monkeypatch.setattr(keyframe_looks._Look, "ended", ended)
    bench = Bench()
    bench.decoder.instead = lambda: hang(released)
    for second in range(100):
        bench.see(second * SECOND_NS)
    bench.finish()
    assert [wait_s for wait_s in waited if wait_s] == [0.05]
    assert bench.count("busy") == 99


@pytest.mark.parametrize("error", [FormatError("damaged"), ZeroDivisionError("a defect")])
def test_what_cannot_be_decoded_is_counted_told_once_and_looked_at_again(
    error: Exception,
) -> None:
    def fail() -> None:
        raise error

    bench = Bench()
    bench.decoder.instead = fail
    with capture_logs() as lines:
        for second in range(5):
            bench.see(second * SECOND_NS)
        bench.decoder.instead = lambda: None
        bench.see(5 * SECOND_NS).finish()
    assert (bench.count("undecodable"), bench.count("seen"), bench.said) == (5, 1, [])
    (told,) = [line for line in lines if line["event"] == "KeyframeUndecodable"]
    assert str(error) in told["reason"]
    bench.decoder.instead = fail
    with capture_logs() as lines:
        bench.see(6 * SECOND_NS).finish()
    assert [line["event"] for line in lines] == ["KeyframeUndecodable"]


def test_pictures_that_take_long_are_looked_at_less_often() -> None:
    def burn() -> None:
        begin_ns = time.thread_time_ns()
        while time.thread_time_ns() - begin_ns < 1.5 * keyframe_looks.LONG_NS:
            np.ones(1000).sum()

    bench = Bench()
    bench.decoder.instead = burn
    for second in range(3):
        bench.see(second * SECOND_NS)
    assert len(bench.decoder.asked) == 1
    assert bench.count("busy") == 2


def test_the_decoder_stands_back_behind_everything_else() -> None:
    found: list[int] = []
    bench = Bench()
    bench.decoder.instead = lambda: found.append(
        os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    )
    before = os.getpriority(os.PRIO_PROCESS, 0)
    bench.see(0).finish()
    assert found == [max(before, keyframe_looks.NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_where_no_thread_can_be_had_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench = Bench()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        bench.see(0)
    bench.see(SECOND_NS).finish()
    assert (bench.count("undecodable"), bench.count("seen")) == (1, 1)
