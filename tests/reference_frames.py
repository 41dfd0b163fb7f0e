"""Chunks: from stored bytes to pixels, as docs/format.md has them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zstandard
from reference_format import Bytes, Problem, Record, h, need

Pointer = tuple[int, int, int, int, int, int, bytes]  # x, y, hot x, hot y, width, height, BGRA


class Player:
    """What one stream shows, frame after frame. The frames that were read are in `frames`."""

    def __init__(self, frames: list[dict[str, Any]]) -> None:
        self.frames = frames
        self.canvas: np.ndarray | None = None
        self.before: tuple[int, int, int] | None = None
        self.pointer: Pointer | None = None

    def play(self, record: Record, plain: bytes) -> None:
        span, source = record["span"], Bytes(plain)
        time, raw_size = span["t0_ns"], 0
        for nth in range(span["unit_count"]):
            header = struct.unpack(">BBHHQQQI", source.take(34))
            kind, encoding, width, height, unit, t_ns, wall_ns, size = header
            known_form = kind in {1, 2} and encoding in {1, 2}
            need(known_form, "a frame of an unknown kind", "UNSUPPORTED")
            need(unit == span["first_unit"] + nth, f"unit {unit}: number")
            need(nth > 0 or (kind == 1) == bool(record["keyframe"]), f"unit {unit}: keyframe")
            need(time <= t_ns < span["t1_ns"], f"unit {unit}: time")
            need(0 < width * height <= 2**27, f"unit {unit}: size of the picture")
            time, raw_size = t_ns, raw_size + width * height * 3
            follows = kind == 1 or self.before in {None, (width, height, encoding)}
            need(follows, f"unit {unit}: size or encoding without keyframe")
            self.before = (width, height, encoding)
            frame = {"unit": unit, "t_ns": t_ns, "wall_ns": wall_ns, "size": [width, height]}
            pixels = self.draw(kind == 1, encoding, Bytes(source.take(size)))
            self.frames.append({**frame, "pixels": pixels, "pointer": self.shown()})
        need(source.at == len(plain), "bytes behind the last frame")
        need(raw_size == record["raw_size"], "raw size")

    def shown(self) -> list[Any] | None:
        """The pointer, with BLAKE3 of its shape, or None where none is known."""
        if self.canvas is None or self.pointer is None:
            return None
        return [*self.pointer[:6], h(self.pointer[6]).hex()]

    def draw(self, keyframe: bool, encoding: int, payload: Bytes) -> str | None:
        """Apply a frame; BLAKE3 of the pixels, or None where they are not known."""
        assert self.before is not None
        width, height, _ = self.before
        rows, columns = -(-height // 64), -(-width // 64)
        if keyframe:
            self.canvas = np.zeros((rows * 64, columns * 64, 3), np.uint8)
            self.pointer = None
        tiles = 1
        if encoding == 2:
            parts = payload.take(1)[0]
            need(parts < 8, "unknown parts of a frame")
            self.point(parts >> 1, payload)
            tiles = parts & 1
        if tiles:
            bits = mask(payload, rows * columns)
            photos = mask(payload, rows * columns) if encoding == 2 else bits & 0
            need(encoding == 1 or bits.any(), "a part of tiles without any")
            need(not (photos & ~bits).any(), "a photo-like tile that did not change")
            self.tiles(payload, np.flatnonzero(bits), photos if encoding == 2 else None, columns)
        need(payload.at == len(payload.data), "the payload size of a frame")
        if self.canvas is None:
            return None
        outside = self.canvas[height:].any() or self.canvas[:, width:].any()
        need(not outside, "bytes outside the picture")
        return h(self.canvas[:height, :width].tobytes()).hex()

    def tiles(
        self, payload: Bytes, numbers: np.ndarray, photos: np.ndarray | None, columns: int
    ) -> None:
        for tile in numbers.tolist():
            y, x = tile // columns * 64, tile % columns * 64
            pixels = np.frombuffer(payload.take(64 * 64 * 3), np.uint8).reshape(64, 64, 3)
            if photos is not None:
                pixels = summed(pixels) if photos[tile] else pixels
                need(photo_like(pixels) == bool(photos[tile]), "a tile in the wrong form")
            if self.canvas is not None:
                old = self.canvas[y : y + 64, x : x + 64]
                need((old != pixels).any(), "a tile that did not change")
                self.canvas[y : y + 64, x : x + 64] = pixels

    def point(self, code: int, payload: Bytes) -> None:
        """Take what a frame says of the pointer. Without a keyframe only its form can be held."""
        known, old = self.canvas is not None, self.pointer
        if code == 1:
            need(not known or old is not None, "a pointer that was not known is gone")
            self.pointer = None
        elif code == 2:
            place = struct.unpack(">ii", payload.take(8))
            need(not known or old is not None, "a pointer without a shape")
            need(old is None or place != old[:2], "a pointer that did not move")
            self.pointer = None if old is None else (*place, *old[2:])
        elif code == 3:
            numbers = struct.unpack(">iiHHHH", payload.take(16))
            width, height = numbers[4:]
            need((width == 0) == (height == 0), "a shape with one side")
            need(width * height <= 2**20, "a shape of more than 2^20 pixels")
            shape: Pointer = (*numbers, payload.take(width * height * 4))
            need(old is None or shape[2:] != old[2:], "a shape that did not change")
            self.pointer = shape


def mask(payload: Bytes, tiles: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(payload.take(-(-tiles // 8)), np.uint8))
    need(not bits[tiles:].any(), "spare bits of a tile mask")
    return bits[:tiles]


def photo_like(pixels: np.ndarray) -> bool:
    """More than a quarter of the steps to the right, in every eighth row, are small."""
    rows = pixels[::8].astype(int)
    steps = abs(rows[:, 1:] - rows[:, :-1])
    steps = np.minimum(steps, 256 - steps)
    return int(((steps >= 1) & (steps <= 16)).sum()) > 378


def summed(stored: np.ndarray) -> np.ndarray:
    """The pixels of a tile that is stored as differences."""
    differences = stored.astype(int)
    differences[:, :, 0] += differences[:, :, 1]
    differences[:, :, 2] += differences[:, :, 1]
    return (differences.cumsum(axis=0).cumsum(axis=1) % 256).astype(np.uint8)


def inflate(stored: bytes, plain_size: int) -> bytes:
    need(stored[:4] == b"\x28\xb5\x2f\xfd", "not a zstd frame")
    try:
        facts = zstandard.get_frame_parameters(stored)
        need(facts.window_size <= 2**23, "a window of more than 2^23 bytes")
        need(facts.dict_id == 0, "a dictionary")
        need(facts.content_size in {plain_size, 2**64 - 1}, "another content size")
        inflater = zstandard.ZstdDecompressor(max_window_size=2**23).decompressobj()
        plain = b""
        for at in range(0, len(stored), 512):
            plain += inflater.decompress(stored[at : at + 512])
            need(len(plain) <= plain_size, "more plain bytes than declared")
            if inflater.eof:
                need(not inflater.unused_data and at + 512 >= len(stored), "bytes behind the frame")
        need(inflater.eof, "a frame without end")
    except zstandard.ZstdError as error:
        raise Problem("TAMPERED", "zstd") from error
    return plain
