"""Any picture by its unit or time is the one that playing the recording gives."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from blake3 import blake3
from recording_files import FilesReader
from recordings import FRAME_NS, Recording, whole

from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import (
    BlobDamagedError,
    FormatError,
    RefusedError,
    UnsupportedError,
)
from recorder_worker.core.events import ChunkStored
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.header import HEADER_SIZE, unpack_header
from recorder_worker.core.frames.pictures import Picture
from recorder_worker.core.frames.seeking import FrameSeeker
from recorder_worker.core.model import GapReason
from recorder_worker.core.reading.checked_chunk import check_stored, playable_format
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.reading.picture_finder import PictureFinder
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.leaves import ChunkRecord


def resized() -> Recording:
    """Two sizes, a gap, and deltas over three chunks."""
    made = Recording().open().chunk(3).chunk(2, keyframe=False).chunk(4, keyframe=False)
    made.gap(2).chunk(2, size=(130, 129)).chunk(1, keyframe=False, size=(130, 129))
    return made.chunk(2, codec="stored").seal()


def played(recording: Recording) -> Iterator[tuple[int, int, bytes]]:
    for frame in recording_frames(FilesReader(recording.sealed())):
        yield frame.unit, frame.t_ns, frame.picture.tobytes()


@pytest.mark.parametrize("make", [whole, resized])
def test_every_picture_is_found_by_unit_and_by_time(make: object) -> None:
    assert callable(make)
    recording: Recording = make()
    finder = PictureFinder(FilesReader(recording.sealed()))
    frames = list(played(recording))
    assert len(frames) >= 10
    for unit, t_ns, pixels in reversed(frames):
        for found in (finder.at_unit(unit), finder.at_time(t_ns), finder.at_time(t_ns + 1)):
            assert (found.unit, found.t_ns) == (unit, t_ns)
            assert found.picture.tobytes() == pixels
            assert found.picture.shape == (found.height, found.width, 3)


def test_a_recording_that_goes_on_is_looked_into_as_far_as_it_is() -> None:
    recording = Recording().open().chunk(3).chunk(3, keyframe=False)
    finder = PictureFinder(FilesReader(recording.journal()))
    assert np.array_equal(finder.at_unit(5).picture, recording.pictures[5])


class Counting(FilesReader):
    """Counts the chunks that were read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.read_names: list[str] = []

    def stream(self, name: str) -> Iterator[bytes]:
        self.read_names.append(name)
        return super().stream(name)


def test_only_the_chunks_that_a_picture_needs_are_read() -> None:
    reader = Counting(resized().sealed())
    finder = PictureFinder(reader)
    reader.read_names.clear()
    finder.at_unit(1)
    assert set(reader.read_names) == {"chunks/0000000001.zst"}
    finder.at_unit(8)
    assert {name[-8:] for name in reader.read_names} == {"0001.zst", "0002.zst", "0003.zst"}


@pytest.mark.parametrize(
    ("t_ns", "said"),
    [
        (9 * FRAME_NS, "0.9 s, in a gap from 0.9 s to 1.1 s (pause)"),
        (16 * FRAME_NS, "one inside of what was recorded"),
        (-1, "one inside of what was recorded"),
    ],
)
def test_times_without_a_picture_are_refused(t_ns: int, said: str) -> None:
    finder = PictureFinder(FilesReader(resized().sealed()))
    with pytest.raises(RefusedError) as refused:
        finder.at_time(t_ns)
    assert said in str(refused.value)


@pytest.mark.parametrize("unit", [9, 10, 16])
def test_units_that_were_not_recorded_are_refused(unit: int) -> None:
    with pytest.raises(RefusedError, match="unit: expected"):
        PictureFinder(FilesReader(resized().sealed())).at_unit(unit)


def test_a_chunk_that_was_changed_is_not_decoded() -> None:
    files = resized().sealed()
    files["chunks/0000000001.zst"] = files["chunks/0000000001.zst"][:-1] + b"\0"
    finder = PictureFinder(FilesReader(files))
    with pytest.raises(BlobDamagedError, match="it was changed"):
        finder.at_unit(8)
    assert finder.at_unit(11).unit == 11


def test_what_builds_on_a_lost_chunk_is_refused() -> None:
    made = Recording().open().chunk(2).gap(2, GapReason.DEAD_LETTER)
    made.chunk(2, keyframe=False).seal()
    with pytest.raises(FormatError, match="builds on chunk 1, which is not there"):
        PictureFinder(FilesReader(made.sealed())).at_unit(4)


def test_an_encrypted_picture_needs_the_key() -> None:
    cipher = SessionCipher(Recording().session_id, bytes(range(32)))

    def seal(event: ChunkStored) -> ChunkStored:
        plain = Recording().open().chunk(3, codec="stored").files["chunks/0000000001.raw"]
        stored = b"".join(cipher.seal(Place(PayloadKind.CHUNK, event.index), plain))
        sealed_bytes.append(stored)
        return msgspec.structs.replace(
            event,
            cipher="chacha20-poly1305",
            name=f"{event.name}.enc",
            plain_blake3=cipher.hasher().update(plain).hexdigest(),
            stored_size=len(stored),
            stored_blake3=blake3(stored).hexdigest(),
        )

    sealed_bytes: list[bytes] = []
    recording = Recording().open().chunk(3, codec="stored", change=seal)
    files = recording.journal() | {"chunks/0000000001.raw.enc": sealed_bytes[0]}
    found = PictureFinder(FilesReader(files), cipher).at_unit(2)
    assert np.array_equal(found.picture, recording.pictures[2])
    with pytest.raises(RefusedError, match="--identity"):
        PictureFinder(FilesReader(files)).at_unit(2)


def chunk_record(recording: Recording) -> ChunkRecord:
    record = decode_record(recording.records[1])
    assert isinstance(record, ChunkRecord)
    return record


def test_frames_of_an_unknown_format_are_refused() -> None:
    record = msgspec.structs.replace(chunk_record(whole()), frames="h264-fmp4")
    with pytest.raises(UnsupportedError, match="found h264-fmp4"):
        playable_format(record)


def test_a_longer_file_is_not_read_to_its_end() -> None:
    recording = whole()
    record = chunk_record(recording)
    files = recording.sealed()
    files["chunks/0000000001.zst"] += bytes(1000)
    with pytest.raises(BlobDamagedError, match="found more"):
        check_stored(FilesReader(files, piece_size=10), record)


# --- one stream ----------------------------------------------------------------------------------


def encoded(pictures: list[Picture]) -> bytes:
    encoder = FrameEncoder()
    return b"".join(
        encoder.encode(picture, unit=unit, t_ns=0, wall_ns=0, keyframe=unit == 5).data
        for unit, picture in enumerate(pictures)
    )


def test_seeking_gives_the_picture_of_its_unit_out_of_any_pieces() -> None:
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (100, 150, 3), np.uint8) for _ in range(2)]
    for _ in range(6):
        near = pictures[-1].copy()
        near[rng.integers(100), rng.integers(150)] ^= 255
        pictures.append(near)
    data = encoded(pictures)
    for unit, size in ((0, 1000), (4, 1000), (5, 10**7), (7, 777)):
        seeker = FrameSeeker(unit)
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        found = next(frame for piece in pieces if (frame := seeker.feed(piece)))
        assert np.array_equal(found.picture, pictures[unit])
        assert (found.unit, found.keyframe) == (unit, unit in {0, 5})


def test_a_stream_that_is_wrong_is_refused() -> None:
    data = encoded([np.full((64, 64, 3), 255, np.uint8)] * 2)
    wrong = bytearray(data)
    wrong[HEADER_SIZE] = 0
    with pytest.raises(FormatError):
        FrameSeeker(1).feed(bytes(wrong))
    first = HEADER_SIZE + unpack_header(data).payload_size
    with pytest.raises(FormatError, match="from its keyframe on"):
        FrameSeeker(1).feed(data[first:])
    late = FrameEncoder().encode(
        np.zeros((64, 64, 3), np.uint8), unit=5, t_ns=0, wall_ns=0, keyframe=True
    )
    with pytest.raises(FormatError, match="expected unit 3"):
        FrameSeeker(3).feed(late.data)
