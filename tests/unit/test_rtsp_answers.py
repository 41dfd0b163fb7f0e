"""What a server answers before it plays: each way to send FFmpeg elsewhere is named here."""

from __future__ import annotations

import pytest

from recorder_worker.adapters.sources.rtsp.answers import MAX_BODY, MAX_LINE, MAX_LINES, Answers
from recorder_worker.core.errors import FormatError, SourceForbiddenError

OPTIONS = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n"
SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=tool:Location: none of a head\r\n"
DESCRIBED = (
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s"
    % (len(SDP), SDP)
)
ELSEWHERE = b"Location: rtsp://127.0.0.1:554/x\r\n\r\n"


def answers() -> Answers:
    return Answers("rtsp server camera:554", "192.0.2.7")


def refused(data: bytes) -> type[Exception] | None:
    """What it says of an answer, whole and byte by byte."""
    said: list[type[Exception] | None] = []
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        feed = answers()
        found: type[Exception] | None = None
        try:
            for piece in pieces:
                feed.feed(piece)
        except (FormatError, SourceForbiddenError) as error:
            found = type(error)
        said.append(found)
    assert said[0] is said[1]
    return said[0]


def test_answers_come_through_as_they_are_in_pieces_of_any_size() -> None:
    whole = OPTIONS + DESCRIBED + b"REDIRECT * RTSP/1.0\r\nCSeq: 3\r\n\r\n" + OPTIONS
    for size in (1, 7, len(whole)):
        feed = answers()
        got = b"".join(feed.feed(whole[at : at + size]) for at in range(0, len(whole), size))
        assert got == whole
        assert feed.rest() == b""


def test_what_is_kept_back_when_it_plays_is_not_lost() -> None:
    feed = answers()
    assert feed.feed(OPTIONS + b"RTSP/1.0 2") == OPTIONS
    assert feed.rest() == b"RTSP/1.0 2"


@pytest.mark.parametrize(
    "first",
    [
        b"RTSP/1.0 302 Found",
        b"RTSP/1.1 301",
        b"RTSP/2.0 302 Found",
        b"RTSP/1.0  302 Found",
        b"RTSP/1.0\t302 Found",
        b"RTSP/1.0 0302 Found",
        b"RTSP/1.0 +302 Found",
        b"RTSP/1.00 302 Found",
        b"RTSP/ 302 Found",
        b" RTSP/1.0 302 Found",
        b"RT\rSP/1.0 302 Found",
        b"RTSP/1.0 3\r02 Found",
        b"RTSP/1.0 200\x00302",
    ],
)
def test_no_spelling_of_a_redirect_comes_through(first: bytes) -> None:
    assert refused(OPTIONS + first + b"\r\n\r\n") is not None
    assert refused(OPTIONS + first + b"\r\nCSeq: 2\r\n" + ELSEWHERE) is not None


def test_a_place_is_never_told_whatever_the_number_says() -> None:
    for head in (b"RTSP/1.0 200 OK\r\n", b"SOMETHING ELSE\r\n", b""):
        for name in (b"Location:", b"LOCATION:", b"location:"):
            data = head + name + b" rtsp://127.0.0.1/x\r\n\r\n"
            assert refused(data) is SourceForbiddenError


def test_data_between_lines_hides_nothing() -> None:
    hidden = b"$\x00\x00\x01X"
    assert refused(OPTIONS + hidden + b"RTSP/2.0 302 Found\r\n" + ELSEWHERE) is FormatError
    assert refused(b"RTSP/1.0 200 OK\r\n" + hidden + ELSEWHERE) is FormatError


def test_a_body_without_a_last_line_end_hides_nothing() -> None:
    body = b"RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nv=0"
    assert refused(body + b"RTSP/1.0 302 Found\r\n\r\n") is SourceForbiddenError
    assert refused(body + OPTIONS) is None


@pytest.mark.parametrize(
    "length", [b"0x10", b"+5", b"-1", b"5 5", b"", b"5,", b"%d" % (MAX_BODY + 1), b"99999999"]
)
def test_a_length_that_others_read_otherwise_is_refused(length: bytes) -> None:
    head = b"RTSP/1.0 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"
    assert refused(head) is FormatError


def test_two_lengths_and_one_of_another_name_are_refused() -> None:
    twice = b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n"
    assert refused(twice) is FormatError
    assert refused(b"RTSP/1.0 200 OK\r\nContent-Length : 5\r\n\r\n") is FormatError
    assert refused(b"RTSP/1.0 200 OK\r\n Content-Length: 5\r\n\r\n") is FormatError


def test_heads_without_an_end_are_not_collected_for_ever() -> None:
    assert refused(b"x" * (MAX_LINE + 1)) is FormatError
    assert refused(b"a: b\n" * (MAX_LINES + 1)) is FormatError


def test_datagrams_are_answered_at_the_server_and_nowhere_else() -> None:
    head = b"RTSP/1.0 200 OK\r\n"
    head += b"Transport: RTP/AVP;unicast;Source=169.254.169.254;server_port=1-2\r\n"
    line = answers().feed(head).splitlines()[1]
    assert line == b"Transport: RTP/AVP;unicast;server_port=1-2;source=192.0.2.7"
