"""What was measured of one picture: the numbers that conditions are told by."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from recorder_worker.core.model import Wire

Share = Annotated[float, Meta(ge=0, le=1)]
Level = Annotated[float, Meta(ge=0, le=255)]


class Measures(Wire, frozen=True, kw_only=True):
    """One picture in numbers: of what no mask covers, on the picture shrunk to some 320 pixels.

    Attributes:
        visible: the share of the picture that no mask covers. Of nothing, nothing is measured.
        peak: the strongest channel of all pixels but the brightest one in ten thousand.
        contrast: the standard deviation of luma.
        flat: the share of pixels that are of the middle colour, or nearly.
        chroma: how far the channels of that colour are apart: 0 is grey.
        bars: the share of the width that is the six colours of a test card, in their order.
        blur: 0 sharp, 1 without any edge (Crete et al., "The Blur Effect", 2007).
    """

    visible: Share = 1.0
    peak: Level = 0.0
    contrast: Level = 0.0
    flat: Share = 0.0
    chroma: Level = 0.0
    bars: Share = 0.0
    blur: Share = 0.0
