"""Looks at packets that are copied: a keyframe now and then is decoded, and its picture watched.

The decoder works in a thread of its own, one keyframe at a time, and never holds up what is
recorded: a keyframe that is due while the one before it is not ready is not looked at. Material
that is read as fast as it can be would run ahead of it; its reader waits, for as long as a decoder
that works may take. What cannot be decoded is recorded all the same.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Final

import structlog

from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.ports import Clock, Coding, Frame, KeyframeDecoder, Packet, StageMetrics
from recorder_worker.stages.capture.reading.picture_watch import PictureWatch
from recorder_worker.stages.capture.segments.items import Note

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0
"""How long a decoder is waited for by the reader of material, and by any at the end. Not again
before it is there: one that hangs holds nothing up twice."""
LONG_NS: Final = 100_000_000
"""Of the processor. A decoder that takes more for a picture rests behind it..."""
REST_TIMES: Final = 4
"""...for so many times as long: with that it has a fifth of a processor at most."""
EARLY: Final = 10
"""A keyframe may come a tenth of `look_ns` early: those of a live source come not quite evenly."""
NICENESS: Final = 10
"""Of the threads that decode. Whatever else there is to do comes first."""


class _Look:
    """One keyframe, being decoded."""

    def __init__(self, decoder: KeyframeDecoder, packet: Packet, unit: int, t_ns: int) -> None:
        self.unit = unit
        self.t_ns = t_ns
        self.picture: Picture | None = None
        self.error = ""
        self.took_ns = 0
        self._decoder = decoder
        self._data = packet.data
        self._ended = threading.Event()

    def begin(self, coding: Coding) -> None:
        """In a thread of its own. Raises RuntimeError where there can be none."""
        threading.Thread(target=self._decode, args=(coding,), name="look", daemon=True).start()

    def ended(self, wait_s: float) -> bool:
        """Whether it is decoded, or cannot be; waits for it."""
        return self._ended.wait(wait_s)

    def _decode(self, coding: Coding) -> None:
        with suppress(OSError):  # where that is not allowed we are as the others are
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self.picture = self._decoder.picture(coding, self._data)
        except FormatError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001  (nobody else hears of it, and the recording goes on)
            self.error = repr(error)
        finally:
            self.took_ns = time.thread_time_ns()
            self._ended.set()


class KeyframeLooks:
    """Sees every packet of video that the writer has taken, and says what its pictures are like.

    `waits`: the material is read as fast as it can be.
    """

    def __init__(
        self,
        *,
        decoder: KeyframeDecoder,
        watch: PictureWatch,
        look_ns: int,
        clock: Clock,
        metrics: StageMetrics,
        waits: bool,
    ) -> None:
        self._decoder = decoder
        self._watch = watch
        self._apart_ns = look_ns - look_ns // EARLY
        self._clock = clock
        self._metrics = metrics
        self._patience_s = PATIENCE_S if waits else 0.0
        self._next_ns = 0
        self._look: _Look | None = None
        self._rests_until_ns = 0
        self._tired = False
        self._told = False

    def see(self, packet: Packet, coding: Coding, unit: int, t_ns: int) -> tuple[Note, ...]:
        """The notes that the keyframe before gave rise to; mostly none.

        Begins to look at this packet, at session time `t_ns`, where it is a keyframe and due.
        """
        due = packet.keyframe and t_ns >= self._next_ns
        notes = self._taken(self._patience_s if due and not self._tired else 0.0)
        if due:
            self._next_ns = t_ns + self._apart_ns
            self._begin(_Look(self._decoder, packet, unit, t_ns), coding)
        return notes

    def finish(self) -> tuple[Note, ...]:
        """The notes of the last keyframe that was looked at."""
        return self._taken(0.0 if self._tired else PATIENCE_S)

    def _begin(self, look: _Look, coding: Coding) -> None:
        if self._look is not None or self._clock.monotonic_ns() < self._rests_until_ns:
            self._metrics.keyframe_looked("busy")
            return
        try:
            look.begin(coding)
        except RuntimeError as error:
            self._undecodable(str(error))
            return
        self._look = look

    def _taken(self, wait_s: float) -> tuple[Note, ...]:
        look = self._look
        if look is None:
            return ()
        if not look.ended(wait_s):
            self._tired = self._tired or wait_s > 0
            return ()
        self._look, self._tired = None, False
        if look.took_ns > LONG_NS:
            self._rests_until_ns = self._clock.monotonic_ns() + REST_TIMES * look.took_ns
        if look.picture is None:
            self._undecodable(look.error)
            return ()
        self._metrics.keyframe_looked("seen")
        self._told = False
        return self._watch.see(Frame(look.picture, look.t_ns), look.t_ns, look.unit)

    def _undecodable(self, reason: str) -> None:
        """Told once, until a keyframe can be decoded again."""
        self._metrics.keyframe_looked("undecodable")
        if not self._told:
            self._told = True
            log.warning("KeyframeUndecodable", reason=reason)
