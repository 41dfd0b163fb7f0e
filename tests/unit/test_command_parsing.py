from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder_worker.core.command_parsing import (
    COMMAND_TYPES,
    MAX_COMMAND_BYTES,
    SHOWN_CHARACTERS,
    check_session_id,
    parse_command,
    session_id_in,
)
from recorder_worker.core.commands import MarkSession, StartSession, StopSession
from recorder_worker.core.errors import Refusal, RefusedError
from recorder_worker.core.model import Mask
from recorder_worker.core.sources.kinds import FileSource, PatternSource, X11Source
from recorder_worker.core.subjects import UNKNOWN_SESSION, Command

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
PATTERN = {"kind": "pattern"}
DISPLAY = {"kind": "x11", "uri": ":1"}
MASK = {"x": 0, "y": 0, "width": 1, "height": 1}
UUID_WANTED = "a UUID in lower case with hyphens"


def refusal(body: object, command: Command = Command.START) -> Refusal:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RefusedError) as caught:
        parse_command(command, data)
    return caught.value.refusal


def start(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  (of session.start)
    return {"source": PATTERN, **fields}


# --- good commands -------------------------------------------------------------------------------


def test_the_shortest_start_is_a_source() -> None:
    command = parse_command(Command.START, b'{"source":{"kind":"x11","uri":":10"}}')
    assert command == StartSession(source=X11Source(uri=":10"))


@pytest.mark.parametrize("part", [{"monitor": "DP-1"}, {"region": MASK}, {}])
def test_a_display_may_be_recorded_in_part(part: dict[str, Any]) -> None:
    source = {**DISPLAY, **part}
    command = parse_command(Command.START, json.dumps({"source": source}).encode())
    assert isinstance(command, StartSession)
    assert command.source == msgspec.convert(source, X11Source)
    assert msgspec.to_builtins(command.source) == source, "as it was asked for, and no more"


def test_a_start_may_say_everything() -> None:
    body = {
        "session_id": ID,
        "source": {"kind": "file", "uri": "/a.mkv", "pace": "fast"},
        "fps": 12.5,
        "profile": "screen",
        "masks": [{"x": 1, "y": 2, "width": 3, "height": 4}],
        "max_duration_s": 60,
        "owner": "kim",
        "labels": {"ward": "3"},
    }
    assert parse_command(Command.START, json.dumps(body).encode()) == StartSession(
        session_id=ID,
        source=FileSource(uri="/a.mkv", pace="fast"),
        fps=12.5,
        masks=(Mask(x=1, y=2, width=3, height=4),),
        max_duration_s=60,
        owner="kim",
        labels={"ward": "3"},
    )


def test_white_space_and_the_order_of_fields_do_not_matter() -> None:
    body = b' {\n "by" : "kim",\t"session_id":"' + ID.encode() + b'" }\r\n'
    assert parse_command(Command.STOP, body) == StopSession(session_id=ID, by="kim")


def test_null_means_that_a_field_was_left_out() -> None:
    parsed = parse_command(Command.START, json.dumps(start(session_id=None, fps=None)).encode())
    assert parsed == StartSession(source=PatternSource())


def test_a_mark_may_be_as_long_as_a_page() -> None:
    body = json.dumps({"session_id": ID, "text": "ä" * 4096}).encode()
    assert parse_command(Command.MARK, body) == MarkSession(session_id=ID, text="ä" * 4096)


# --- bad ones ------------------------------------------------------------------------------------


KINDS = "one of file, x11, pattern, rtsp, images, v4l2, nats"
DISPLAY_WANTED = "a display such as :10 or host:10"
SUBJECT = "a subject of at least two names, such as source.lab.frames, without * and >"
FILE = "an absolute path or a file:// URI of a video on the worker's machine"


@pytest.mark.parametrize(
    ("body", "field", "expected", "got"),
    [
        ({}, "source", "a value", "nothing"),
        ({"source": {}}, "source.kind", KINDS, "nothing"),
        ({"source": 5}, "source", "an object", "5"),
        (
            {"source": {"kind": "film"}},
            "source.kind",
            KINDS,
            '"film"',
        ),
        ({"source": {"kind": "file"}}, "source.uri", FILE, "nothing"),
        ({"source": {"kind": "file", "uri": ""}}, "source.uri", FILE, '""'),
        (start(session_id="7"), "session_id", UUID_WANTED, '"7"'),
        (start(session_id=ID.upper()), "session_id", UUID_WANTED, f'"{ID.upper()}"'),
        (start(session_id=ID + "\n"), "session_id", UUID_WANTED, f'"{ID}\\n"'),
        (start(session_id=7), "session_id", UUID_WANTED, "7"),
        (start(fps=0), "fps", "a number >= 0.001", "0"),
        (start(fps=121), "fps", "a number <= 120", "121"),
        (start(fps="10"), "fps", "a number or null", '"10"'),
        (start(max_duration_s=-1), "max_duration_s", "a number > 0", "-1"),
        (start(when_behind="drop"), "when_behind", "slow, gap or stop", '"drop"'),
        ({"source": {"kind": "x11", "uri": "10"}}, "source.uri", DISPLAY_WANTED, '"10"'),
        ({"source": {"kind": "nats", "uri": "a.>"}}, "source.uri", SUBJECT, '"a.>"'),
        (start(profile="film"), "profile", "screen or copy", '"film"'),
        (start(profile="copy"), "profile", "screen, for this kind of source", "copy"),
        (
            start(masks=[{"x": 0, "y": 0, "width": 0, "height": 1}]),
            "masks[0].width",
            "a whole number >= 1",
            "0",
        ),
        (start(masks=7), "masks", "a list", "7"),
        (start(masks=[MASK] * 65), "masks", "a list of length <= 64", None),
        (start(owner="x" * 257), "owner", "a text of length <= 256", None),
        (start(labels={"": "1"}), "labels", "a text of length >= 1", '{"":"1"}'),
        ({"source": {**PATTERN, "width": 7681}}, "source.width", "a whole number <= 7680", "7681"),
        ({"source": {**PATTERN, "width": 1.5}}, "source.width", "a whole number", "1.5"),
        ({"source": {**PATTERN, "pace": "slow"}}, "source.pace", "native or fast", '"slow"'),
        ({"source": {**DISPLAY, "monitor": ""}}, "source.monitor", "a text of length >= 1", '""'),
        ({"source": {**DISPLAY, "region": "1x1"}}, "source.region", "an object or null", '"1x1"'),
        (
            {"source": {**DISPLAY, "region": {"x": 0, "y": -1, "width": 1, "height": 1}}},
            "source.region.y",
            "a whole number >= 0",
            "-1",
        ),
        (
            {"source": {**DISPLAY, "region": MASK, "monitor": "A"}},
            "source",
            "a monitor or a region",
            None,
        ),
        (b"[]", "$", "an object", "[]"),
        (b'"x"', "$", "an object", '"x"'),
        (b"null", "$", "an object", "null"),
        (b"7", "$", "an object", "7"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_wrong_value_is_named_with_what_was_expected_and_what_came(
    body: object, field: str, expected: str, got: str | None
) -> None:
    found = refusal(body)
    assert (found.field, found.expected) == (field, expected)
    assert found.got == got or (got is None and found.got)
    assert found.hint


@pytest.mark.parametrize(
    ("body", "field", "guess"),
    [
        (start(sesion_id=ID), "sesion_id", "session_id"),
        (start(max_duration=3), "max_duration", "max_duration_s"),
        ({"source": {"kind": "x11", "uri": ":1", "Uri": ":2"}}, "source.Uri", "uri"),
        (start(masks=[{"x": 0, "y": 0, "wdth": 1}]), "masks[0].wdth", "width"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_unknown_field_is_named_with_a_guess(body: object, field: str, guess: str) -> None:
    found = refusal(body)
    assert (found.field, found.expected) == (field, "a known field")
    assert found.hint == f"did you mean '{guess}'?"


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"source": {**DISPLAY, "fps": 5}}, "'fps' stands beside source, not in it"),
        ({**start(), "uri": ":1"}, "'uri' stands in source"),
        ({"source": {**DISPLAY, "transport": "udp"}}, "sources of these kinds have it: rtsp"),
    ],
)
def test_a_field_in_the_wrong_place_is_answered_with_the_right_one(body: object, hint: str) -> None:
    assert refusal(body).hint == hint


def test_an_unknown_field_like_no_other_is_answered_with_the_schema() -> None:
    assert refusal(start(colour="red")).hint == "see schemas/session.start.json"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"hello",
        b'{"source":{"kind":"pattern"}} x',
        b'\xef\xbb\xbf{"source":{"kind":"pattern"}}',
        b"\xff\xfe\x00",
        b'{"source":{"kind":"pattern"},"owner":"\xff"}',
        b'{"source":{"kind":"pattern"},"x":"\xff"}',
        b'{"source":{"kind":"pattern"},"owner":"\\ud800"}',
        b'{"source":{"kind":"pattern"},"fps":NaN}',
        b'{"source":{"kind":"pattern"},"fps":1e999}',
        b'{"source":{"kind":"pattern"},"x":1e999}',
        b"[" * 50_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"source":{"kind":"pattern"},"owner":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"source":{"kind":"pattern"},"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
    ids=lambda data: repr(data[-40:]),
)
@pytest.mark.parametrize("command", list(Command))
def test_what_is_not_json_is_refused_with_the_reason(command: Command, data: bytes) -> None:
    found = refusal(data, command)
    assert all((found.field, found.expected, found.hint))
    assert len(found.got) <= SHOWN_CHARACTERS + 1
    assert session_id_in(data) == UNKNOWN_SESSION


def test_a_command_that_is_too_long_is_not_even_read() -> None:
    at_most = b" " * (MAX_COMMAND_BYTES - 2) + b"{}"
    assert refusal(at_most).field == "source"
    found = refusal(b" " + at_most)
    assert (found.field, found.got) == ("$", f"{MAX_COMMAND_BYTES + 1} bytes")
    assert found.expected == f"at most {MAX_COMMAND_BYTES} bytes"


def test_a_client_may_not_mark_in_the_name_of_the_recorder() -> None:
    found = refusal({"session_id": ID, "type": "recorder.quality"}, Command.MARK)
    assert (found.field, found.got) == ("type", '"recorder.quality"')
    assert found.expected == "1 to 64 characters that do not begin with recorder."


def test_a_long_value_is_shown_by_its_beginning() -> None:
    found = refusal(start(owner="x" * 5000))
    assert found.got == '"' + "x" * (SHOWN_CHARACTERS - 1) + "…"


def assert_command_or_refusal(command: Command, data: bytes) -> None:
    try:
        parsed = parse_command(command, data)
    except RefusedError as error:
        found = error.refusal
    else:
        assert isinstance(parsed, COMMAND_TYPES[command])
        return
    assert all((found.field, found.expected, found.hint))


@pytest.mark.parametrize("command", list(Command))
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_refusal(command: Command, data: bytes) -> None:
    assert_command_or_refusal(command, data)
    assert session_id_in(data) == UNKNOWN_SESSION or len(session_id_in(data)) == 36


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["source", "session_id", "fps", "masks", "labels", "by", "text", "x"]), JSON
)


@pytest.mark.parametrize("command", list(Command))
@given(value=FIELDS)
def test_any_object_is_a_command_or_a_refusal(command: Command, value: dict[str, Any]) -> None:
    assert_command_or_refusal(command, json.dumps(value).encode())


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"session_id": ID, "nonsense": True}, ID),
        ({"session_id": ID + "\n"}, UNKNOWN_SESSION),
        ({"session_id": "*"}, UNKNOWN_SESSION),
        ({"session_id": 7}, UNKNOWN_SESSION),
        ({}, UNKNOWN_SESSION),
        ([ID], UNKNOWN_SESSION),
    ],
)
def test_a_refusal_is_addressed_by_an_id_that_is_safe_in_a_subject(
    body: object, found: str
) -> None:
    assert session_id_in(json.dumps(body).encode()) == found


def test_a_client_can_ask_whether_an_id_is_one() -> None:
    check_session_id(ID)
    for text in ("", "*", "a b", ID + "\n", ID.upper(), ID[:-1]):
        with pytest.raises(RefusedError, match=UUID_WANTED):
            check_session_id(text)
