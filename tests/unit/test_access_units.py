"""What is taken for one packet, and what a publisher is told of all else."""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from films import SIZE, encoded, write_film
from packet_publisher import Unit, units_of

from recorder_worker.adapters.sources.access_units import AccessUnits
from recorder_worker.adapters.sources.tracks import Tracks
from recorder_worker.core.errors import RefusedError, UndecodableError
from recorder_worker.core.frame_messages import MOST_LATER_NS, frame_headers, packet_headers
from recorder_worker.core.packets.slices import begins_picture, goes_on

PIXELS = SIZE[0] * SIZE[1]
CODECS = {"video/H264": "h264", "video/H265": "hevc", "image/jpeg": "mjpeg"}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    return units_of(write_film(tmp_path_factory.mktemp("film") / "a.mp4", audio=None))


def checked(check: AccessUnits, data: bytes, codec: str = "h264", *, broken: bool = False) -> bool:
    return check.check(codec, data, broken=broken)[0]


@pytest.mark.parametrize(
    ("encoder", "codec", "options"),
    [
        ("libx264", "h264", {"x264-params": "slices=4:aud=1"}),
        ("libx265", "hevc", {"x265-params": "slices=2:aud=1:keyint=5:log-level=none"}),
    ],
)
def test_what_an_encoder_gives_is_taken_with_all_its_slices(
    encoder: str, codec: str, options: dict[str, str]
) -> None:
    check, found = AccessUnits("t", PIXELS), encoded(encoder, **options)
    assert [checked(check, data, codec) for data in found] == [n % 5 == 0 for n in range(10)]
    assert len({id(check.check(codec, found[0], broken=False)[1]) for _ in range(3)}) == 1
    tracks = check.check(codec, found[0], broken=False)[1]
    assert (tracks.codec, tracks.width, tracks.height, tracks.rate) == (codec, *SIZE, 10)
    second = found[1].rfind(b"\0\0\1")  # the last slice alone
    rest = found[1][second:]
    assert (begins_picture(codec, rest), goes_on(codec, rest)) == (False, True)
    with pytest.raises(RefusedError, match="slices that go on with another"):
        checked(check, rest, codec)
    with pytest.raises(RefusedError, match="got 2 of them"):
        checked(check, found[1] + found[2], codec)


def test_a_rate_that_nothing_tells_is_none() -> None:
    options = {"x265-params": "vui-timing-info=0:log-level=none"}
    first = encoded("libx265", **options)[0]
    assert AccessUnits("t", PIXELS).check("hevc", first, broken=False)[1].rate == 0


def test_a_keyframe_with_known_parameters_or_none_goes_on_with_the_same_tracks(
    units: list[Unit],
) -> None:
    check = AccessUnits("t", PIXELS)
    first = check.check("h264", units[0].data, broken=False)[1]
    assert check.check("h264", units[5].data, broken=False)[1] is first
    parts = units[10].data.split(b"\0\0\1")
    bare = b"\0\0\1" + next(part for part in parts if part and part[0] & 31 == 5)
    keyframe, tracks = check.check("h264", bare, broken=True)
    assert keyframe
    assert tracks is first
    with pytest.raises(UndecodableError, match="parameter sets in front of the first keyframe"):
        checked(AccessUnits("t", PIXELS), bare)


def test_what_builds_on_what_is_not_there_is_undecodable(units: list[Unit]) -> None:
    check = AccessUnits("t", PIXELS)
    with pytest.raises(UndecodableError, match="expected a keyframe"):
        checked(check, units[1].data)
    assert checked(check, units[0].data)
    assert not checked(check, units[1].data)
    with pytest.raises(UndecodableError):
        checked(check, units[2].data, broken=True)
    assert checked(check, units[5].data, broken=True)
    other = encoded("libx265", **{"x265-params": "log-level=none"})
    with pytest.raises(UndecodableError):
        checked(check, other[1], "hevc")
    assert checked(check, other[0], "hevc")
    with pytest.raises(UndecodableError):
        checked(check, units[6].data)


def test_larger_pictures_than_the_operator_allows_are_refused(units: list[Unit]) -> None:
    with pytest.raises(RefusedError, match=r"sources\.max_pixels"):
        checked(AccessUnits("t", PIXELS - 1), units[0].data)
    _, jpeg = cv2.imencode(".jpg", np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(RefusedError):
        checked(AccessUnits("t", PIXELS - 1), jpeg.tobytes(), "mjpeg")


def test_a_jpeg_is_a_keyframe_and_another_size_of_it_has_tracks_of_its_own() -> None:
    check = AccessUnits("t", PIXELS)
    found: list[Tracks] = []
    for height, width in ((64, 96), (64, 96), (48, 32)):
        _, jpeg = cv2.imencode(".jpg", np.full((height, width, 3), len(found), np.uint8))
        keyframe, tracks = check.check("mjpeg", jpeg.tobytes(), broken=True)
        assert keyframe
        assert (tracks.width, tracks.height) == (width, height)
        found.append(tracks)
    assert found[0] is found[1]
    assert found[1] is not found[2]
    for kind in ("png", "bmp"):
        _, other = cv2.imencode(f".{kind}", np.zeros((64, 96, 3), np.uint8))
        with pytest.raises(RefusedError, match="profile screen"):
            checked(check, other.tobytes(), "mjpeg")


def test_damage_is_refused_or_copied_and_nothing_else(units: list[Unit]) -> None:
    """Bytes of real packets changed, cut and joined, one behind the other."""
    random = np.random.default_rng(5)
    check, taken = AccessUnits("t", PIXELS), 0
    for number in range(600):
        data = bytearray(units[number % len(units)].data)
        for _ in range(random.integers(1, 9)):
            data[random.integers(0, len(data))] = random.integers(0, 256)
        cut = bytes(data[: random.integers(1, len(data) + 1)])
        codec = ("h264", "h264", "hevc", "mjpeg")[number % 4]
        with contextlib.suppress(RefusedError):
            keyframe, tracks = check.check(codec, cut, broken=bool(number % 2))
            taken += 1
            assert keyframe or not number % 2
            assert 0 < tracks.width * tracks.height <= PIXELS
    assert taken


# --- what the headers say -----------------------------------------------------------------------


def test_types_are_told_in_any_case_and_with_what_rtp_adds() -> None:
    for kind, codec in CODECS.items():
        for said in (kind, kind.lower(), f"{kind}; packetization-mode=1"):
            assert packet_headers({"content-TYPE": said}).codec == codec
    assert packet_headers({"Recorder-End": "1"}).end


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "Content-Type"),
        ({"Content-Type": "video/AV1"}, "Content-Type"),
        ({"Content-Type": "application/octet-stream"}, "Content-Type"),
        ({"Content-Type": "video/H264", "Recorder-Time": "-1"}, "Recorder-Time"),
        ({"Content-Type": "video/H264", "Recorder-Presentation-Time": "7"},
         "Recorder-Presentation-Time"),
        ({"Content-Type": "video/H264", "Recorder-Time": "8", "Recorder-Presentation-Time": "7"},
         "Recorder-Presentation-Time"),
        ({"Content-Type": "video/H264", "Recorder-Time": "8",
          "Recorder-Presentation-Time": str(9 + MOST_LATER_NS)}, "Recorder-Presentation-Time"),
    ],
)  # fmt: skip
def test_headers_that_tell_of_no_packet_are_refused(headers: dict[str, str], field: str) -> None:
    with pytest.raises(RefusedError) as refused:
        packet_headers(headers)
    assert refused.value.refusal.field == field
    assert refused.value.refusal.hint


@pytest.mark.parametrize("kind", ["video/H264", "video/h265", "audio/opus"])
def test_packets_among_frames_are_refused_with_the_profile_that_takes_them(kind: str) -> None:
    with pytest.raises(RefusedError, match="profile copy"):
        frame_headers({"Content-Type": kind}, 10, PIXELS)


def test_the_tracks_are_kept_when_the_input_is_gone(units: list[Unit]) -> None:
    """They write pieces that FFmpeg reads, long after the keyframe they were read of."""
    check = AccessUnits("t", PIXELS)
    tracks = [check.check("h264", unit.data, broken=False)[1] for unit in units][-1]
    with av.open(io.BytesIO(units[0].data), "r", format="h264") as container:
        assert container.streams.video[0].codec_context.width == tracks.width
    assert tracks.tick == Fraction(1, 10**6)
