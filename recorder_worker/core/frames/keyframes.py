"""When a segment has to begin with a keyframe.

A keyframe lets a reader begin; deltas are cheap. What a group of frames, from one keyframe to the
next, costs a reader is bounded twice:

* a **seek** inflates the group up to the frame that is wanted, so its bytes are bounded. A busy
  desktop gets a keyframe when they are used up;
* a **lost chunk** takes all frames up to the next keyframe with it, so its time is bounded, to
  `min_interval_ns`. Where nothing happens little is lost: as long as the deltas take less than
  the keyframe did, a group goes on up to `max_interval_ns`. An idle desktop with a photo for a
  wallpaper would otherwise store the photo each minute and nearly nothing else.

And a keyframe is made at once where the picture before cannot be relied on: after a gap, a
resize, a resume or a change of masks.
"""

from __future__ import annotations

from typing import Self

import msgspec


class KeyframePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a group of frames may get, in nanoseconds of session time and in bytes.

    `max_plain_size` and `max_stored_size` are bytes of its segments, before and after compression
    in the spool: of well compressed bytes a reader inflates some 2.5 GB a second, of noise
    0.9 GB. Frames of a changed size are keyframes whatever this says: the encoder sees to that.
    """

    min_interval_ns: int = 60_000_000_000
    max_interval_ns: int = 300_000_000_000
    max_plain_size: int = 192 * 2**20
    max_stored_size: int = 16 * 2**20


class KeyframeState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the group: the last segment that began with a keyframe, and those since.

    `keyframe_t0_ns` is None where there is none that may be built upon. Sizes are bytes;
    `stored` is as in the spool, and `plain_size` of the whole group.
    """

    keyframe_t0_ns: int | None = None
    keyframe_stored_size: int = 0
    deltas_stored_size: int = 0
    plain_size: int = 0

    def due(self, policy: KeyframePolicy, t_ns: int) -> bool:
        """Whether the segment that begins at session time `t_ns` has to begin with a keyframe."""
        if self.keyframe_t0_ns is None:
            return True
        elapsed_ns = t_ns - self.keyframe_t0_ns
        stored_size = self.keyframe_stored_size + self.deltas_stored_size
        outgrown = self.deltas_stored_size > self.keyframe_stored_size
        return (
            elapsed_ns >= policy.max_interval_ns
            or (outgrown and elapsed_ns >= policy.min_interval_ns)
            or self.plain_size >= policy.max_plain_size
            or stored_size >= policy.max_stored_size
        )

    def after(self, *, keyframe: bool, t0_ns: int, plain_size: int, stored_size: int) -> Self:
        """The state once a segment is stored that began at `t0_ns`, with a keyframe or not."""
        if keyframe:
            return type(self)(
                keyframe_t0_ns=t0_ns, keyframe_stored_size=stored_size, plain_size=plain_size
            )
        return msgspec.structs.replace(
            self,
            deltas_stored_size=self.deltas_stored_size + stored_size,
            plain_size=self.plain_size + plain_size,
        )

    def forced(self) -> Self:
        """The state after a gap, a resize, a resume or a change of masks: a keyframe is due."""
        return type(self)()
