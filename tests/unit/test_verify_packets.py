"""What an insider may sign about a chunk of packets that is not so: both programs find it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import reference
from handmade_pieces import piece
from recording_files import write
from recordings import FRAME_NS, Recording

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.verify import Report, verify

Lie = Callable[[ChunkStored], ChunkStored]


def stamps(*units: int) -> list[int]:
    return [unit * FRAME_NS for unit in units]


def checked(plain: bytes, folder: Path, lie: Lie, raw_size: int = 80) -> tuple[Report, str]:
    """Two chunks of three units each, of which the second is not what it should be."""

    def packets(event: ChunkStored, size: int) -> ChunkStored:
        return msgspec.structs.replace(event, frames="fmp4", raw_size=size)

    first = piece(0, stamps(0, 1, 2))
    recording = Recording().open()
    recording.chunk(3, codec="stored", plain=first, change=lambda event: packets(event, 40))
    recording.chunk(
        3, codec="stored", plain=plain, change=lambda event: lie(packets(event, raw_size))
    )
    where = write(folder, recording.seal().sealed())
    return verify(FolderRecording(where)), str(reference.check(where)["verdict"])


GOOD = piece(3, stamps(3, 4)) + piece(5, stamps(5), keyframe=False)


def true(event: ChunkStored) -> ChunkStored:
    return event


def test_two_pieces_that_are_as_signed_are_whole(tmp_path: Path) -> None:
    ours, theirs = checked(GOOD, tmp_path, true, raw_size=50)
    assert (str(ours.verdict), theirs) == ("COMPLETE", "COMPLETE"), ours


LIES: dict[str, tuple[bytes, int, Lie]] = {
    "bytes of samples": (GOOD, 51, true),
    "a unit less": (piece(3, stamps(3, 4)), 30, true),
    "a unit more": (piece(3, stamps(3, 4, 5, 5)), 50, true),
    "other units": (piece(4, stamps(3, 4, 5)), 40, true),
    "a time behind the span": (piece(3, stamps(3, 4, 6)), 40, true),
    "a time before the span": (piece(3, stamps(2, 4, 5)), 40, true),
    "times that step back": (piece(3, stamps(3, 5, 4)), 40, true),
    "a delta where a keyframe is signed": (piece(3, stamps(3, 4, 5), keyframe=False), 40, true),
    "a keyframe where a delta is signed": (
        piece(3, stamps(3, 4, 5)),
        40,
        lambda event: msgspec.structs.replace(event, keyframe=False, keyframe_index=1),
    ),
    "pictures where packets are signed": (b"\1\1" + bytes(60), 40, true),
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_both_programs_find_what_is_not_as_signed(lie: str, tmp_path: Path) -> None:
    plain, raw_size, change = LIES[lie]
    ours, theirs = checked(plain, tmp_path, change, raw_size)
    assert (str(ours.verdict), theirs) == ("TAMPERED", "TAMPERED"), ours


def test_a_piece_of_another_version_is_unsupported(tmp_path: Path) -> None:
    later = bytearray(piece(3, stamps(3, 4, 5), keyframe=True))
    later[later.index(b"session-recorder") + 16] = 2
    ours, theirs = checked(bytes(later), tmp_path, true, 40)
    assert (str(ours.verdict), theirs) == ("UNSUPPORTED", "UNSUPPORTED"), ours
