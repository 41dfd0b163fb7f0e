"""One picture of a recording of packets, as FFmpeg decodes it."""

from __future__ import annotations

from recorder_worker.adapters.film.packet_picture import packet_picture
from recorder_worker.core.cipher.session_cipher import SessionCipher
from recorder_worker.core.errors import FormatError
from recorder_worker.core.frames.playback import DecodedFrame
from recorder_worker.core.reading.packet_finder import PacketFinder
from recorder_worker.core.verify.reader import RecordingReader


def packet_frame(
    recording: RecordingReader, cipher: SessionCipher | None, t_ns: int | None, unit: int
) -> DecodedFrame:
    """The picture of a session time, in ns, or where there is none, of a unit.

    Raises:
        RefusedError: nothing was recorded then, or it is encrypted and no cipher is given.
        FormatError: it cannot be decoded.
        RecorderError: a chunk is damaged, or cannot be read.
    """
    finder = PacketFinder(recording, cipher)
    place = finder.at_unit(unit) if t_ns is None else finder.at_time(t_ns)
    wanted = place.unit - place.first_unit
    picture = None
    # Of an open group of pictures the first ones need the group before, which may be there.
    for begin in dict.fromkeys((place.keyframe_unit - place.first_unit, 0)):
        picture = packet_picture(finder.plain(place), place.name, begin, wanted)
        if picture is not None:
            height, width, _ = picture.shape
            return DecodedFrame(
                keyframe=place.unit == place.keyframe_unit,
                unit=place.unit,
                t_ns=place.t_ns,
                wall_ns=place.wall_ns,
                width=width,
                height=height,
                picture=picture,
                pointer=None,
            )
    raise FormatError(
        f"{place.name}: expected a picture in the packet of unit {place.unit}, none is decoded; "
        "choose a time a little later, or play the chunk"
    )
