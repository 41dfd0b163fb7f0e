"""Chunks of packets: fragmented MP4 and one box of the recorder's own, as docs/format.md says."""

from __future__ import annotations

import struct
from typing import Any

from reference_format import Record, need

MOST = {b"ftyp": 1024, b"moov": 1 << 20, b"uuid": 53 + 16 * 16384, b"moof": 4 << 20}


def read_packets(record: Record, plain: bytes) -> list[dict[str, Any]]:
    """The units of a chunk, each with its times; what is not as the document says is a problem."""
    span, time, raw = record["span"], record["span"]["t0_ns"], 0
    units: list[dict[str, Any]] = []
    found = split(plain, 0, len(plain))
    while found:
        headed = found[0][0] == b"ftyp"
        if headed:
            need([kind for kind, _ in found[:2]] == [b"ftyp", b"moov"], "ftyp without moov")
            check_moov(found[1][1])
            found = found[2:]
        need([kind for kind, _ in found[:3]] == [b"uuid", b"moof", b"mdat"], "boxes of a piece")
        (_, times), (_, moof), (_, mdat), *found = found
        need(mdat, "an empty mdat")
        first, stamps = read_times(times)
        count, keyframe, size = read_moof(moof, mdat)
        need(first == span["first_unit"] + len(units), f"unit {first}: number")
        need(count == len(stamps), f"unit {first}: samples")
        need(keyframe == headed, f"unit {first}: ftyp and moov")
        need(units or keyframe == bool(record["keyframe"]), f"unit {first}: keyframe")
        for t_ns, wall_ns in stamps:
            need(time <= t_ns < span["t1_ns"], f"unit {first + len(units)}: time")
            time = t_ns
            unit = span["first_unit"] + len(units)
            units.append({"unit": unit, "t_ns": t_ns, "wall_ns": wall_ns, "size": [0, 0]})
            units[-1]["pixels"] = None
        raw += size
    need(len(units) == span["unit_count"], "number of units")
    need(raw == record["raw_size"], "raw size")
    return units


def split(data: bytes, at: int, end: int) -> list[tuple[bytes, bytes]]:
    """Type and contents of each box."""
    found = []
    while at < end:
        need(end - at >= 8, "bytes behind the last box")
        size, kind = struct.unpack_from(">I4s", data, at)
        need(8 <= size <= end - at, "the size of a box")
        need(size <= MOST.get(kind, 1 << 31), "a box that is too long")
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def inside(data: bytes) -> list[tuple[bytes, bytes]]:
    return split(data, 0, len(data))


def check_moov(moov: bytes) -> None:
    handlers, kinds = {}, [kind for kind, _ in inside(moov)]
    need(b"mvex" in kinds, "a moov without mvex")
    for kind, trak in inside(moov):
        if kind != b"trak":
            continue
        track, handler = 0, b""
        for part, data in inside(trak):
            if part == b"tkhd":
                track = int.from_bytes(data[20:24] if data[0] else data[12:16])
            if part == b"mdia":
                handler = next((d[8:12] for k, d in inside(data) if k == b"hdlr"), b"")
                check_no_samples([d for k, d in inside(data) if k == b"minf"])
        need(track not in handlers, "two tracks of one number")
        handlers[track] = handler
    need(handlers.get(1) == b"vide", "track 1 is no video")
    need(sorted(handlers.values()).count(b"vide") == 1, "two videos")


def check_no_samples(minfs: list[bytes]) -> None:
    for tables in (data for minf in minfs for kind, data in inside(minf) if kind == b"stbl"):
        for kind, data in inside(tables):
            if kind in (b"stco", b"co64"):
                need(data[4:8] == bytes(4), "samples in a moov")
            if kind in (b"stsz", b"stz2"):
                need(data[8:12] == bytes(4), "samples in a moov")


def read_times(box: bytes) -> tuple[int, list[tuple[int, int]]]:
    need(len(box) >= 45 and box[:16] == b"session-recorder", "a uuid of another")
    need(box[16] == 1, "a uuid of another version", "UNSUPPORTED")
    first, _, num, den, count = struct.unpack_from(">QqIII", box, 17)
    need(num > 0 and den > 0, "a tick of no length")
    need(1 <= count <= 16384 and len(box) == 45 + 16 * count, "the length of a uuid")
    return first, [struct.unpack_from(">QQ", box, 45 + 16 * n) for n in range(count)]


def read_moof(moof: bytes, mdat: bytes) -> tuple[int, bool, int]:
    """Samples of the video, whether the first is a keyframe, and the bytes of all samples."""
    head, *trafs = inside(moof)
    need(head[0] == b"mfhd" and {kind for kind, _ in trafs} == {b"traf"}, "boxes of a moof")
    tracks: dict[int, tuple[int, bool]] = {}
    at, total = len(moof) + 16, 0
    for _, traf in trafs:
        parts = inside(traf)
        need([kind for kind, _ in parts] == [b"tfhd", b"tfdt", b"trun"], "boxes of a traf")
        (_, tfhd), (_, tfdt), (_, trun) = parts
        need(len(tfdt) == 12 and tfdt[:4] == b"\1\0\0\0", "a tfdt")
        flags, track = struct.unpack_from(">II", tfhd)
        need(flags & 0x20000 and not flags & ~0x2003A, "flags of a tfhd")
        names = [bit for bit in (0x02, 0x08, 0x10, 0x20) if flags & bit]
        need(len(tfhd) == 8 + 4 * len(names), "the length of a tfhd")
        default = dict(zip(names, struct.unpack_from(f">{len(names)}I", tfhd, 8), strict=True))
        has, count, offset = struct.unpack_from(">III", trun)
        version, has = has >> 24, has & 0xFFFFFF
        need(
            version <= 1 and has & 1 and not has & ~0xF05 and has & 0x404 != 0x404,
            "flags of a trun",
        )
        start = 12 + (4 if has & 4 else 0)
        fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if has & bit]
        need(
            0 < count <= 1 << 20 and len(trun) == start + 4 * len(fields) * count,
            "the length of a trun",
        )
        rows = (
            [
                dict(zip(fields, struct.unpack_from(f">{len(fields)}I", trun, at_), strict=True))
                for at_ in range(start, len(trun), 4 * len(fields))
            ]
            if fields
            else []
        )
        size = sum(row[0x200] for row in rows) if has & 0x200 else default.get(0x10, 0) * count
        sync = default.get(0x20, 0)
        if has & 4:
            sync = int.from_bytes(trun[12:16])
        if has & 0x400:
            sync = rows[0][0x400]
        need(offset == at, "where the samples of a track begin")
        need(track not in tracks, "a track that is twice in a moof")
        tracks[track] = (count, not sync & 0x10000)
        at, total = at + size, total + size
    need(total == len(mdat), "bytes of an mdat that are no sample's")
    need(1 in tracks, "a piece without video")
    return *tracks[1], total
