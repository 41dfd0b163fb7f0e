"""Watches the picture: about once a second it is made small, judged, and offered as a thumbnail.

What is judged is what is recorded: masks are applied first, and what they cover is left out. A
picture of which the source says that nothing has changed is not looked at again; only time passes.
"""

from __future__ import annotations

import msgspec
import structlog
from blake3 import blake3

from recorder_worker.core import notes
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.masks import apply_masks
from recorder_worker.core.model import Mask
from recorder_worker.core.quality.conditions import Condition, QualityChange
from recorder_worker.core.quality.judge import Look, QualityJudge, QualityPolicy
from recorder_worker.core.quality.measures import Measures
from recorder_worker.ports import Frame, Optics
from recorder_worker.ports.optics import SmallPicture
from recorder_worker.stages.capture.one_at_a_time import turn
from recorder_worker.stages.capture.segments.items import Note
from recorder_worker.stages.capture.segments.thumbnails import Thumbnails

log = structlog.get_logger(__name__)


class WatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How pictures are watched.

    Attributes:
        look_ns: session time between two looks.
        longest: pixels of the longer side of what is looked at, and of a thumbnail.
        conditions: what is told of cameras and films.
        display_conditions: what is told of displays.
        quality: the thresholds.
    """

    look_ns: int
    longest: int
    conditions: tuple[Condition, ...]
    display_conditions: tuple[Condition, ...]
    quality: QualityPolicy

    def told_of(self, kind: str) -> tuple[Condition, ...]:
        """What is told of a kind of source."""
        return self.display_conditions if kind in DISPLAYS else self.conditions


DISPLAYS = frozenset({"x11", "pattern"})
"""Kinds of sources that show a desktop, where pictures are still, flat and soft without a fault."""


class _Seen(msgspec.Struct, frozen=True):
    """The newest picture that was looked at. `same_since_ns` is when it was first seen."""

    small: SmallPicture
    masks: tuple[Mask, ...]
    measures: Measures
    digest: bytes
    same_since_ns: int


class PictureWatch:
    """Sees every frame that the writer has taken, and says what its pictures have become like."""

    def __init__(
        self,
        *,
        optics: Optics,
        policy: WatchPolicy,
        conditions: tuple[Condition, ...],
        thumbnails: Thumbnails | None,
    ) -> None:
        self._optics = optics
        self._policy = policy
        self._thumbnails = thumbnails
        self._judge = QualityJudge(policy.quality, conditions)
        self._judges = bool(conditions)
        self._exact = Condition.FROZEN in conditions
        self._next_ns = 0
        self._changed = True
        self._stopped = False
        self._seen: _Seen | None = None

    def see(
        self, frame: Frame, t_ns: int, unit: int, masks: tuple[Mask, ...] = ()
    ) -> tuple[Note, ...]:
        """The notes that a frame at session time `t_ns`, which is a unit, gives rise to.

        Mostly none. `masks` are blacked out in what is recorded of it.
        """
        self._changed = self._changed or frame.changed != ()
        if self._stopped or t_ns < self._next_ns:
            return ()
        self._next_ns = t_ns + self._policy.look_ns
        try:
            return self._look(frame.picture, t_ns, unit, masks)
        except Exception as error:
            self._stopped = True  # nor be told of every second
            log.warning("PictureNotWatched", error=repr(error), exc_info=error)
            return ()

    def forget(self) -> None:
        """A frame was left out: the next one's changes are not those since the newest look."""
        self._changed = True

    def _look(
        self, picture: Picture, t_ns: int, unit: int, masks: tuple[Mask, ...]
    ) -> tuple[Note, ...]:
        seen = self._seen
        if seen is None or self._changed or seen.masks != masks:
            seen = self._seen = self._looked_at(picture, t_ns, masks)
            self._changed = False
        if self._thumbnails is not None:
            self._thumbnails.offer(seen.small.picture, unit, t_ns)
        look = Look(t_ns=t_ns, still_since_ns=seen.same_since_ns, measures=seen.measures)
        return tuple(_note(change, t_ns) for change in self._judge.see(look))

    def _looked_at(self, picture: Picture, t_ns: int, masks: tuple[Mask, ...]) -> _Seen:
        before = self._seen
        shown = apply_masks(picture, masks)
        digest = blake3(shown.data).digest() if self._exact else b""
        if self._exact and before is not None and (digest, masks) == (before.digest, before.masks):
            return before
        with turn(shown):
            small = self._optics.shrink(shown, masks, self._policy.longest)
        with turn(small.picture):
            measures = self._optics.measure(small) if self._judges else Measures()
        return _Seen(small, masks, measures, digest, t_ns)


def _note(change: QualityChange, t_ns: int) -> Note:
    return Note(t_ns=t_ns, kind=notes.QUALITY, body=msgspec.json.encode(change).decode())
