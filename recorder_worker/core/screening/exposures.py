"""When a film shows what: from scenes in session time to exposures in the film's own time.

Pictures stay as long as they stayed. A card stays for as long as what is missing took, but at least
`CARD_MIN_NS` and at most `CARD_MAX_NS`: nobody reads faster, and nobody wants an hour of it. Behind
a card the film's time is therefore another one than the session's; `parts` say which.

An exposure is one picture of the film. One that is not fresh shows what the one before it did:
again for the next tick of a constant rate, or with a clock that went on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from recorder_worker.core.screening.scenes import Card, Scene, Shot

CARD_MIN_NS: Final = 3_000_000_000
CARD_MAX_NS: Final = 5_000_000_000
CLOCK_TICK_NS: Final = 1_000_000_000
"""How often a clock that is drawn into the pictures goes on at least."""
MAX_PARTS: Final = 1000
SECOND_NS: Final = 1_000_000_000


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """From `film_ns` on the film shows this; `scene` is None where it is what was shown before.

    `t_ns` and `wall_ns` are session time and wall clock of what is shown. `visible` is False for
    a scene that no tick of a constant rate shows: the next exposures may repeat it.
    """

    film_ns: int
    t_ns: int
    wall_ns: int
    scene: Scene | None
    visible: bool = True


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the film, [film0_ns, film1_ns), and the session time that it shows.

    `what` is `pictures` or the kind of a card; `reason` and `detail` are the card's.
    """

    what: str
    film0_ns: int
    film1_ns: int
    t0_ns: int
    t1_ns: int
    reason: str = ""
    detail: str = ""
    lost_units: int = 0


class Exposures:
    """Iterates over the exposures of some scenes, once.

    Args:
        scenes: what to show.
        end_ns: session time at which the last picture ends.
        fps: ticks a second of a constant rate; None: the times of the recording.
        ticking: a picture that stays is exposed again at every tick of a clock.

    Attributes:
        film_ns: how long the film is, once all were iterated.
        parts: the first `MAX_PARTS` parts of it; there are `part_count`.
        card_count: how many cards it shows.
    """

    def __init__(
        self, scenes: Iterable[Scene], end_ns: int, *, fps: float | None, ticking: bool
    ) -> None:
        self.film_ns = 0
        self.parts: list[Part] = []
        self.part_count = 0
        self.card_count = 0
        self._scenes = scenes
        self._end_ns = end_ns
        self._fps = fps
        self._ticking = ticking
        self._shift_ns = 0  # session time that the film's begin would have in the present part
        self._tick = 0  # the next one of a constant rate
        self._now: Shot | Card | None = None
        self._since_ns = 0  # of what is shown now, in the film's time
        self._pictures: Part | None = None

    def __iter__(self) -> Iterator[Exposure]:
        for scene in self._scenes:
            if isinstance(scene, Card):
                yield from self._card(scene)
            else:
                yield from self._shot(scene)
        if self._pictures is not None:
            yield from self._until(max(self.film_ns, self._end_ns - self._shift_ns))
        self._close()

    def _shot(self, shot: Shot) -> Iterator[Exposure]:
        if shot.cut or self._pictures is None:
            self._close()
            self._shift_ns = shot.t_ns - self.film_ns
            self._pictures = Part(
                what="pictures",
                film0_ns=self.film_ns,
                film1_ns=self.film_ns,
                t0_ns=shot.t_ns,
                t1_ns=shot.t_ns,
            )
        yield from self._until(max(self.film_ns, shot.t_ns - self._shift_ns))
        yield from self._begin(shot)

    def _card(self, card: Card) -> Iterator[Exposure]:
        if self._pictures is not None:
            yield from self._until(max(self.film_ns, card.t0_ns - self._shift_ns))
        self._close()
        self.card_count += 1
        begin_ns = self.film_ns
        yield from self._begin(card)
        length_ns = min(max(card.t1_ns - card.t0_ns, CARD_MIN_NS), CARD_MAX_NS)
        yield from self._until(begin_ns + length_ns)
        self._add(
            Part(
                what=card.kind.value,
                film0_ns=begin_ns,
                film1_ns=self.film_ns,
                t0_ns=card.t0_ns,
                t1_ns=card.t1_ns,
                reason=card.reason,
                detail=card.detail,
                lost_units=card.lost_units,
            )
        )

    def _begin(self, scene: Shot | Card) -> Iterator[Exposure]:
        """Something new is shown from now on."""
        self._now, self._since_ns = scene, self.film_ns
        if self._fps is None:
            yield self._exposure(self.film_ns, scene)
            return
        on_tick = self._tick_ns(self._fps) == self.film_ns
        self._tick += on_tick
        yield self._exposure(self.film_ns, scene, visible=on_tick)

    def _until(self, film_ns: int) -> Iterator[Exposure]:
        """What is shown now stays up to a time of the film."""
        if self._now is not None:
            yield from self._repeats(film_ns)
        self.film_ns = film_ns

    def _repeats(self, end_ns: int) -> Iterator[Exposure]:
        if self._fps is not None:
            while (at_ns := self._tick_ns(self._fps)) < end_ns:
                self._tick += 1
                yield self._exposure(at_ns, None)
        elif self._ticking and isinstance(self._now, Shot):
            for at_ns in range(self._since_ns + CLOCK_TICK_NS, end_ns, CLOCK_TICK_NS):
                yield self._exposure(at_ns, None)

    def _tick_ns(self, fps: float) -> int:
        return round(self._tick * SECOND_NS / fps)

    def _exposure(self, film_ns: int, scene: Scene | None, *, visible: bool = True) -> Exposure:
        now = self._now
        assert now is not None  # noqa: S101  (nothing is exposed before something is shown)
        later_ns = film_ns - self._since_ns
        t_ns, wall_ns = (
            (now.t0_ns, now.wall0_ns)
            if isinstance(now, Card)
            else (
                now.t_ns + later_ns,
                now.wall_ns + later_ns,
            )
        )
        return Exposure(film_ns=film_ns, t_ns=t_ns, wall_ns=wall_ns, scene=scene, visible=visible)

    def _close(self) -> None:
        """The part of pictures that runs ends now."""
        part, self._pictures = self._pictures, None
        if part is not None:
            self._add(
                msgspec.structs.replace(
                    part, film1_ns=self.film_ns, t1_ns=self._shift_ns + self.film_ns
                )
            )

    def _add(self, part: Part) -> None:
        self.part_count += 1
        if len(self.parts) < MAX_PARTS:
            self.parts.append(part)
