"""How pictures are looked at: made small, measured, and written as thumbnails."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.model import Mask
from recorder_worker.core.quality.measures import Measures


class SmallPicture(msgspec.Struct, frozen=True):
    """A picture made small.

    `visible` has shape (height, width), uint8: 255 where no masked pixel had a part, 0 elsewhere;
    None: there are no masks.
    """

    picture: Picture
    visible: NDArray[np.uint8] | None = None


class Optics(Protocol):
    """Looks at pictures. Threads may share it."""

    def shrink(self, picture: Picture, masks: tuple[Mask, ...], longest: int) -> SmallPicture:
        """A picture whose longer side has at most `longest` pixels, each the mean of its part.

        `masks` are black in the picture by now; they say what is not to be judged.
        """
        ...

    def measure(self, small: SmallPicture) -> Measures:
        """What there is to be seen where no mask is."""
        ...

    def jpeg(self, picture: Picture, quality: int) -> bytes:
        """A picture as a JPEG file; `quality` from 1 to 100."""
        ...
