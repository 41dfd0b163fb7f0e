"""When a segment has to begin with a keyframe.

A keyframe lets a reader begin; deltas are cheap. So one is made when the deltas that a reader
would have to go through have outgrown it, after `max_interval_ns` at the latest, and at once
where the picture before cannot be relied on: after a gap, a resize, a resume or a change of
masks. An idle desktop then pays for one keyframe a minute and next to nothing else.
"""

from __future__ import annotations

from typing import Self

import msgspec


class KeyframePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The shortest and longest distance between keyframes, in nanoseconds of session time.

    The shortest binds the rule about size alone. Frames of a changed size are keyframes whatever
    this says: the encoder sees to that.
    """

    min_interval_ns: int = 10_000_000_000
    max_interval_ns: int = 60_000_000_000


class KeyframeState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the segments since the last one that began with a keyframe.

    `keyframe_t0_ns` is None where there is none that may be built upon. Sizes are bytes as stored
    in the spool.
    """

    keyframe_t0_ns: int | None = None
    keyframe_stored_size: int = 0
    deltas_stored_size: int = 0

    def due(self, policy: KeyframePolicy, t_ns: int) -> bool:
        """Whether the segment that begins at session time `t_ns` has to begin with a keyframe."""
        if self.keyframe_t0_ns is None:
            return True
        elapsed_ns = t_ns - self.keyframe_t0_ns
        if elapsed_ns >= policy.max_interval_ns:
            return True
        outgrown = self.deltas_stored_size > self.keyframe_stored_size
        return outgrown and elapsed_ns >= policy.min_interval_ns

    def after(self, *, keyframe: bool, t0_ns: int, stored_size: int) -> Self:
        """The state once a segment is stored that began at `t0_ns`, with a keyframe or not."""
        if keyframe:
            return type(self)(keyframe_t0_ns=t0_ns, keyframe_stored_size=stored_size)
        return msgspec.structs.replace(
            self, deltas_stored_size=self.deltas_stored_size + stored_size
        )

    def forced(self) -> Self:
        """The state after a gap, a resize, a resume or a change of masks: a keyframe is due."""
        return type(self)()
