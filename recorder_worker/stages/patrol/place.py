"""Where the patrol was, and what it found: one small file in the store, for all workers.

Whoever has it walks on; who finds that nobody has moved it for a while takes it over. It is no
lock: two that walk at once read the same chunks twice, and tell each damage under the same id.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core import keys
from recorder_worker.core.errors import BlobMissingError
from recorder_worker.core.model import Count, Nanoseconds, Wire
from recorder_worker.ports import BlobStore
from recorder_worker.stages.patrol.chunk_check import Problem

MAX_DAMAGED = 1000
STALE_NS = 60_000_000_000
"""A worker that has not moved the place for so long is taken to be gone."""


class Damage(Wire, frozen=True, kw_only=True):
    """A chunk that is not what was stored, by its key; `found` in words, as it is told.

    `told` false: it was found, and whoever did had not told it when he wrote this down.
    """

    key: str
    found: str
    problem: Problem = "damaged"
    told: bool = True


class Place(Wire, frozen=True, kw_only=True):
    """How far a round has come.

    Attributes:
        worker: whose it is now, and when he moved it last.
        round: of the recorder's patrols, from 1.
        session_id: the session whose chunks up to record `index` were read; empty: none yet.
        finished_ns: when the last round ended; 0: none did.
        damaged: chunks that are damaged now, the first `MAX_DAMAGED`.
    """

    v: int = 1
    worker: str = ""
    moved_ns: Nanoseconds = 0
    round: Count = 0
    session_id: str = ""
    index: Count = 0
    finished_ns: Nanoseconds = 0
    damaged: tuple[Damage, ...] = ()

    def is_mine(self, worker: str, now_ns: int) -> bool:
        """Whether this worker walks, or may begin to: nobody else moved it just now."""
        stale = not 0 <= now_ns - self.moved_ns < STALE_NS
        return self.worker == worker or stale

    def damage_of(self, key: str) -> Damage | None:
        """What is known to be wrong with a chunk; None: nothing."""
        return next((damage for damage in self.damaged if damage.key == key), None)

    def with_damage(self, damage: Damage) -> Place:
        """With what was found of a chunk."""
        return msgspec.structs.replace(
            self, damaged=(*self.without(damage.key).damaged, damage)[-MAX_DAMAGED:]
        )

    def without(self, prefix: str) -> Place:
        """Knowing nothing of a chunk, or of those below a prefix: good, or not here any more."""
        others = (
            damage
            for damage in self.damaged
            if damage.key != prefix and not damage.key.startswith(f"{prefix}/")
        )
        return msgspec.structs.replace(self, damaged=tuple(others))


_PLACE = msgspec.json.Decoder(Place)


def read_place(store: BlobStore) -> Place:
    """The place; that of a patrol that never was, where there is none or it cannot be read."""
    try:
        return _PLACE.decode(store.get(keys.PATROL_PLACE))
    except (BlobMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return Place()


def write_place(store: BlobStore, place: Place) -> None:
    """Put it where all workers find it. Raises StoreError."""
    store.replace(keys.PATROL_PLACE, msgspec.json.encode(place) + b"\n")
