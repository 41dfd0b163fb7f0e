"""Chunks: from stored bytes to pixels, as docs/format.md has them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zstandard
from reference_format import Bytes, Problem, Record, h, need


class Player:
    """What one stream shows, frame after frame. The frames that were read are in `frames`."""

    def __init__(self, frames: list[dict[str, Any]]) -> None:
        self.frames = frames
        self.canvas: np.ndarray | None = None
        self.size = (0, 0)

    def play(self, record: Record, plain: bytes) -> None:
        span, source = record["span"], Bytes(plain)
        time, raw_size = span["t0_ns"], 0
        for nth in range(span["unit_count"]):
            header = struct.unpack(">BBHHQQQI", source.take(34))
            kind, encoding, width, height, unit, t_ns, wall_ns, size = header
            need(kind in {1, 2} and encoding == 1, "a frame of an unknown kind", "UNSUPPORTED")
            need(unit == span["first_unit"] + nth, f"unit {unit}: number")
            need(nth > 0 or (kind == 1) == bool(record["keyframe"]), f"unit {unit}: keyframe")
            need(time <= t_ns < span["t1_ns"], f"unit {unit}: time")
            need(0 < width * height <= 2**27, f"unit {unit}: size of the picture")
            time, raw_size = t_ns, raw_size + width * height * 3
            need(kind == 1 or self.same_size(width, height), f"unit {unit}: size without keyframe")
            self.size = (width, height)
            frame = {"unit": unit, "t_ns": t_ns, "wall_ns": wall_ns, "size": [width, height]}
            pixels = self.draw(kind == 1, Bytes(source.take(size)))
            self.frames.append({**frame, "pixels": pixels})
        need(source.at == len(plain), "bytes behind the last frame")
        need(raw_size == record["raw_size"], "raw size")

    def same_size(self, width: int, height: int) -> bool:
        return self.canvas is None or self.size == (width, height)

    def draw(self, keyframe: bool, payload: Bytes) -> str | None:
        """Apply the tiles of a frame; BLAKE3 of the pixels, or None where they are not known."""
        width, height = self.size
        rows, columns = -(-height // 64), -(-width // 64)
        if keyframe:
            self.canvas = np.zeros((rows * 64, columns * 64, 3), np.uint8)
        bits = np.unpackbits(np.frombuffer(payload.take(-(-rows * columns // 8)), np.uint8))
        need(not bits[rows * columns :].any(), "spare bits of a tile mask")
        left = len(payload.data) - payload.at
        need(left == int(bits.sum()) * 64 * 64 * 3, "the payload size of a frame")
        if self.canvas is None:
            return None
        for tile in np.flatnonzero(bits):
            y, x = int(tile) // columns * 64, int(tile) % columns * 64
            pixels = np.frombuffer(payload.take(64 * 64 * 3), np.uint8).reshape(64, 64, 3)
            old = self.canvas[y : y + 64, x : x + 64]
            need((old != pixels).any(), "a tile that did not change")
            self.canvas[y : y + 64, x : x + 64] = pixels
        outside = self.canvas[height:].any() or self.canvas[:, width:].any()
        need(not outside, "bytes outside the picture")
        return h(self.canvas[:height, :width].tobytes()).hex()


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
