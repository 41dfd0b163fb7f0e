"""Whether a packet of H.264 or H.265 begins a picture, or goes on with the one before it.

A picture may be sent in slices. A server that repeats its parameter sets before each of them makes
FFmpeg take every slice for a picture of its own (ITU-T H.264 §7.4.1.2.4 and H.265 §7.4.2.4.5 say
what a picture begins with).
"""

from __future__ import annotations

import re
from typing import Final

_START: Final = re.compile(rb"\x00\x00\x01")
_FIRST_BIT: Final = 0x80


def goes_on(codec: str, data: bytes) -> bool:
    """Whether the first slice in a packet (Annex B) is not the first of its picture."""
    return begins_picture(codec, data) is False


def begins_picture(codec: str, data: bytes) -> bool | None:
    """Whether the first slice in a packet (Annex B) is the first of its picture.

    None where there is no slice, or the codec has none.
    """
    if codec not in ("h264", "hevc"):
        return None
    for found in _START.finditer(data):
        at = found.end()
        if codec == "h264":
            # first_mb_in_slice is the first field: 0 is coded as a single bit that is 1.
            if at + 1 < len(data) and 1 <= data[at] & 31 <= 5:
                return bool(data[at + 1] & _FIRST_BIT)
        elif at + 2 < len(data) and data[at] >> 1 & 63 < 32:
            return bool(data[at + 2] & _FIRST_BIT)  # first_slice_segment_in_pic_flag
    return None
