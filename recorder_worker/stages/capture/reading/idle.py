"""Idleness: for how long the picture, as it is recorded, has not changed."""

from __future__ import annotations

from blake3 import blake3

from recorder_worker.core.masks import apply_masks
from recorder_worker.core.model import Mask
from recorder_worker.ports import Frame


class IdleWatch:
    """Compares each frame with the one before it, by digest.

    What is masked does not count, for nobody sees it change; a pointer that moves does.
    """

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._seen: tuple[object, ...] | None = None
        self._since_ns = 0

    def forget(self) -> None:
        """Behind a gap: what was seen before it says nothing of what was not seen."""
        self._seen = None

    def is_over(self, frame: Frame, masks: tuple[Mask, ...], t_ns: int) -> bool:
        """Take a frame of session time `t_ns`; whether it has been the same for the limit.

        A source that says that nothing changed is believed.
        """
        pointer = frame.pointer
        at = None if pointer is None else (pointer.x, pointer.y, pointer.shape.tobytes())
        seen = self._seen
        if seen is None or frame.changed != () or seen[-1] != at:
            picture = apply_masks(frame.picture, masks)
            seen = (picture.shape, blake3(picture.data).digest(), at)
        if seen != self._seen:
            self._seen, self._since_ns = seen, t_ns
        return t_ns - self._since_ns >= self._limit_ns
