"""Pictures to stored chunks and back, as the stages do it, in one loop without store and bus."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec
import zstandard

from benchmarks.video_codecs import FPS
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.keyframes import KeyframePolicy, KeyframeState
from recorder_worker.core.frames.pictures import Picture, Region
from recorder_worker.core.frames.playback import FrameDecoder
from recorder_worker.core.frames.seeking import FrameSeeker
from recorder_worker.core.frames.tiles import TILE, Bands, changed_tiles, runs
from recorder_worker.service.settings.tree import CaptureSettings, ChunkSettings, CompressSettings
from recorder_worker.stages.payload import chunk_parameters

FRAME_NS = 10**9 // FPS
PIECE_SIZE = 256 * 1024
Changes = Sequence[tuple[Region, ...] | None]


class Chunk(msgspec.Struct, frozen=True):
    """A stored chunk; `unit` is its first."""

    unit: int
    keyframe: bool
    stored: bytes


class Recorded(msgspec.Struct, frozen=True):
    """What was stored of a clip."""

    chunks: list[Chunk]

    @property
    def stored_size(self) -> int:
        """Bytes of all chunks."""
        return sum(len(chunk.stored) for chunk in self.chunks)


class ScreenCodec:
    """Frame encoder, segments in the spool, and chunks of them, with the settings' defaults."""

    def __init__(self) -> None:
        capture, chunk, compress = CaptureSettings(), ChunkSettings(), CompressSettings()
        self._segment_frames = round(capture.segment_s * FPS)
        self._chunk_ns = round(chunk.duration_s * 1e9)
        self._spool = zstandard.ZstdCompressor(level=capture.spool_level)
        self._parameters = chunk_parameters(compress.level, compress.window_log)
        self._chunks: list[Chunk] = []
        self._open: list[bytes] = []
        self._plain_size = 0
        self._begin = (0, True)

    def record(self, pictures: Sequence[Picture], changed: Changes | None = None) -> Recorded:
        """Code and compress all pictures; `changed` says of each what a source knows."""
        encoder, policy, state = FrameEncoder(), KeyframePolicy(), KeyframeState()
        for first in range(0, len(pictures), self._segment_frames):
            keyframe = state.due(policy, first * FRAME_NS)
            plain = bytearray()
            for unit in range(first, min(first + self._segment_frames, len(pictures))):
                plain += encoder.encode(
                    pictures[unit],
                    unit=unit,
                    t_ns=unit * FRAME_NS,
                    wall_ns=unit * FRAME_NS,
                    keyframe=keyframe and unit == first,
                    changed=changed[unit] if changed else None,
                ).data
            stored = self._spool.compress(plain)
            state = state.after(
                keyframe=keyframe,
                t0_ns=first * FRAME_NS,
                plain_size=len(plain),
                stored_size=len(stored),
            )
            self._add(first, stored, keyframe=keyframe)
            self._plain_size += len(plain)
        self._close()
        return Recorded(self._chunks)

    def _add(self, unit: int, stored: bytes, *, keyframe: bool) -> None:
        if keyframe or (unit - self._begin[0]) * FRAME_NS >= self._chunk_ns:
            self._close()
            self._begin = (unit, keyframe)
        self._open.append(stored)

    def _close(self) -> None:
        if not self._open:
            return
        inflate = zstandard.ZstdDecompressor()
        compressor = zstandard.ZstdCompressor(compression_params=self._parameters)
        stream = compressor.compressobj(size=self._plain_size)
        pieces = [stream.compress(inflate.decompress(stored)) for stored in self._open]
        self._chunks.append(Chunk(*self._begin, b"".join([*pieces, stream.flush()])))
        self._open, self._plain_size = [], 0


def changes(pictures: Sequence[Picture]) -> Changes:
    """What a source that knows its changes says: a region for each run of tiles in a row."""
    told: list[tuple[Region, ...] | None] = [None]
    for before, here in itertools.pairwise(pictures):
        tiles = changed_tiles(Bands(here), before.reshape(len(before), -1))
        regions = []
        for row, flags in enumerate(tiles):
            for begin, end in runs(flags):
                left, top = begin * TILE, row * TILE
                width = min(end * TILE, here.shape[1]) - left
                regions.append(Region(left, top, width, min(TILE, len(here) - top)))
        told.append(tuple(regions))
    return told


def decoded_chunks(chunks: Sequence[Chunk]) -> Iterator[Picture]:
    """The pictures of stored chunks; each is valid until the next one."""
    decoder = FrameDecoder()
    for chunk in chunks:
        for frame in decoder.feed(zstandard.ZstdDecompressor().decompress(chunk.stored)):
            yield frame.picture
    decoder.finish()


def seek(chunks: Sequence[Chunk], unit: int) -> Picture:
    """One picture, from the keyframe before it on."""
    last = max(n for n, chunk in enumerate(chunks) if chunk.unit <= unit)
    first = max(n for n in range(last + 1) if chunks[n].keyframe)
    seeker = FrameSeeker(unit)
    for chunk in chunks[first : last + 1]:
        with zstandard.ZstdDecompressor().stream_reader(chunk.stored) as reader:
            while piece := reader.read(PIECE_SIZE):
                if frame := seeker.feed(piece):
                    return frame.picture
    raise SystemExit(f"unit {unit}: expected it in its chunk")
