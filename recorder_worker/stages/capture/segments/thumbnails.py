"""Thumbnails: small pictures beside the chunks, for lists and timelines. They prove nothing.

One is made of the first picture, and of a later one that differs from the last thumbnail, as soon
as that is old enough. Masked pixels are black in them. In an encrypted session they are encrypted.

A thumbnail is written when its frame is read, before the segment of that frame is durable: where a
crash takes the segment, a thumbnail of it may stay. One that cannot be written is left out, and the
recording goes on.
"""

from __future__ import annotations

import msgspec
import numpy as np
import structlog

from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import ImmutableConflictError, StoreError
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.ports import BlobStore, Optics

log = structlog.get_logger(__name__)

OTHER_LEVELS = 16
"""A channel that has changed by more makes a pixel another one."""


class ThumbnailPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How thumbnails are made.

    Attributes:
        interval_ns: session time that lies between two of them at least.
        changed_share: the share of pixels that have to be other ones.
        quality: of the JPEG, 1 to 100.
    """

    interval_ns: int
    changed_share: float
    quality: int


class Thumbnails:
    """Writes the thumbnails of one session."""

    def __init__(
        self,
        *,
        store: BlobStore,
        session_id: str,
        cipher: SessionCipher | None,
        optics: Optics,
        policy: ThumbnailPolicy,
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._cipher = cipher
        self._optics = optics
        self._policy = policy
        self._last: Picture | None = None
        self._next_ns = 0

    def offer(self, picture: Picture, unit: int, t_ns: int) -> None:
        """Make a thumbnail of a small picture, which is that of a unit, where one is due."""
        if t_ns < self._next_ns or not self._differs(picture):
            return
        self._last = picture
        self._next_ns = t_ns + self._policy.interval_ns
        data = self._optics.jpeg(picture, self._policy.quality)
        if self._cipher is not None:
            data = b"".join(self._cipher.seal(Place(PayloadKind.THUMBNAIL, unit), data))
        name = keys.thumbnail(unit, encrypted=self._cipher is not None)
        try:
            self._store.put(keys.blob_key(self._session_id, name), data)
        except (StoreError, ImmutableConflictError) as error:
            # Of a unit whose frame was lost, another worker may have made one of another picture.
            log.warning("ThumbnailLeftOut", unit=unit, error=str(error))

    def _differs(self, picture: Picture) -> bool:
        last = self._last
        if last is None or last.shape != picture.shape:
            return True
        if last is picture:
            return False
        other = np.abs(picture.astype(np.int16) - last).max(axis=2) > OTHER_LEVELS
        return float(other.mean()) >= self._policy.changed_share
