"""What somebody knows of a Bitcoin block, to check a proof of OpenTimestamps against it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class BlockHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the verifying person knows of a Bitcoin block.

    `merkle_root` is 64 hexadecimal digits as block explorers show it; `time` is the header's, in
    seconds since the Unix epoch.
    """

    height: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    merkle_root: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    time: Annotated[int, Meta(ge=0, le=2**32 - 1)]
