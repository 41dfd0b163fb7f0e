"""Frame records as docs/format.md has them, byte by byte, sharing nothing with the encoder."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from recorder_worker.core.frames.pictures import Picture, Pointer


def literal_record(
    picture: Picture,
    previous: Picture,
    *,
    keyframe: bool,
    pointer: Pointer | None = None,
    pointer_before: Pointer | None = None,
    numbers: Sequence[int] = (7, 8, 9),
) -> bytes:
    """One record of encoding 2. `numbers` are unit, t_ns and wall_ns."""
    height, width = picture.shape[:2]
    bits, photos, tiles = "", "", b""
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            here = picture[top : top + 64, left : left + 64]
            before = previous[top : top + 64, left : left + 64]
            differs = here.tobytes() != before.tobytes()
            whole = np.zeros((64, 64, 3), np.int64)
            whole[: here.shape[0], : here.shape[1]] = here
            photo = differs and is_photo(whole)
            bits, photos = bits + "01"[differs], photos + "01"[photo]
            if differs:
                tiles += (differences(whole) if photo else whole).astype(np.uint8).tobytes()
    pointer_before = None if keyframe else pointer_before
    code, said = literal_pointer(pointer, pointer_before)
    payload = bytes([code * 2 + ("1" in bits)]) + said
    if "1" in bits:
        payload += bitmap(bits) + bitmap(photos) + tiles
    kind = 1 if keyframe else 2
    return struct.pack(">BBHHQQQI", kind, 2, width, height, *numbers, len(payload)) + payload


def bitmap(bits: str) -> bytes:
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def is_photo(tile: np.ndarray) -> bool:
    small = 0
    for row in range(0, 64, 8):
        steps = (tile[row, 1:] - tile[row, :-1]) % 256
        small += int(np.isin(steps, [*range(1, 17), *range(240, 256)]).sum())
    return small > 378


def differences(tile: np.ndarray) -> np.ndarray:
    around = np.zeros((65, 65, 3), np.int64)
    around[1:, 1:] = tile
    d = around[1:, 1:] - around[1:, :-1] - around[:-1, 1:] + around[:-1, :-1]
    return np.stack([d[..., 0] - d[..., 1], d[..., 1], d[..., 2] - d[..., 1]], axis=2) % 256


def literal_pointer(pointer: Pointer | None, before: Pointer | None) -> tuple[int, bytes]:
    if pointer is None:
        return (0 if before is None else 1), b""
    place = struct.pack(">ii", pointer.x, pointer.y)
    shape = literal_shape(pointer)
    if before is None or shape != literal_shape(before):
        return 3, place + shape
    moved = (pointer.x, pointer.y) != (before.x, before.y)
    return (2, place) if moved else (0, b"")


def literal_shape(pointer: Pointer) -> bytes:
    height, width = pointer.shape.shape[:2] if pointer.shape.size else (0, 0)
    return (
        struct.pack(">HHHH", pointer.hot_x, pointer.hot_y, width, height) + pointer.shape.tobytes()
    )


def literal_old_record(picture: Picture, previous: Picture, *, keyframe: bool, unit: int) -> bytes:
    """One record of encoding 1, which recordings of older builds have."""
    height, width = picture.shape[:2]
    bits, tiles = "", b""
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            here = picture[top : top + 64, left : left + 64]
            differs = here.tobytes() != previous[top : top + 64, left : left + 64].tobytes()
            bits += "01"[differs]
            if differs:
                whole = np.zeros((64, 64, 3), np.uint8)
                whole[: here.shape[0], : here.shape[1]] = here
                tiles += whole.tobytes()
    payload = bitmap(bits) + tiles
    kind = 1 if keyframe else 2
    return struct.pack(">BBHHQQQI", kind, 1, width, height, unit, 0, 0, len(payload)) + payload
